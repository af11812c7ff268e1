//! Limits in the configuration file of a gateway.

#![allow(clippy::expect_used, reason = "a test that cannot go on fails")]

use std::path::Path;

use toolgate_limit::Mode;
use toolgate_policy::{Diagnostic, Loaded, read_inline};

fn read(text: &str) -> Loaded {
    let server = "default/research".parse().expect("valid");
    read_inline(Path::new("vmcp.yaml"), text, &server)
}

/// The limits in force, one a line.
fn limits(loaded: &Loaded) -> Vec<String> {
    let policies = loaded.policies.iter();
    let limits = policies.flat_map(|(policy, _)| policy.limits());
    limits.map(ToString::to_string).collect()
}

fn found(text: &str) -> String {
    read(text).diagnostics.to_string()
}

#[test]
fn a_mistake_is_shown_at_its_own_line_and_column_of_the_file() {
    let text = "\
name: research
backends:
  - {name: a, url: 'http://a', headers: {authorization: s3cret}}
rateLimiting:
  perUser: {maxTokens: 0, refillPeriod: 1m}
  tools:
    - name: a_echo
      global: {maxTokens: 5, refilPeriod: 1m}
listen: 127.0.0.1:0
";
    assert_eq!(
        found(text),
        "\
vmcp.yaml:5:24: error: maxTokens must be between 1 and 2147483647, not 0
  5 |   perUser: {maxTokens: 0, refillPeriod: 1m}
    |                        ^
vmcp.yaml:8:15: error: rateLimiting.tools[0].global.refillPeriod is missing
  8 |       global: {maxTokens: 5, refilPeriod: 1m}
    |               ^
vmcp.yaml:8:30: error: unknown field \"refilPeriod\" in rateLimiting.tools[0].global; known fields are maxTokens, refillPeriod
  8 |       global: {maxTokens: 5, refilPeriod: 1m}
    |                              ^"
    );
    assert!(read(text).policies.is_empty());
}

#[test]
fn the_block_of_a_toolhive_config_is_read_with_a_warning_at_the_deprecated_name() {
    let text = "\
name: research
groupRef: backends
rateLimiting:
  shared: {maxTokens: 1000, refillPeriod: {duration: 1m0s}}
  tools:
    - {name: search, perUser: {maxTokens: 10, refillPeriod: {duration: 1h0m0s}}}
";
    let loaded = read(text);
    assert_eq!(
        loaded.diagnostics.to_string(),
        "\
vmcp.yaml:4:3: warning: shared is the deprecated name of global; rename it, if the ToolHive that the manifest is for knows global
  4 |   shared: {maxTokens: 1000, refillPeriod: {duration: 1m0s}}
    |   ^"
    );
    assert_eq!(
        limits(&loaded),
        [
            "1000 calls per 1m of server default/research",
            "10 calls per 1h per user of tool search"
        ]
    );
    let (policy, origin) = &loaded.policies[0];
    assert_eq!(policy.server().as_str(), "default/research");
    assert_eq!(origin.to_string(), "vmcp.yaml:3");
}

#[test]
fn a_typo_does_not_open_the_gate() {
    for (block, part) in [
        (
            "rateLimiting: {perUsers: {maxTokens: 1, refillPeriod: 1m}}",
            "did you mean perUser?",
        ),
        ("rateLimiting: {}", "at least one of global"),
        ("rateLimiting: []", "must be a mapping"),
        (
            "rateLimiting: {mode: shadow, global: {maxTokens: 1, refillPeriod: 1m}}",
            "rateLimiting.mode",
        ),
        // The policy would be another server's, and this one without limits.
        (
            "rateLimiting: {server: other, global: {maxTokens: 1, refillPeriod: 1m}}",
            "unknown field \"server\"",
        ),
        (
            "rateLimits: {global: {maxTokens: 1, refillPeriod: 1m}}",
            "did you mean rateLimiting?",
        ),
        (
            "rate_limiting: {global: {maxTokens: 1, refillPeriod: 1m}}",
            "did you mean rateLimiting?",
        ),
        (
            "rateLimitng: {global: {maxTokens: 1, refillPeriod: 1m}}",
            "did you mean rateLimiting?",
        ),
        (
            "rateLimiting: {global: {maxTokens: 1, refillPeriod: 1m}}\nrateLimiting: null",
            "given twice",
        ),
        ("--- a\n---", "the file must be a mapping"),
        ("a: b\n---\nc: d", "one document"),
    ] {
        let loaded = read(&format!("{block}\n"));
        let found = loaded.diagnostics.to_string();
        assert!(loaded.diagnostics.has_errors(), "{block}");
        assert!(found.contains(part), "{block}: {found}");
    }
}

#[test]
fn the_rest_of_the_file_is_none_of_its_business() {
    for text in [
        "name: research\nperUsers: 1\ntelemetry: {anything: [goes]}\n",
        "name: research\nrateLimiting:\n",
        "",
    ] {
        let loaded = read(text);
        assert_eq!(loaded.diagnostics.to_string(), "");
        assert!(loaded.policies.is_empty());
    }
}

#[test]
fn a_shadow_stays_one() {
    let loaded = read("rateLimiting: {mode: Shadow, global: {maxTokens: 1, refillPeriod: 1m}}\n");
    assert_eq!(loaded.policies[0].0.mode(), Mode::Shadow);
}

#[test]
fn no_line_outside_the_block_is_ever_shown() {
    for text in [
        // On one line with the block.
        "{headers: {a: s3cret}, rateLimiting: {global: {maxTokens: 0, refillPeriod: 1m}}, b: s3cret}",
        // Before the block and behind it.
        "{headers: {a: s3cret\n}, rateLimiting: {global: {maxTokens: 0,\nrefillPeriod: 1m}}, b: s3cret}",
        "{\nrateLimiting: {global: {maxTokens: 0,\nrefillPeriod: 1}}, b: s3cret}",
        // In a value that the block borrows.
        "a: &limit {maxTokens: 0, refillPeriod: 1m, s3cret: 1}\nrateLimiting:\n  global: *limit\n",
        // Not YAML at all.
        "a: s3cret: [\n",
        "- s3cret\n",
        "rateLimit: s3cret\n",
        "a: 1\na: s3cret\nrateLimiting: {global: {maxTokens: 0, refillPeriod: 1m}}\n",
    ] {
        let loaded = read(text);
        assert!(loaded.diagnostics.has_errors(), "{text}");
        let shown: Vec<_> = loaded
            .diagnostics
            .iter()
            .map(Diagnostic::source_line)
            .collect();
        assert!(!shown.concat().contains("s3cret"), "{text}: {shown:?}");
    }
}

#[test]
fn an_indented_or_merged_file_is_read_as_any_other() {
    let text = "  name: a\n  rateLimiting:\n    global: {maxTokens: 0, refillPeriod: 1m}\n";
    assert_eq!(
        found(text),
        "\
vmcp.yaml:3:25: error: maxTokens must be between 1 and 2147483647, not 0
  3 |     global: {maxTokens: 0, refillPeriod: 1m}
    |                         ^"
    );
    let text =
        "a: &limits {global: {maxTokens: 1, refillPeriod: 1m}}\nrateLimiting:\n  <<: *limits\n";
    assert_eq!(
        limits(&read(text)),
        ["1 call per 1m of server default/research"]
    );
}
