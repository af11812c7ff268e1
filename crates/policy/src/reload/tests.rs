use std::{fs, path::Path, sync::Arc};

use tempfile::TempDir;
use toolgate_limit::{Policies, SystemClock};

use super::*;

pub(crate) fn manifest(max_tokens: &str) -> String {
    format!(
        "apiVersion: toolgate.dev/v1alpha1\nkind: RateLimitPolicy\nmetadata: {{name: research}}\nspec: {{global: {{maxTokens: {max_tokens}, refillPeriod: 1m}}}}\n"
    )
}

fn registry() -> Registry {
    Registry::new(Arc::new(SystemClock::new()))
}

fn write(folder: &TempDir, name: &str, text: &str) {
    fs::write(folder.path().join(name), text).expect("written");
}

fn reloader(path: &Path) -> Reloader {
    Reloader::new(vec![path.to_owned()])
}

#[test]
fn new_content_counts_once_two_looks_have_found_the_same() {
    let folder = TempDir::new().expect("folder");
    write(&folder, "a.yaml", &manifest("1"));
    let registry = registry();
    let mut reloader = reloader(folder.path());
    reloader.load(&registry).expect("valid");
    assert_eq!(reloader.look(&registry), Look::Unchanged);

    // As an editor does it that truncates, is seen, and then writes.
    write(&folder, "a.yaml", "");
    assert_eq!(reloader.look(&registry), Look::Unsettled);
    write(&folder, "a.yaml", &manifest("2"));
    assert_eq!(reloader.look(&registry), Look::Unsettled);
    assert_eq!(registry.status().generation, 1);
    assert_eq!(reloader.look(&registry), Look::Told);
    assert_eq!(registry.status().generation, 2);
    assert_eq!(reloader.look(&registry), Look::Unchanged);
}

#[test]
fn content_that_comes_back_before_it_counted_is_no_change() {
    let folder = TempDir::new().expect("folder");
    write(&folder, "a.yaml", &manifest("1"));
    let registry = registry();
    let mut reloader = reloader(folder.path());
    reloader.load(&registry).expect("valid");
    write(&folder, "a.yaml", "");
    assert_eq!(reloader.look(&registry), Look::Unsettled);
    write(&folder, "a.yaml", &manifest("1"));
    assert_eq!(reloader.look(&registry), Look::Unchanged);
    assert_eq!(registry.status().generation, 1);
}

#[test]
fn a_broken_file_is_told_once_and_the_last_good_snapshot_stays() {
    let folder = TempDir::new().expect("folder");
    write(&folder, "a.yaml", &manifest("1"));
    let registry = registry();
    let mut reloader = reloader(folder.path());
    reloader.load(&registry).expect("valid");

    write(&folder, "a.yaml", &manifest("0"));
    let looks: Vec<_> = (0..4).map(|_| reloader.look(&registry)).collect();
    assert_eq!(
        looks,
        [
            Look::Unsettled,
            Look::Told,
            Look::Unchanged,
            Look::Unchanged
        ]
    );
    let status = registry.status();
    assert_eq!((status.generation, status.failed), (1, 1));
    assert_eq!(registry.snapshot().policies().len(), 1);
}

#[test]
fn a_file_that_vanishes_is_an_error_and_not_an_empty_policy() {
    let folder = TempDir::new().expect("folder");
    write(&folder, "a.yaml", &manifest("1"));
    let registry = registry();
    let mut reloader = reloader(&folder.path().join("a.yaml"));
    reloader.load(&registry).expect("valid");
    fs::remove_file(folder.path().join("a.yaml")).expect("removed");
    reloader.look(&registry);
    reloader.look(&registry);
    let failure = registry.status().last_failure.expect("recorded");
    assert!(
        failure
            .diagnostics
            .to_string()
            .contains("a.yaml: error: cannot be read")
    );
    assert_eq!(registry.snapshot().policies().len(), 1);
}

#[test]
fn an_initial_load_with_errors_puts_nothing_into_force() {
    let folder = TempDir::new().expect("folder");
    write(&folder, "a.yaml", &manifest("1"));
    write(&folder, "b.yaml", &manifest("0"));
    let registry = registry();
    let errors = reloader(folder.path()).load(&registry).expect_err("broken");
    assert_eq!(
        errors.errors().count(),
        2,
        "a bad limit and a second server"
    );
    assert_eq!(registry.status().generation, 0);
    assert!(registry.snapshot().policies().is_empty());
}

#[test]
fn inline_limits_that_vanish_or_break_leave_the_last_good_ones_in_force() {
    let folder = TempDir::new().expect("folder");
    let file = folder.path().join("vmcp.yaml");
    let write = |text: &str| fs::write(&file, text).expect("written");
    let server: ServerId = "default/research".parse().expect("valid");
    let registry = registry();
    let capacity = || {
        let snapshot = registry.snapshot();
        let policy = snapshot.policy(&server).expect("in force");
        policy.limits()[0].quota().capacity()
    };
    let mut reloader = Reloader::inline(file.clone(), server.clone());
    write("name: a\nrateLimiting: {global: {maxTokens: 1, refillPeriod: 1m}}\n");
    reloader.load(&registry).expect("valid");
    assert_eq!(capacity(), 1);

    write("name: a\nrateLimiting: {global: {maxTokens: 2, refillPeriod: 1m}}\n");
    reloader.look(&registry);
    assert_eq!(reloader.look(&registry), Look::Told);
    assert_eq!(capacity(), 2);

    for (text, part) in [
        ("name: a\n", "rateLimiting is missing"),
        ("", "rateLimiting is missing"),
        ("name: a\nratelimiting: {}\n", "did you mean rateLimiting?"),
        (
            "rateLimiting: {global: {maxTokens: 0, refillPeriod: 1m}}\n",
            "maxTokens",
        ),
    ] {
        write(text);
        reloader.look(&registry);
        assert_eq!(reloader.look(&registry), Look::Told);
        assert_eq!(capacity(), 2);
        let failure = registry.status().last_failure.expect("a failure");
        let found = failure.diagnostics.to_string();
        assert!(found.contains(part), "{text}: {found}");
    }
    fs::remove_file(&file).expect("removed");
    reloader.look(&registry);
    reloader.look(&registry);
    assert_eq!(capacity(), 2);
    assert_eq!(registry.status().failed, 5);
}
