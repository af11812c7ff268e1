//! What processes tell of themselves, to a collector.

#[path = "../gateway/issuer.rs"]
mod issuer;
mod stage;
mod traces;
mod tree;
