//! Whatever a file holds, reading it ends, and ends without a panic.

#![allow(clippy::expect_used, reason = "a test that cannot go on fails")]

use std::path::Path;

use proptest::prelude::*;
use toolgate_policy::{read_inline, read_text};

const MANIFEST: &str = include_str!("../../../tests/fixtures/manifests/valid/all-fields.yaml");

/// Pieces of which manifests are made, in any order: deeper than random characters get.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "apiVersion: toolgate.dev/v1alpha1\n",
        "apiVersion: toolhive.stacklok.dev/v1beta1\n",
        "kind: RateLimitPolicy\n",
        "kind: VirtualMCPServer\n",
        "kind: MCPServer\n",
        "metadata: {name: a}\n",
        "spec:\n",
        "  config:\n",
        "  rateLimiting:\n",
        "    rateLimiting:\n",
        "  global: {maxTokens: 1, refillPeriod: 1m}\n",
        "  perUser: {maxTokens: 1e9, refillPeriod: [}]\n",
        "  tools:\n",
        "  - name: x\n",
        "  - &a [*a]\n",
        "  <<: *a\n",
        "---\n",
        "...\n",
        "? ",
        ": ",
        "!!binary ",
        "!x ",
        "|\n",
        "{",
        "}",
        "\"",
        "\t",
        "\0",
        "\u{feff}",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// Reads it as manifests and as a configuration file, and shows all that was found.
fn read(text: &str) {
    let server = "default/any".parse().expect("valid");
    for loaded in [
        read_text(Path::new("any.yaml"), text),
        read_inline(Path::new("any.yaml"), text, &server),
    ] {
        let _ = loaded.diagnostics.to_string();
    }
}

proptest! {
    #[test]
    fn any_text_is_read_without_a_panic(text in any::<String>()) {
        read(&text);
    }

    #[test]
    fn any_pieces_of_manifests_are_read_without_a_panic(text in pieces()) {
        read(&text);
    }

    #[test]
    fn any_change_of_a_manifest_is_read_without_a_panic(
        at in 0..MANIFEST.len(),
        removed in 0..20_usize,
        added in ".{0,5}",
    ) {
        let end = (at + removed).min(MANIFEST.len());
        read(&format!("{}{added}{}", &MANIFEST[..at], &MANIFEST[end..]));
    }
}
