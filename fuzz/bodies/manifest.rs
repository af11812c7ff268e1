//! Any text as a manifest and as a configuration file: reading it ends, each finding is about a
//! place in it, and what is accepted is within the bounds of DESIGN section 3.

use std::{collections::HashSet, path::Path, time::Duration};

use toolgate_limit::{Limit, OperationKind, Policy};
use toolgate_policy::{Diagnostic, Loaded, Origin, Severity, read_inline, read_text};

/// Reads `input`, whose bytes that are no UTF-8 are replaced, as files are refused for them before.
/// Whether there is no error in it as manifests.
pub(crate) fn accepts(input: &[u8]) -> bool {
    let text = String::from_utf8_lossy(input);
    let file = Path::new("any.yaml");
    let server = "default/any".parse().expect("a server");
    judge(&read_inline(file, &text, &server), &text);
    let manifests = read_text(file, &text);
    judge(&manifests, &text);
    manifests.into_result().is_ok()
}

fn judge(loaded: &Loaded, text: &str) {
    // The line breaks of YAML 1.2.
    let lines = text.replace("\r\n", "\n").replace('\r', "\n");
    let lines: Vec<_> = lines.split('\n').collect();
    for diagnostic in &loaded.diagnostics {
        judge_diagnostic(diagnostic, &lines);
    }
    let shown = loaded.diagnostics.to_string();
    assert!(
        shown.chars().all(|c| c == '\n' || !c.is_control()),
        "a finding steers a terminal: {shown:?}"
    );
    let mut servers = HashSet::new();
    for (policy, origin) in &loaded.policies {
        assert!(
            servers.insert(policy.server().clone()),
            "{} twice",
            policy.server()
        );
        let Origin::File { line, .. } = origin else {
            panic!("{origin:?} is no file");
        };
        assert!((1..=lines.len()).contains(line), "{origin:?}");
        judge_policy(policy);
    }
}

/// One past the last line and the last column is where something that is missing would stand.
fn judge_diagnostic(diagnostic: &Diagnostic, lines: &[&str]) {
    let (Some(line), Some(column)) = (diagnostic.line(), diagnostic.column()) else {
        let is_of_file = diagnostic.severity() == Severity::Warning;
        assert!(is_of_file, "an error without a place: {diagnostic}");
        return;
    };
    let there = lines.get(line.wrapping_sub(1));
    let there = *there.unwrap_or_else(|| panic!("no line {line}: {diagnostic}"));
    let end = there.chars().count() + 1;
    assert!(
        (1..=end).contains(&column),
        "column {column} of {end}: {diagnostic}"
    );
    let shown = diagnostic.source_line();
    assert!(
        shown.is_empty() || shown == there,
        "{shown:?} is not {there:?}"
    );
}

fn judge_policy(policy: &Policy) {
    let limits = policy.limits();
    assert!(!limits.is_empty(), "{} has no limit", policy.server());
    let mut targets = HashSet::new();
    for limit in limits {
        judge_limit(limit);
        assert!(
            targets.insert((limit.scope(), limit.operation().cloned())),
            "{limit} twice"
        );
    }
}

fn judge_limit(limit: &Limit) {
    let quota = limit.quota();
    assert!((1..=i32::MAX.cast_unsigned()).contains(&quota.capacity()));
    let days = Duration::from_hours(24 * 366);
    assert!((Duration::from_millis(1)..=days).contains(&quota.refill_period()));
    let Some(operation) = limit.operation() else {
        return;
    };
    let name = operation.name();
    let is_fine = match operation.kind() {
        OperationKind::Tool => {
            let may = |b: u8| b.is_ascii_alphanumeric() || b"_-./".contains(&b);
            (1..=128).contains(&name.len()) && name.bytes().all(may)
        }
        OperationKind::Prompt | OperationKind::Resource => {
            (1..=1_024).contains(&name.len()) && !name.contains(char::is_control)
        }
    };
    assert!(is_fine, "{operation:?}");
}
