use std::{fs, path::Path, sync::Arc};

use tempfile::TempDir;
use toolgate_limit::{Policies, SystemClock};

use super::*;

/// What the system says in a test.
struct Said {
    was_written: bool,
    is_being_written: bool,
}

/// Everything is written, and closed.
const CLOSED: Said = Said {
    was_written: true,
    is_being_written: false,
};

impl Signs for Said {
    fn was_written(&self) -> bool {
        self.was_written
    }

    fn is_being_written(&self, _: &Files) -> bool {
        self.is_being_written
    }
}

/// Looks until something other than [`Look::Unsettled`] is found. How many looks that took.
fn looks_until_told(reloader: &mut Reloader, registry: &Registry, said: &Said) -> u32 {
    let unsettled = (1..).take_while(|_| reloader.look(registry, said) == Look::Unsettled);
    u32::try_from(unsettled.count()).expect("few") + 1
}

fn told(reloader: &mut Reloader, registry: &Registry) -> String {
    looks_until_told(reloader, registry, &CLOSED);
    let failure = registry.status().last_failure;
    failure.map_or_else(String::new, |failure| failure.diagnostics.to_string())
}

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
    assert_eq!(reloader.look(&registry, &CLOSED), Look::Unchanged);

    // As an editor does it that truncates, is seen, and then writes.
    write(&folder, "a.yaml", "");
    assert_eq!(reloader.look(&registry, &CLOSED), Look::Unsettled);
    write(&folder, "a.yaml", &manifest("2"));
    assert_eq!(reloader.look(&registry, &CLOSED), Look::Unsettled);
    assert_eq!(registry.status().generation, 1);
    assert_eq!(reloader.look(&registry, &CLOSED), Look::Told);
    assert_eq!(registry.status().generation, 2);
    assert_eq!(reloader.look(&registry, &CLOSED), Look::Unchanged);
}

#[test]
fn content_that_comes_back_before_it_counted_is_no_change() {
    let folder = TempDir::new().expect("folder");
    write(&folder, "a.yaml", &manifest("1"));
    let registry = registry();
    let mut reloader = reloader(folder.path());
    reloader.load(&registry).expect("valid");
    write(&folder, "a.yaml", "");
    assert_eq!(reloader.look(&registry, &CLOSED), Look::Unsettled);
    write(&folder, "a.yaml", &manifest("1"));
    assert_eq!(reloader.look(&registry, &CLOSED), Look::Unchanged);
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
    assert!(told(&mut reloader, &registry).contains("maxTokens"));
    for _ in 0..4 {
        assert_eq!(reloader.look(&registry, &CLOSED), Look::Unchanged);
    }
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
    let failure = told(&mut reloader, &registry);
    assert!(failure.contains("a.yaml: error: cannot be read"));
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
    reloader.look(&registry, &CLOSED);
    assert_eq!(reloader.look(&registry, &CLOSED), Look::Told);
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
        let found = told(&mut reloader, &registry);
        assert_eq!(capacity(), 2);
        assert!(found.contains(part), "{text}: {found}");
    }
    fs::remove_file(&file).expect("removed");
    told(&mut reloader, &registry);
    assert_eq!(capacity(), 2);
    assert_eq!(registry.status().failed, 5);
}

fn named(server: &str) -> String {
    manifest("1").replace("research", server)
}

fn servers(registry: &Registry) -> Vec<String> {
    let snapshot = registry.snapshot();
    let policies = snapshot.policies().into_iter();
    policies.map(|policy| policy.server().to_string()).collect()
}

/// A disk that is full, an editor that fails and a hand that comments everything out.
#[test]
fn a_file_that_has_no_documents_any_more_keeps_its_policies() {
    for text in ["", "# all: off\n", "---\n---\n", "\u{feff}", "...\n"] {
        let folder = TempDir::new().expect("folder");
        write(&folder, "a.yaml", &named("a"));
        write(&folder, "b.yaml", &named("b"));
        for path in [folder.path().to_owned(), folder.path().join("a.yaml")] {
            write(&folder, "a.yaml", &named("a"));
            let registry = registry();
            let mut reloader = reloader(&path);
            reloader.load(&registry).expect("valid");
            let before = servers(&registry);
            write(&folder, "a.yaml", text);
            let failure = told(&mut reloader, &registry);
            assert!(
                failure.contains("a.yaml: error: has no manifests any more"),
                "{text:?}: {failure}"
            );
            assert_eq!(servers(&registry), before, "{text:?}");
            assert_eq!(registry.status().failed, 1);

            // Nor does a change beside it open the gate.
            write(&folder, "a.yaml", &named("a"));
            assert_eq!(told(&mut reloader, &registry), "");
        }
    }
}

#[test]
fn a_folder_that_is_emptied_or_gone_keeps_all_policies() {
    type Empties = fn(&Path);
    let each_file: Empties = |folder| {
        fs::remove_file(folder.join("a.yaml")).expect("removed");
        fs::remove_file(folder.join("b.json")).expect("removed");
    };
    let whole: Empties = |folder| fs::remove_dir_all(folder).expect("removed");
    let renamed: Empties = |folder| {
        for name in ["a.yaml", "b.json"] {
            let off = folder.join(format!("{name}.off"));
            fs::rename(folder.join(name), off).expect("renamed");
        }
    };
    // As a volume that is not mounted: its mount point is there, and empty.
    let unmounted: Empties = |folder| {
        fs::remove_dir_all(folder).expect("removed");
        fs::create_dir(folder).expect("created");
    };
    for empty in [each_file, whole, renamed, unmounted] {
        let parent = TempDir::new().expect("folder");
        let folder = parent.path().join("policies");
        fs::create_dir(&folder).expect("created");
        let json = "{\n\t\"apiVersion\": \"toolgate.dev/v1alpha1\",\n\t\"kind\": \"RateLimitPolicy\",\n\t\"metadata\": {\"name\": \"b\"},\n\t\"spec\": {\"global\": {\"maxTokens\": 1, \"refillPeriod\": \"1m\"}}\n}\n";
        fs::write(folder.join("a.yaml"), named("a")).expect("written");
        fs::write(folder.join("b.json"), json).expect("written");
        let other = parent.path().join("other.yaml");
        fs::write(&other, named("other")).expect("written");
        let registry = registry();
        let mut reloader = Reloader::new(vec![folder.clone(), other]);
        reloader.load(&registry).expect("valid");
        assert_eq!(servers(&registry).len(), 3);

        empty(&folder);
        let failure = told(&mut reloader, &registry);
        assert!(failure.contains("policies: error: "), "{failure}");
        assert_eq!(servers(&registry).len(), 3);
    }
}

#[test]
fn one_of_several_files_may_be_removed_and_the_last_may_not() {
    let folder = TempDir::new().expect("folder");
    write(&folder, "a.yaml", &named("a"));
    write(&folder, "b.yaml", &named("b"));
    let registry = registry();
    let mut reloader = reloader(folder.path());
    reloader.load(&registry).expect("valid");
    fs::remove_file(folder.path().join("a.yaml")).expect("removed");
    assert_eq!(
        looks_until_told(&mut reloader, &registry, &CLOSED),
        IN_DOUBT
    );
    assert_eq!(servers(&registry), ["default/b"]);
    assert!(registry.status().last_failure.is_none());

    fs::remove_file(folder.path().join("b.yaml")).expect("removed");
    assert!(told(&mut reloader, &registry).contains("has no manifests any more"));
    assert_eq!(servers(&registry), ["default/b"]);
    write(&folder, "c.yaml", &named("c"));
    assert_eq!(told(&mut reloader, &registry), "");
    assert_eq!(servers(&registry), ["default/c"]);
}

#[test]
fn a_start_without_any_policy_is_an_error_unless_it_is_allowed() {
    let folder = TempDir::new().expect("folder");
    let a_file = folder.path().join("a.yaml");
    for text in [None, Some(""), Some("# none\n")] {
        if let Some(text) = text {
            write(&folder, "a.yaml", text);
        }
        let registry = registry();
        let errors = reloader(folder.path()).load(&registry).expect_err("none");
        assert!(errors.to_string().contains("--allow-empty"), "{errors}");
        let mut allowing = reloader(folder.path()).allow_empty(true);
        allowing.load(&registry).expect("allowed");
        // What vanishes later is an error all the same.
        write(&folder, "a.yaml", &named("a"));
        assert_eq!(told(&mut allowing, &registry), "");
        write(&folder, "a.yaml", "");
        assert!(told(&mut allowing, &registry).contains("has no manifests any more"));
        assert_eq!(servers(&registry), ["default/a"]);
        fs::remove_file(&a_file).expect("removed");
    }
}

#[test]
fn what_may_be_half_of_a_file_must_be_at_rest_for_longer() {
    let folder = TempDir::new().expect("folder");
    let two = format!("{}---\n{}", named("a"), named("b"));
    write(&folder, "a.yaml", &two);
    let registry = registry();
    let mut reloader = reloader(folder.path());
    reloader.load(&registry).expect("valid");

    // Half of it is valid, and lacks a policy, or a limit.
    let tool = "global: {maxTokens: 1, refillPeriod: 1m}, tools: [{name: t, global: {maxTokens: 1, refillPeriod: 1m}}]";
    let with_tool = two.replace("global: {maxTokens: 1, refillPeriod: 1m}", tool);
    write(&folder, "a.yaml", &with_tool);
    assert_eq!(looks_until_told(&mut reloader, &registry, &CLOSED), AT_REST);
    for (half, servers_left) in [(two.as_str(), 2), (&*named("a"), 1)] {
        write(&folder, "a.yaml", half);
        for _ in 1..IN_DOUBT {
            assert_eq!(reloader.look(&registry, &CLOSED), Look::Unsettled);
        }
        assert_eq!(reloader.look(&registry, &CLOSED), Look::Told);
        assert_eq!(servers(&registry).len(), servers_left);
    }
    // Of a file of which the system says nothing it is not known whether it is closed.
    let said = Said {
        was_written: false,
        ..CLOSED
    };
    write(&folder, "a.yaml", &two);
    assert_eq!(looks_until_told(&mut reloader, &registry, &said), IN_DOUBT);
    // While it is open it is not looked at for as long as the bound.
    let said = Said {
        is_being_written: true,
        ..CLOSED
    };
    write(&folder, "a.yaml", &named("b"));
    assert_eq!(
        looks_until_told(&mut reloader, &registry, &said),
        BEING_WRITTEN
    );
}

/// As on a file system that does not answer.
fn stuck(paths: &[PathBuf]) -> Files {
    let gate = paths[0].with_extension("stuck");
    while gate.exists() {
        std::thread::yield_now();
    }
    Files::read(paths)
}

#[test]
fn a_file_system_that_does_not_answer_is_told_and_keeps_the_policies() {
    let folder = TempDir::new().expect("folder");
    write(&folder, "a.yaml", &named("a"));
    let registry = registry();
    let mut reloader = reloader(&folder.path().join("a.yaml"));
    reloader.reading.read = stuck;
    reloader.load(&registry).expect("valid");
    reloader.reading.patience = Duration::from_millis(20);
    write(&folder, "a.stuck", "");
    assert_eq!(reloader.look(&registry, &CLOSED), Look::Told);
    assert_eq!(reloader.look(&registry, &CLOSED), Look::Unchanged);
    let failure = registry.status().last_failure.expect("told");
    assert!(failure.diagnostics.to_string().contains("has not answered"));
    assert_eq!(registry.status().failed, 1);
    assert_eq!(servers(&registry), ["default/a"]);

    reloader.reading.patience = PATIENCE;
    fs::remove_file(folder.path().join("a.stuck")).expect("removed");
    assert_eq!(told(&mut reloader, &registry), "");
}

#[test]
fn a_panic_in_reading_is_an_error_and_keeps_the_policies() {
    let folder = TempDir::new().expect("folder");
    write(&folder, "a.yaml", &named("a"));
    let registry = registry();
    let mut reloader = reloader(folder.path());
    reloader.load(&registry).expect("valid");
    reloader.reading.parse = |_, _| panic!("a fault in the parser");
    write(&folder, "a.yaml", &named("b"));
    assert!(told(&mut reloader, &registry).contains("has panicked"));
    assert_eq!(servers(&registry), ["default/a"]);
    reloader.reading.read = |_| panic!("a fault in the reader");
    reloader.look(&registry, &CLOSED);
    assert_eq!(registry.status().failed, 2);
    assert_eq!(servers(&registry), ["default/a"]);
}
