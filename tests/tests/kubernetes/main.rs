//! Limiters that have their policies from a real control plane of Kubernetes.

#![cfg(feature = "kubernetes")]
#![allow(clippy::expect_used, reason = "a test that cannot go on fails")]

mod charts;
mod control_plane;
mod crd;
mod figures;
mod source;
mod stage;
mod status;
mod virtual_servers;
