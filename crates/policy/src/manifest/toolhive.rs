//! `VirtualMCPServer` and `MCPServer` of ToolHive. Only what concerns rate limits is read; that is
//! read as strictly as a `RateLimitPolicy`, because a typo must not open the gate.
//!
//! The rules on session storage and authentication are those of ToolHive's own admission: the CEL
//! rules on `VirtualMCPServerSpec` and `MCPServerSpec` in `cmd/thv-operator/api/v1beta1`.

use toolgate_limit::Mode;

use super::{
    Manifest, is_text,
    limits::{Dialect, Limits},
    metadata::Metadata,
};
use crate::{diagnostic::Report, fields::Fields, node::Entry};

/// What one kind demands of a manifest with rate limits.
struct Admission {
    /// The path of the block below `spec`, as its messages name it.
    block: &'static str,
    /// Whether users are authenticated.
    authenticated: bool,
    /// What that takes.
    authentication: &'static str,
}

/// What a `VirtualMCPServer` says: its limits stand at `spec.config.rateLimiting`.
pub(super) fn read_virtual_mcp_server(mut fields: Fields<'_>, report: &mut Report<'_>) -> Manifest {
    let Some(mut spec) = fields.mapping("spec", report) else {
        return Manifest::default();
    };
    refuse_misplaced(&mut spec, "config.rateLimiting", report);
    let Some(mut config) = spec.mapping("config", report) else {
        return Manifest::default();
    };
    let Some(block) = config.optional("rateLimiting") else {
        return Manifest::default();
    };
    let incoming = spec.mapping("incomingAuth", report);
    let kind = incoming.and_then(|mut incoming| incoming.optional("type"));
    let admission = Admission {
        block: "config.rateLimiting",
        authenticated: kind.is_some_and(|kind| is_text(&kind.node, "oidc")),
        authentication: "incomingAuth.type oidc",
    };
    read_limits(&mut fields, &mut spec, block, &admission, report)
}

/// What an `MCPServer` says: its limits stand at `spec.rateLimiting`.
pub(super) fn read_mcp_server(mut fields: Fields<'_>, report: &mut Report<'_>) -> Manifest {
    let Some(mut spec) = fields.mapping("spec", report) else {
        return Manifest::default();
    };
    let Some(block) = spec.optional("rateLimiting") else {
        return Manifest::default();
    };
    // The inline oidcConfig is what v1alpha1 had before oidcConfigRef.
    let means = ["oidcConfigRef", "externalAuthConfigRef", "oidcConfig"];
    let admission = Admission {
        block: "rateLimiting",
        authenticated: means
            .into_iter()
            .any(|means| spec.optional(means).is_some()),
        authentication: "authentication (oidcConfigRef or externalAuthConfigRef)",
    };
    read_limits(&mut fields, &mut spec, block, &admission, report)
}

/// Early releases of ToolHive had the block of a `VirtualMCPServer` directly in `spec`. Ignored, as
/// other fields are, it would open the gate.
fn refuse_misplaced(spec: &mut Fields<'_>, path: &str, report: &mut Report<'_>) {
    if let Some(entry) = spec.optional("rateLimiting") {
        let message = format!("rateLimiting of a VirtualMCPServer belongs at spec.{path}");
        report.error(entry.place, message);
    }
}

fn read_limits(
    fields: &mut Fields<'_>,
    spec: &mut Fields<'_>,
    block: &Entry,
    admission: &Admission,
    report: &mut Report<'_>,
) -> Manifest {
    let metadata = Metadata::read(fields, block.place, false, report);
    let server = metadata.server(None);
    let path = format!("spec.{}", admission.block);
    let Some(block_fields) = Fields::of(&block.node, path, report) else {
        return Manifest {
            server,
            policy: None,
        };
    };
    let limits = Limits::read(block_fields, block.place, Dialect::ToolHive, report);
    admission.check(spec, block, &limits, report);
    let policy = server
        .clone()
        .and_then(|(server, _)| limits.into_policy(server, Mode::Enforce, block.place, report));
    Manifest { server, policy }
}

impl Admission {
    fn check(
        &self,
        spec: &mut Fields<'_>,
        block: &Entry,
        limits: &Limits,
        report: &mut Report<'_>,
    ) {
        let name = self.block;
        let storage = spec.mapping("sessionStorage", report);
        let provider = storage.and_then(|mut storage| storage.optional("provider"));
        if !provider.is_some_and(|provider| is_text(&provider.node, "redis")) {
            let message = format!("{name} requires sessionStorage with provider 'redis'");
            report.error(block.place, message);
        }
        if self.authenticated {
            return;
        }
        let needed = self.authentication;
        if let Some(place) = limits.per_user {
            report.error(place, format!("{name}.perUser requires {needed}"));
        }
        for &(kind, place) in &limits.operations_per_user {
            let message = format!("per-{kind} perUser rate limiting requires {needed}");
            report.error(place, message);
        }
    }
}
