//! What a `config.yaml` of `ToolHive`'s vMCP has, and this gateway has not.

/// Fields of the file, of a backend, and of the optimizer. What stands in them is not looked at.
///
/// `incomingAuth` has none: what keeps callers out there must do so here as well.
const FIELDS: [&str; 21] = [
    "aggregation",
    "apiVersion",
    "audit",
    "compositeToolRefs",
    "compositeTools",
    "groupRef",
    "kind",
    "metadata",
    "operational",
    "outgoingAuth",
    "passthroughHeaders",
    "sessionStorage",
    "telemetry",
    "backends.caBundlePath",
    "backends.metadata",
    "backends.transport",
    "backends.type",
    "optimizer.embeddingService",
    "optimizer.embeddingServiceTimeout",
    "optimizer.hybridSearchSemanticRatio",
    "optimizer.semanticDistanceThreshold",
];

/// Whether the field at `path` is one of them. In a path are places of items and `?` for what may be left
/// out.
pub(super) fn has(path: &str) -> bool {
    let names = path.split('.');
    let names = names.filter(|part| *part != "?" && !part.bytes().all(|b| b.is_ascii_digit()));
    FIELDS.contains(&names.collect::<Vec<_>>().join(".").as_str())
}
