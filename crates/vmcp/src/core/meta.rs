//! What of a request's `_meta` a backend gets to see.

use rmcp::model::RequestMetaObject;

/// Keys that belong to the connection between the client and this server. The connection to the
/// backend has its own.
const OF_THIS_HOP: [&str; 5] = [
    "progressToken",
    "io.modelcontextprotocol/protocolVersion",
    "io.modelcontextprotocol/clientInfo",
    "io.modelcontextprotocol/clientCapabilities",
    "io.modelcontextprotocol/logLevel",
];

/// `meta` without what belongs to this hop.
pub(super) fn for_backend(meta: Option<RequestMetaObject>) -> Option<RequestMetaObject> {
    let mut meta = meta?;
    for key in OF_THIS_HOP {
        meta.0.0.remove(key);
    }
    (!meta.0.0.is_empty()).then_some(meta)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn trace_context_travels_on_and_the_hops_own_keys_do_not() {
        let meta = |value| serde_json::from_value::<RequestMetaObject>(value).unwrap();
        let given = meta(json!({
            "traceparent": "00-1-2-01",
            "progressToken": 7,
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "c", "version": "1"},
        }));
        let sent = meta(json!({"traceparent": "00-1-2-01"}));
        assert_eq!(for_backend(Some(given)), Some(sent));
        assert_eq!(for_backend(Some(meta(json!({"progressToken": 7})))), None);
        assert_eq!(for_backend(None), None);
    }
}
