//! Every rule on manifests, with the exact words in which it is reported.
//!
//! The manifests are in `tests/fixtures/manifests` of the repository: one file for each rule.

#![allow(clippy::expect_used, reason = "a test that cannot go on fails")]

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use toolgate_policy::{Loaded, Origin, read_text};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Name and text of each manifest in a folder of the repository, by name.
fn manifests(folder: &str) -> Vec<(String, String)> {
    let entries = fs::read_dir(repository().join(folder)).expect("folder");
    let mut manifests: Vec<_> = entries
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.is_file())
        .map(|path| {
            let name = path.file_name().expect("named").to_string_lossy();
            (name.into_owned(), fs::read_to_string(&path).expect("text"))
        })
        .collect();
    manifests.sort();
    manifests
}

/// All that was read, as people would look at it.
fn shown(loaded: &Loaded) -> String {
    let mut text = String::new();
    for (policy, origin) in &loaded.policies {
        let (server, mode) = (policy.server(), policy.mode());
        let Origin::File { line, .. } = origin else {
            panic!("{origin} is no file");
        };
        writeln!(text, "{server} ({mode:?}), line {line}").expect("write");
        for limit in policy.limits() {
            writeln!(text, "  {limit}").expect("write");
        }
    }
    write!(text, "{}", loaded.diagnostics).expect("write");
    text
}

fn snapshot(folder: &str, check: impl Fn(&str, &Loaded)) {
    for (file, text) in manifests(&format!("tests/fixtures/manifests/{folder}")) {
        let loaded = read_text(Path::new(&file), &text);
        check(&file, &loaded);
        let name = format!("{folder}-{}", file.trim_end_matches(".yaml"));
        let settings = {
            let mut settings = insta::Settings::clone_current();
            settings.set_prepend_module_to_snapshot(false);
            settings.set_omit_expression(true);
            settings
        };
        settings.bind(|| insta::assert_snapshot!(name, shown(&loaded)));
    }
}

#[test]
fn each_broken_manifest_is_refused_in_these_words() {
    snapshot("invalid", |file, loaded| {
        assert!(loaded.diagnostics.has_errors(), "{file} has no error");
    });
}

#[test]
fn each_good_manifest_means_these_limits() {
    snapshot("valid", |file, loaded| {
        assert!(
            !loaded.diagnostics.has_errors(),
            "{file}: {}",
            loaded.diagnostics
        );
    });
}

#[test]
fn all_errors_of_a_document_are_reported_at_once() {
    let (_, text) = manifests("tests/fixtures/manifests/invalid")
        .into_iter()
        .find(|(file, _)| file == "five-errors-at-once.yaml")
        .expect("fixture");
    let loaded = read_text(Path::new("five.yaml"), &text);
    let places: Vec<_> = loaded
        .diagnostics
        .errors()
        .map(|error| (error.line().expect("line"), error.column().expect("column")))
        .collect();
    assert_eq!(places, [(5, 9), (6, 23), (6, 40), (7, 3), (9, 13)]);
    assert!(loaded.into_result().is_err());
}

#[test]
fn the_examples_are_valid_and_raise_no_warning() {
    let examples = manifests("examples");
    assert!(!examples.is_empty());
    for (file, text) in examples {
        let loaded = read_text(Path::new(&file), &text);
        assert!(loaded.diagnostics.is_empty(), "{}", loaded.diagnostics);
        assert_eq!(loaded.policies.len(), 1, "{file}");
    }
}

/// As many tools as a policy may have, all with quotas that an anchor names: far within the bound on
/// what aliases repeat.
#[test]
fn the_largest_policy_may_name_all_of_its_quotas_by_aliases() {
    let mut text = "apiVersion: toolgate.dev/v1alpha1\nkind: RateLimitPolicy\n\
                    metadata: {namespace: default, name: large}\nspec:\n  \
                    global: &quota {maxTokens: 10, refillPeriod: 1m}\n  tools:\n"
        .to_owned();
    for number in 0..4_096 {
        let tool = format!("  - {{name: tool-{number}, global: *quota, perUser: *quota}}\n");
        text.push_str(&tool);
    }
    let loaded = read_text(Path::new("large.yaml"), &text);
    assert_eq!(loaded.diagnostics.to_string(), "");
    assert_eq!(loaded.policies[0].0.limits().len(), 1 + 2 * 4_096);
}
