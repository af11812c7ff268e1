//! What `validate` prints.

use std::fmt::Write as _;

use serde::Serialize;
use toolgate_policy::{Diagnostic, Loaded, Severity};

use super::Palette;

/// Every finding as compilers print it, and a summary.
pub(crate) fn text(loaded: &Loaded, palette: Palette) -> String {
    let mut text = String::new();
    for diagnostic in &loaded.diagnostics {
        // A String takes all.
        let _ = writeln!(text, "{diagnostic}\n");
    }
    let errors = loaded.diagnostics.errors().count();
    let warnings = loaded.diagnostics.warnings().count();
    let found = [count(errors, "error"), count(warnings, "warning")];
    let found: Vec<_> = found.into_iter().flatten().collect();
    let policies = count(loaded.policies.len(), "policy").unwrap_or_else(|| "no policies".into());
    text + &match (errors, found.is_empty()) {
        (0, true) => palette.good(format!("valid: {policies}")),
        (0, false) => palette.good(format!("valid: {policies}, {}", found.join(", "))),
        _ => palette.bad(format!("not valid: {}", found.join(", "))),
    }
}

fn count(number: usize, of: &str) -> Option<String> {
    match (number, of) {
        (0, _) => None,
        (1, _) => Some(format!("1 {of}")),
        (_, "policy") => Some(format!("{number} policies")),
        _ => Some(format!("{number} {of}s")),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Finding<'a> {
    severity: &'static str,
    file: String,
    line: Option<usize>,
    column: Option<usize>,
    message: &'a str,
}

/// One finding as one object on one line.
pub(crate) fn json(diagnostic: &Diagnostic) -> serde_json::Result<String> {
    serde_json::to_string(&Finding {
        severity: match diagnostic.severity() {
            Severity::Error => "error",
            Severity::Warning => "warning",
        },
        file: diagnostic.file().display().to_string(),
        line: diagnostic.line(),
        column: diagnostic.column(),
        message: diagnostic.message(),
    })
}
