# syntax=docker/dockerfile:1
#
# The images of toolgate and vmcp, from one build: `make images`, or
#
#   docker buildx build --target toolgate --tag toolgate/toolgate .
#   docker buildx build --target vmcp     --tag toolgate/vmcp     .
#
# An image holds the program, the libraries that it is linked with and the authorities of the web:
# no shell and no package manager. Compiled on the builder's architecture for any other of ARM64 and
# x86-64, so nothing is emulated.

ARG RUST_VERSION=1.95.0
ARG DEBIAN=bookworm

# Libraries of the architecture that the image is for. Nothing runs in it.
FROM debian:${DEBIAN}-slim AS libraries

FROM --platform=$BUILDPLATFORM rust:${RUST_VERSION}-${DEBIAN} AS build
ARG RUST_VERSION
ARG CARGO_AUDITABLE=0.7.7
# The toolchain of the image, whatever rust-toolchain.toml adds to it for development.
ENV RUSTUP_TOOLCHAIN=${RUST_VERSION}
# Writes the list of crates into each program, where scanners of images look for it.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    cargo install --locked --version ${CARGO_AUDITABLE} cargo-auditable

WORKDIR /src
COPY Cargo.toml Cargo.lock LICENSE ./
COPY proto proto
COPY crates crates
# Cargo wants every member of the workspace to be there. Nothing of it is compiled.
COPY tests tests
COPY deploy/images deploy/images
ARG TARGETARCH
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    deploy/images/compile "$TARGETARCH" /out
# Of all files in the image: equal sources make equal layers.
ARG SOURCE_DATE_EPOCH=0
RUN --mount=type=bind,from=libraries,target=/libraries \
    deploy/images/root /out/toolgate /root/toolgate /libraries && \
    deploy/images/root /out/vmcp     /root/vmcp     /libraries

FROM scratch AS vmcp
ARG VERSION=0.0.0
ARG REVISION=
ARG SOURCE=
LABEL org.opencontainers.image.title="vmcp" \
      org.opencontainers.image.description="A virtual MCP server with shared rate limits" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /root/vmcp/ /
USER 65532:65532
# Where the configuration has `listen: 0.0.0.0:4483`. Its default, loopback, is reached by no other
# container.
EXPOSE 4483
ENTRYPOINT ["/usr/bin/vmcp"]
CMD ["serve", "--config", "/etc/vmcp/vmcp.yaml"]

FROM scratch AS toolgate
ARG VERSION=0.0.0
ARG REVISION=
ARG SOURCE=
LABEL org.opencontainers.image.title="toolgate" \
      org.opencontainers.image.description="Shared, exact rate limits for MCP tool calls" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /root/toolgate/ /
USER 65532:65532
EXPOSE 7070 7071
ENTRYPOINT ["/usr/bin/toolgate"]
# The default, loopback, is reached by no other container. As flags, since variables would win over
# the settings file of whoever replaces them.
CMD ["serve", "--grpc-listen", "0.0.0.0:7070", "--http-listen", "0.0.0.0:7071"]
