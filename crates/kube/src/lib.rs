//! Policies from a Kubernetes cluster's own resources.
//!
//! # The problem
//!
//! Platform teams keep limits in Git and apply them with kubectl. Every replica of a limiter must
//! come to the same policies by itself, soon, whatever the order in which objects come and go, and must
//! keep them while the API server is away. And people must see what became of what they applied.
//!
//! # The words
//!
//! - An **object** is a `RateLimitPolicy`, or a `VirtualMCPServer` or `MCPServer` of ToolHive, which is
//!   never written to.
//! - A **watch** follows the objects of one kind in one namespace, or in all.
//! - A **verdict** is what became of one object: accepted or rejected, and whether another one is in
//!   force for its server.
//!
//! # The flow
//!
//! ```text
//! API server -> Watch:     a list, and then each change; lists anew when it must
//!            -> Objects:   what each object says, and the last that was right
//!            -> resolve:   of two for one server the older one -> policies and verdicts
//!            -> Registry:  generation n+1, once all that is watched is listed
//! ```
//!
//! Each object stands for itself: one that is wrong holds up no other.

mod backoff;
mod config;
mod crd;
mod instruments;
mod objects;
mod raw;
mod resolve;
mod served;
mod source;
mod status;
mod watch;

pub use config::{Config, Namespaces, NamespacesError};
pub use crd::{
    Mode, PromptLimits, Quota, RateLimitPolicy, RateLimitPolicySpec, RateLimitPolicyStatus,
    ReplicaGeneration, ResourceLimits, ToolLimits, definition_yaml,
};
pub use instruments::Instruments;
pub use source::{ConnectError, KubernetesSource};
