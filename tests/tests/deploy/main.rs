//! What `deploy/` and the Dockerfile say, run as far as one machine can.

#![allow(clippy::expect_used, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};

#[cfg(all(feature = "containers", feature = "sdk"))]
mod call;
#[cfg(all(feature = "containers", feature = "sdk"))]
mod compose;
#[cfg(feature = "containers")]
mod image;
mod pinned;
#[cfg(all(feature = "containers", feature = "kubernetes", feature = "sdk"))]
mod pod;
#[cfg(all(
    feature = "containers",
    feature = "kubernetes",
    feature = "sdk",
    feature = "grpcurl"
))]
mod readme;
#[cfg(all(feature = "containers", feature = "kubernetes", feature = "sdk"))]
mod sidecar;

/// A file of the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// The text of a file of the repository.
fn text(path: &str) -> String {
    std::fs::read_to_string(repository(path)).expect(path)
}
