//! One manifest: which kind it is, whom it protects, and what its rules say.

use toolgate_limit::{Policy, ServerId};

use crate::{
    diagnostic::{Place, Report},
    fields::Fields,
    node::{Node, Value},
};

pub(crate) mod inline;
mod limits;
mod metadata;
mod name;
mod quota;
mod rate_limit_policy;
mod toolhive;

pub use limits::MAX_OPERATIONS;
pub use quota::MAX_DURATION_CHARS;

/// What a document says.
#[derive(Debug, Default)]
pub(crate) struct Manifest {
    /// The server that it limits, and the place where the server is named. Known even if the limits
    /// are wrong, so that a second manifest for the same server is found as well.
    pub(crate) server: Option<(ServerId, Place)>,
    /// None if something is wrong, or if a ToolHive manifest has no limits.
    pub(crate) policy: Option<Policy>,
}

/// The kinds of manifests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Toolgate's own.
    RateLimitPolicy,
    /// `ToolHive`'s gateway.
    VirtualMcpServer,
    /// `ToolHive`'s single server.
    McpServer,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 3] = [
        Self::RateLimitPolicy,
        Self::VirtualMcpServer,
        Self::McpServer,
    ];

    /// As it stands at `kind`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RateLimitPolicy => "RateLimitPolicy",
            Self::VirtualMcpServer => "VirtualMCPServer",
            Self::McpServer => "MCPServer",
        }
    }

    /// What may stand at `apiVersion`, the preferred one first.
    pub const fn api_versions(self) -> &'static [&'static str] {
        match self {
            Self::RateLimitPolicy => &["toolgate.dev/v1alpha1"],
            Self::VirtualMcpServer | Self::McpServer => &[
                "toolhive.stacklok.dev/v1beta1",
                "toolhive.stacklok.dev/v1alpha1",
            ],
        }
    }
}

impl Manifest {
    /// What `document` says. Everything that is wrong with it goes to `report`.
    pub(crate) fn read(document: &Node, report: &mut Report<'_>) -> Self {
        let before = report.errors();
        let Some(mut fields) = Fields::of(document, String::new(), report) else {
            return Self::default();
        };
        let Some(kind) = read_kind(document, &mut fields, report) else {
            return Self::default();
        };
        let manifest = match kind {
            Kind::RateLimitPolicy => rate_limit_policy::read(document.place, fields, report),
            Kind::VirtualMcpServer => toolhive::read_virtual_mcp_server(fields, report),
            Kind::McpServer => toolhive::read_mcp_server(fields, report),
        };
        Self {
            policy: manifest.policy.filter(|_| report.errors() == before),
            ..manifest
        }
    }
}

/// The kind, unless it or its apiVersion is not supported.
fn read_kind(document: &Node, fields: &mut Fields<'_>, report: &mut Report<'_>) -> Option<Kind> {
    let all = Kind::ALL.map(Kind::as_str).join(", ");
    let given = |key, fields: &mut Fields<'_>| fields.optional(key).is_some();
    let has_version = given("apiVersion", fields);
    if !given("kind", fields) {
        let message = format!("kind is missing; supported kinds are {all}");
        report.error(document.place, message);
        return None;
    }
    let (name, place) = fields.text("kind", report)?;
    let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.as_str() == name) else {
        let message = format!("kind {name:?} is not supported; supported kinds are {all}");
        report.error(place, message);
        return None;
    };
    let versions = kind.api_versions().join(" or ");
    if !has_version {
        let message = format!("apiVersion is missing; for {name} it is {versions}");
        report.error(document.place, message);
        return None;
    }
    let (version, place) = fields.text("apiVersion", report)?;
    if !kind.api_versions().contains(&version) {
        let message = format!("apiVersion {version:?} is not supported for {name}; use {versions}");
        report.error(place, message);
        return None;
    }
    Some(kind)
}

/// Whether `node` is the text `expected`.
fn is_text(node: &Node, expected: &str) -> bool {
    matches!(&node.value, Value::Text(text) if text == expected)
}
