//! Policies from a Kubernetes cluster's own resources.
