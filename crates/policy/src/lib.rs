//! Manifests in, validated policies out, and again whenever a file changes.
//!
//! # The problem
//!
//! Platform engineers write limits as Kubernetes manifests. A mistake in one must not open the gate
//! for anybody: it is reported with its place, together with all others, and what was in force
//! stays in force.
//!
//! # The words
//!
//! - A **manifest** is one YAML document of kind `RateLimitPolicy`, or a `VirtualMCPServer` or
//!   `MCPServer` of ToolHive. A file may hold several; a folder is read whole.
//! - **Inline** limits stand in the configuration file of a gateway, see [`read_inline`].
//! - A [`Diagnostic`] is one finding with file, line and column; [`Diagnostics`] are all of them.
//! - An [`Origin`] is the place where a policy was written.
//! - The [`Registry`] holds the snapshot in force. A [`FileSource`] fills it and a [`Watch`] keeps
//!   it up to date.
//!
//! # The flow
//!
//! ```text
//! paths -> files:     their contents, read once, and a fingerprint of them
//!       -> node:      YAML documents as trees in which every key and value knows its place
//!       -> manifest:  the rules of each kind -> Policy, or diagnostics, all at once
//!       -> Registry:  generation n+1; after an error n stays and the error is kept beside it
//! ```
//!
//! ```
//! use std::{path::Path, sync::Arc};
//! use toolgate_limit::{Policies, SystemClock};
//! use toolgate_policy::{Registry, read_text};
//!
//! let manifest = "
//! apiVersion: toolgate.dev/v1alpha1
//! kind: RateLimitPolicy
//! metadata: {name: research}
//! spec:
//!   perUser: {maxTokens: 100, refillPeriod: 1m}
//! ";
//! let (policies, _warnings) = read_text(Path::new("research.yaml"), manifest).into_result()?;
//!
//! let registry = Registry::new(Arc::new(SystemClock::new()));
//! registry.publish(policies);
//! assert!(registry.snapshot().policy(&"default/research".parse()?).is_some());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! From files, kept up to date: [`FileSource`]. From objects of a cluster, which are no text:
//! [`read_object`].

mod aside;
mod diagnostic;
mod fields;
mod files;
mod manifest;
mod node;
mod object;
mod read;
mod registry;
mod reload;
mod vanished;
mod watch;

pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use manifest::{Kind, MAX_DURATION_CHARS, MAX_OPERATIONS};
pub use object::{ObjectManifest, read_object};
pub use read::{Loaded, Origin, read_inline, read_paths, read_text};
pub use registry::{Registry, ReloadFailure, ReloadStatus};
pub use watch::{FileSource, Watch};
