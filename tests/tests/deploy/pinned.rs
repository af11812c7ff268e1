//! Versions that stand in several places are the same.

use crate::text;

/// What follows `key` up to the end of the word, wherever it stands in `text`.
fn values<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    let is_end = |c: char| c.is_whitespace() || "\"}],".contains(c);
    let after = text.split(key).skip(1);
    after
        .map(|rest| rest.split(is_end).next().unwrap_or_default())
        .collect()
}

#[test]
fn the_images_are_built_with_the_toolchain_of_development() {
    let development = text("rust-toolchain.toml");
    let development = values(&development, "channel = \"");
    let image = text("Dockerfile");
    assert_eq!(values(&image, "ARG RUST_VERSION="), [development[0]]);
}

#[test]
fn manifests_name_the_images_of_this_version() {
    let version = env!("CARGO_PKG_VERSION");
    for (path, count) in [
        ("deploy/sidecar/component/limiter.patch.yaml", 1),
        ("deploy/sidecar/example/gateway.yaml", 1),
        ("deploy/sidecar/toolhive/virtualmcpserver.yaml", 1),
    ] {
        let manifest = text(path);
        let tags = ["image: toolgate/toolgate:", "image: toolgate/vmcp:"];
        let tags: Vec<_> = tags.iter().flat_map(|tag| values(&manifest, tag)).collect();
        assert_eq!(tags, vec![version; count], "{path}");
    }
    let compose = text("deploy/compose.yaml");
    assert_eq!(values(&compose, "TOOLGATE_VERSION:-"), [version; 2]);
}

#[test]
fn both_trials_run_the_same_version_of_the_reference_server() {
    let key = "@modelcontextprotocol/server-everything@";
    let tested = text("Makefile");
    let tested = values(&tested, key)[0];
    for path in ["deploy/compose.yaml", "examples/everything/backend.yaml"] {
        assert_eq!(values(&text(path), key), [tested], "{path}");
    }
}
