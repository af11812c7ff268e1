//! The gRPC API `toolgate.v1`, and its conversions to and from the domain.
//!
//! [`pb`] is generated from `proto/toolgate/v1`; the comments there are the API's reference.
//! Messages become domain values by `TryFrom` or `into_*`, whose [`InvalidField`] names the field
//! that is wrong; domain values become messages by `From`. A limiter reads requests and writes
//! replies, a client the other way round. There is no logic here.

pub mod codec;
mod from_domain;
mod invalid;
mod reply;
mod request;
mod to_domain;

pub use invalid::InvalidField;
pub use to_domain::{admin_operation, identity_of, server_of};

/// The generated types, clients and servers of `toolgate.v1`.
pub mod pb {
    #![allow(
        missing_docs,
        missing_debug_implementations,
        unreachable_pub,
        clippy::pedantic,
        clippy::restriction,
        reason = "generated"
    )]
    tonic::include_proto!("toolgate.v1");
}

/// The API's encoded `google.protobuf.FileDescriptorSet`, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/toolgate.v1.bin"));

#[cfg(test)]
mod tests {
    use prost::Message as _;

    #[test]
    fn the_descriptor_set_holds_both_services_and_all_that_they_import() {
        let set = prost_types::FileDescriptorSet::decode(super::FILE_DESCRIPTOR_SET)
            .expect("the build has encoded it");
        let files: Vec<_> = set
            .file
            .iter()
            .map(prost_types::FileDescriptorProto::name)
            .collect();
        for file in [
            "toolgate/v1/limiter.proto",
            "toolgate/v1/admin.proto",
            "toolgate/v1/limit.proto",
            "google/rpc/status.proto",
            "google/protobuf/duration.proto",
        ] {
            assert!(files.contains(&file), "{file} is not among {files:?}");
        }
    }
}
