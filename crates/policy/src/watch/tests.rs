//! On real files and real events. Nothing sleeps: a change is waited for until it is seen, within a
//! deadline that only a broken watch reaches.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use tempfile::TempDir;
use tokio::time::timeout;
use toolgate_limit::{Clock, Policies, SystemClock, Timestamp};

use super::*;
use crate::{ReloadStatus, reload::tests::manifest};

const DEADLINE: Duration = Duration::from_mins(1);

/// Never within a test, so that only events can tell of a change.
const NO_RECHECK: Duration = Duration::from_hours(1);

struct Running {
    registry: Arc<Registry>,
    reloads: tokio::sync::watch::Receiver<ReloadStatus>,
    _watch: Watch,
}

impl Running {
    fn on(path: PathBuf, recheck: Duration) -> Self {
        let registry = Arc::new(Registry::new(Arc::new(SystemClock::new())));
        let mut source = FileSource::new(vec![path]).recheck_every(recheck);
        source.load(&registry).expect("valid");
        Self {
            reloads: registry.subscribe(),
            _watch: source.watch(Arc::clone(&registry)).expect("thread"),
            registry,
        }
    }

    /// Waits until the capacities in force are these, by server.
    async fn capacities(&mut self, expected: &[u32]) {
        let registry = Arc::clone(&self.registry);
        let capacities = || -> Vec<u32> {
            let snapshot = registry.snapshot();
            let policies = snapshot.policies().into_iter();
            let limits = policies.flat_map(|policy| policy.limits());
            limits.map(|limit| limit.quota().capacity()).collect()
        };
        let reached = self.reloads.wait_for(|_| capacities() == expected);
        let reached = timeout(DEADLINE, reached)
            .await
            .map(|status| status.is_ok());
        assert_eq!(
            reached,
            Ok(true),
            "{expected:?} never came; {:?}",
            capacities()
        );
    }

    /// Waits for the next failure.
    async fn failure(&mut self) -> String {
        let failed = self
            .reloads
            .wait_for(|status| status.last_failure.is_some());
        let status = timeout(DEADLINE, failed).await.expect("in time");
        let failure = status.expect("open").last_failure.clone();
        failure.expect("waited for").diagnostics.to_string()
    }
}

fn folder_with(name: &str, text: &str) -> TempDir {
    let folder = TempDir::new().expect("folder");
    fs::write(folder.path().join(name), text).expect("written");
    folder
}

#[tokio::test]
async fn a_file_that_is_written_in_place_is_reloaded() {
    let folder = folder_with("a.yaml", &manifest("1"));
    let file = folder.path().join("a.yaml");
    let mut running = Running::on(file.clone(), NO_RECHECK);
    for capacity in 2..5_u32 {
        fs::write(&file, manifest(&capacity.to_string())).expect("written");
        running.capacities(&[capacity]).await;
    }
}

#[tokio::test]
async fn a_file_that_is_renamed_over_the_old_one_is_reloaded() {
    let folder = folder_with("a.yaml", &manifest("1"));
    let file = folder.path().join("a.yaml");
    let mut running = Running::on(file.clone(), NO_RECHECK);
    for capacity in 2..5_u32 {
        let new = folder.path().join(".a.yaml.new");
        fs::write(&new, manifest(&capacity.to_string())).expect("written");
        fs::rename(&new, &file).expect("renamed");
        running.capacities(&[capacity]).await;
    }
}

#[tokio::test]
async fn files_that_come_and_go_in_a_folder_are_reloaded() {
    let folder = folder_with("b.yaml", &manifest("1"));
    let mut running = Running::on(folder.path().to_owned(), NO_RECHECK);
    let second = manifest("2").replace("research", "a-second");
    fs::write(folder.path().join("a.yml"), second).expect("written");
    running.capacities(&[2, 1]).await;
    fs::remove_file(folder.path().join("b.yaml")).expect("removed");
    running.capacities(&[2]).await;
}

/// As the kubelet does it: `x.yaml -> ..data/x.yaml`, `..data -> ..1`, and then another `..data` is
/// renamed over it.
fn mount(folder: &Path, version: &str, text: &str) {
    let content = folder.join(version);
    fs::create_dir(&content).expect("created");
    fs::write(content.join("x.yaml"), text).expect("written");
    symlink(version, folder.join("..data_tmp")).expect("linked");
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).expect("renamed");
}

#[tokio::test]
async fn a_config_map_that_is_swapped_is_reloaded() {
    let volume = TempDir::new().expect("folder");
    mount(volume.path(), "..1", &manifest("1"));
    symlink("..data/x.yaml", volume.path().join("x.yaml")).expect("linked");

    let mut folder = Running::on(volume.path().to_owned(), NO_RECHECK);
    let mut file = Running::on(volume.path().join("x.yaml"), NO_RECHECK);
    for capacity in 2..5_u32 {
        mount(
            volume.path(),
            &format!("..{capacity}"),
            &manifest(&capacity.to_string()),
        );
        let old = volume.path().join(format!("..{}", capacity - 1));
        fs::remove_dir_all(old).expect("removed");
        folder.capacities(&[capacity]).await;
        file.capacities(&[capacity]).await;
    }
}

#[tokio::test]
async fn a_broken_file_keeps_the_last_good_snapshot_until_it_is_repaired() {
    let folder = folder_with("a.yaml", &manifest("1"));
    let file = folder.path().join("a.yaml");
    let mut running = Running::on(file.clone(), NO_RECHECK);

    // By renaming, so that no half of it can be seen.
    let broken = folder.path().join(".a.yaml.new");
    fs::write(&broken, manifest("0")).expect("written");
    fs::rename(&broken, &file).expect("renamed");
    let failure = running.failure().await;
    assert!(
        failure.contains("maxTokens must be between 1 and 2147483647, not 0"),
        "{failure}"
    );
    running.capacities(&[1]).await;
    assert_eq!(running.registry.status().generation, 1);

    fs::write(&file, manifest("2")).expect("written");
    running.capacities(&[2]).await;
    assert!(running.registry.status().last_failure.is_none());
}

#[tokio::test]
async fn what_no_event_tells_is_found_by_looking() {
    // Behind two links the file's own folder is watched, but not the one between.
    let real = folder_with("a.yaml", &manifest("1"));
    let other = folder_with("a.yaml", &manifest("2"));
    let between = TempDir::new().expect("folder");
    symlink(real.path(), between.path().join("current")).expect("linked");
    let named = TempDir::new().expect("folder");
    symlink(
        between.path().join("current"),
        named.path().join("policies"),
    )
    .expect("linked");

    let path = named.path().join("policies/a.yaml");
    let mut running = Running::on(path, Duration::from_millis(20));
    symlink(other.path(), between.path().join("new")).expect("linked");
    fs::rename(between.path().join("new"), between.path().join("current")).expect("renamed");
    running.capacities(&[2]).await;
}

#[tokio::test]
async fn what_changed_between_load_and_watch_is_reloaded() {
    let folder = folder_with("a.yaml", &manifest("1"));
    let registry = Arc::new(Registry::new(Arc::new(SystemClock::new())));
    let mut source = FileSource::new(vec![folder.path().to_owned()]).recheck_every(NO_RECHECK);
    source.load(&registry).expect("valid");
    fs::write(folder.path().join("a.yaml"), manifest("2")).expect("written");
    let mut running = Running {
        reloads: registry.subscribe(),
        _watch: source.watch(Arc::clone(&registry)).expect("thread"),
        registry,
    };
    running.capacities(&[2]).await;
}

#[tokio::test]
async fn a_dropped_watch_lets_go_of_the_registry() {
    let folder = folder_with("a.yaml", &manifest("1"));
    let running = Running::on(folder.path().to_owned(), NO_RECHECK);
    let Running {
        registry,
        mut reloads,
        _watch: watch,
    } = running;
    drop(watch);
    drop(registry);
    // The channel closes when the thread, the last owner, has ended.
    let closed = timeout(DEADLINE, async { while reloads.changed().await.is_ok() {} }).await;
    assert!(closed.is_ok());
}

/// A rewrite that takes longer than files must be at rest, as over a slow network.
#[tokio::test]
async fn a_file_is_not_read_while_somebody_has_it_open_to_write_it() {
    use std::io::Write as _;

    let second = manifest("2").replace("research", "second");
    let folder = folder_with("a.yaml", &format!("{}---\n{second}", manifest("1")));
    let path = folder.path().join("a.yaml");
    let mut running = Running::on(path.clone(), NO_RECHECK);
    let link = TempDir::new().expect("folder");
    symlink(&path, link.path().join("a.yaml")).expect("linked");
    let mut linked = Running::on(link.path().join("a.yaml"), NO_RECHECK);
    // Both listen once they have seen a change.
    let first = format!("{}---\n{second}", manifest("3"));
    fs::write(&path, first).expect("written");
    running.capacities(&[3, 2]).await;
    linked.capacities(&[3, 2]).await;
    let before = linked.registry.generation();

    let mut file = fs::File::create(&path).expect("truncated");
    file.write_all(manifest("5").as_bytes()).expect("written");
    // Longer than half of a file would have to be at rest.
    let told = timeout(DEBOUNCE * 40, running.reloads.changed()).await;
    assert!(told.is_err(), "{:?}", running.registry.status());
    assert_eq!(linked.registry.generation(), before);
    let rest = format!("---\n{}", second.replace('2', "6"));
    file.write_all(rest.as_bytes()).expect("written");
    drop(file);
    running.capacities(&[5, 6]).await;
    linked.capacities(&[5, 6]).await;
    assert_eq!(running.registry.status().failed, 0);
}

/// The kubelet swaps all keys at once. One key that is gone is a decision; the last is an error.
#[tokio::test]
async fn of_a_config_map_one_key_may_go_and_the_last_may_not() {
    let volume = TempDir::new().expect("folder");
    let folder = volume.path();
    mount(folder, "..1", &manifest("1"));
    fs::write(
        folder.join("..1/y.yaml"),
        manifest("2").replace("research", "why"),
    )
    .expect("written");
    for name in ["x.yaml", "y.yaml"] {
        symlink(format!("..data/{name}"), folder.join(name)).expect("linked");
    }
    let mut running = Running::on(folder.to_owned(), NO_RECHECK);
    running.capacities(&[1, 2]).await;
    mount(folder, "..2", &manifest("1"));
    fs::remove_file(folder.join("y.yaml")).expect("removed");
    running.capacities(&[1]).await;
    assert_eq!(running.registry.status().failed, 0);

    fs::create_dir(folder.join("..3")).expect("created");
    symlink("..3", folder.join("..data_tmp")).expect("linked");
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).expect("renamed");
    fs::remove_file(folder.join("x.yaml")).expect("removed");
    let failure = running.failure().await;
    assert!(failure.contains("has no manifests any more"), "{failure}");
    running.capacities(&[1]).await;
}

#[tokio::test]
async fn a_fifo_that_comes_and_goes_is_told_and_holds_up_no_later_change() {
    let folder = folder_with("a.yaml", &manifest("1"));
    let fifo = folder.path().join("x.yaml");
    let mut running = Running::on(folder.path().to_owned(), NO_RECHECK);
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.expect("mkfifo").success());
    let failure = running.failure().await;
    assert!(failure.contains("x.yaml: error: is a FIFO"), "{failure}");
    fs::remove_file(&fifo).expect("removed");
    fs::write(folder.path().join("a.yaml"), manifest("2")).expect("written");
    running.capacities(&[2]).await;
}

/// A clock that panics when a second generation comes into force.
#[derive(Debug, Default)]
struct Odd(AtomicU32);

impl Clock for Odd {
    fn now(&self) -> Timestamp {
        let reads = self.0.fetch_add(1, Ordering::Relaxed);
        assert_eq!(reads, 0, "bad luck");
        SystemClock::new().now()
    }
}

/// Policies would have stayed as they were, and nobody would have known.
#[tokio::test]
async fn a_watch_that_panics_has_ended() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("a.yaml");
    fs::write(&file, manifest("1")).expect("written");
    let registry = Arc::new(Registry::new(Arc::new(Odd::default())));
    let mut source = FileSource::new(vec![file.clone()]);
    source.load(&registry).expect("valid");
    let mut watch = source.watch(registry).expect("thread");
    assert!(timeout(2 * DEBOUNCE, watch.ended()).await.is_err());
    fs::write(&file, manifest("2")).expect("written");
    assert_eq!(timeout(DEADLINE, watch.ended()).await, Ok(()));
}
