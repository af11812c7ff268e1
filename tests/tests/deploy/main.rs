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

/// Settings of a limiter or of a gateway, with time for a machine that is very busy: by their own
/// deadlines a check that comes late is decided otherwise, as it should be.
#[cfg(all(feature = "containers", feature = "sdk"))]
fn patient(settings: &str) -> String {
    let mut settings: serde_json::Value = serde_saphyr::from_str(settings).expect("settings");
    if let Some(limiter) = settings.get_mut("limiter") {
        limiter["timeout"] = "20s".into();
    }
    if settings.get("store").is_some() {
        settings["storeTimeout"] = "20s".into();
    }
    settings.to_string()
}
