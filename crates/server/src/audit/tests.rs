use std::{fs, num::NonZeroU32, sync::Arc, time::Duration};

use serde_json::{Value, json};
use toolgate_limit::{
    Answer, Check, Decision, Denial, Identity, Limit, ManualClock, Operation, OperationKind, Quota,
    Scope, StoreError, Timestamp, TraceContext,
};

use super::*;

/// 2026-11-21T12:03:00Z.
const NOON: Timestamp = Timestamp::from_micros(1_795_262_580_000_000);

struct Stage {
    folder: tempfile::TempDir,
    clock: ManualClock,
    audit: Audit,
}

fn stage(max_per_second: u32) -> Stage {
    let folder = tempfile::tempdir().expect("a folder");
    let salt_file = folder.path().join("salt");
    fs::write(&salt_file, "0123456789abcdef\n").expect("written");
    let config = AuditConfig {
        to: AuditDestination::File(folder.path().join("audit.jsonl")),
        salt_file,
        sample_ratio: 1.0,
        max_per_second: NonZeroU32::new(max_per_second).expect("not zero"),
    };
    let clock = ManualClock::new(NOON);
    let audit = Audit::open(&config, Arc::new(clock.clone()), &Tasks::default()).expect("opened");
    Stage {
        folder,
        clock,
        audit,
    }
}

impl Stage {
    fn decided(&self, check: &Check, answer: Result<Answer, StoreError>) {
        self.audit.decided(&Decided {
            checks: std::slice::from_ref(check),
            answers: &[answer],
            took: Duration::ZERO,
        });
    }

    async fn lines(&self) -> Vec<Value> {
        self.audit.flush().await;
        let text = fs::read_to_string(self.folder.path().join("audit.jsonl")).expect("read");
        let line = |line| serde_json::from_str(line).expect("JSON");
        text.lines().map(line).collect()
    }
}

fn check(operation: Option<(OperationKind, &str)>) -> Check {
    Check {
        server: "default/research".parse().expect("valid"),
        identity: Identity::new("alice").expect("valid"),
        operation: operation.map(|(kind, name)| Operation::new(kind, name).expect("valid")),
        cost: Check::COST_OF_ONE,
        trace: None,
    }
}

fn denied(check: &Check, retry_after: Option<Duration>) -> Answer {
    let quota = Quota::new(10, Duration::from_mins(1)).expect("a quota");
    let operation = check.operation.clone();
    let limit = Limit::new(check.server.clone(), operation, Scope::PerUser, quota);
    Answer {
        decision: Decision::Denied(Denial {
            limit: Arc::new(limit),
            retry_after,
            cost: 1,
        }),
        unlimited: false,
        ..Answer::unlimited()
    }
}

#[tokio::test]
async fn a_denial_is_one_line_that_does_not_name_the_user() {
    let stage = stage(100);
    let trace = TraceContext {
        trace_id: 0xabc,
        span_id: 1,
        is_sampled: false,
        state: Arc::default(),
    };
    let check = Check {
        trace: Some(Arc::new(trace)),
        ..check(Some((OperationKind::Tool, "search")))
    };
    let wait = Duration::from_millis(5_900);
    stage.decided(&check, Ok(denied(&check, Some(wait))));
    let expected = json!({
        "time": "2026-11-21T12:03:00Z",
        "server": "default/research",
        "operation": "tool:search",
        "limit": {
            "scope": "perUser",
            "operation": "tool:search",
            "capacity": 10,
            "refillPeriodSeconds": 60.0,
        },
        "subject": stage.audit.0.salt.user(&check.identity),
        "cost": 1,
        "retryAfterSeconds": 5.9,
        "shadow": false,
        "degraded": false,
        "traceId": "00000000000000000000000000000abc",
    });
    assert_eq!(stage.lines().await, [expected]);
}

#[tokio::test]
async fn a_resource_is_shown_by_a_pseudonym_and_no_wait_is_null() {
    let stage = stage(100);
    let uri = "file:///home/alice/tax.pdf";
    let check = check(Some((OperationKind::Resource, uri)));
    stage.decided(&check, Ok(denied(&check, None)));
    let lines = stage.lines().await;
    let resource = format!("resource:{}", stage.audit.0.salt.resource(uri));
    assert_eq!(lines[0]["operation"], resource);
    assert_eq!(lines[0]["limit"]["operation"], resource);
    assert_eq!(lines[0]["retryAfterSeconds"], Value::Null);
    assert!(!lines[0].to_string().contains("alice"), "{}", lines[0]);
}

#[tokio::test]
async fn what_was_allowed_or_not_decided_is_no_line_and_what_a_shadow_kept_back_is() {
    let stage = stage(100);
    let check = check(None);
    stage.decided(&check, Ok(Answer::unlimited()));
    stage.decided(&check, Err(StoreError::Overloaded));
    stage.decided(&check, Ok(denied(&check, None).shadowed()));
    let lines = stage.lines().await;
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["shadow"], true);
    assert_eq!(lines[0]["operation"], Value::Null);
}

#[tokio::test]
async fn the_line_after_dropped_ones_says_how_many_they_were() {
    let stage = stage(2);
    let check = check(None);
    for _ in 0..7 {
        stage.decided(&check, Ok(denied(&check, None)));
    }
    stage.clock.set(NOON + Duration::from_secs(1));
    stage.decided(&check, Ok(denied(&check, None)));
    stage.decided(&check, Ok(denied(&check, None)));
    let lines = stage.lines().await;
    let dropped: Vec<_> = lines.iter().map(|line| &line["droppedBefore"]).collect();
    assert_eq!(
        dropped,
        [&Value::Null, &Value::Null, &json!(5), &Value::Null]
    );
}

/// logrotate renames the file and expects the writer to make another one.
#[tokio::test]
async fn a_file_that_was_renamed_is_made_anew() {
    let stage = stage(100);
    let check = check(None);
    stage.decided(&check, Ok(denied(&check, None)));
    assert_eq!(stage.lines().await.len(), 1);
    let path = |name| stage.folder.path().join(name);
    fs::rename(path("audit.jsonl"), path("audit.1")).expect("renamed");
    stage.decided(&check, Ok(denied(&check, None)));
    stage.decided(&check, Ok(denied(&check, None)));
    assert_eq!(stage.lines().await.len(), 2);
    let old = fs::read_to_string(path("audit.1")).expect("read");
    assert_eq!(old.lines().count(), 1);
}

/// A disk that hangs, or a pipe that nobody reads, must not hold up calls.
#[tokio::test]
async fn a_writer_that_hangs_holds_up_nobody_and_loses_no_count() {
    struct Hanging(std::sync::mpsc::Receiver<()>);
    impl io::Write for Hanging {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Hangs until the other end has gone.
            let _ = self.0.recv();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (release, hang) = std::sync::mpsc::channel();
    let writer = Writer::start(Hanging(hang), &Tasks::default()).expect("a thread");
    let taken = (0..10_000)
        .filter(|_| writer.write("line\n".to_owned()))
        .count();
    assert!((1_024..=1_025).contains(&taken), "{taken}");
    writer.flush(Duration::from_millis(10)).await;
    drop(release);
}

/// A full disk wrote half a line; the next one was glued to it, and nobody knew of the loss.
#[tokio::test]
async fn lines_that_could_not_be_written_are_counted_and_spoil_no_other() {
    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<(usize, Vec<u8>)>>);
    impl io::Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (room, written) = &mut *self.0.lock().expect("no panic");
            if *room == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let fits = bytes.len().min(*room);
            *room -= fits;
            written.extend(&bytes[..fits]);
            Ok(fits)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let disk = Disk::default();
    let with_room = |room| disk.0.lock().expect("no panic").0 = room;
    let writer = Writer::start(disk.clone(), &Tasks::default()).expect("a thread");
    with_room(6);
    assert!(writer.write("one\n".to_owned()));
    assert!(writer.write("two\n".to_owned()));
    writer.flush(Duration::from_mins(1)).await;
    assert_eq!(writer.take_lost(), 1);
    with_room(100);
    assert!(writer.write("three\n".to_owned()));
    writer.flush(Duration::from_mins(1)).await;
    assert_eq!((writer.take_lost(), writer.take_lost()), (0, 0));
    let written = disk.0.lock().expect("no panic").1.clone();
    assert_eq!(String::from_utf8_lossy(&written), "one\ntw\nthree\n");
}

/// The thread ended with a panic, and all later lines were dropped.
#[tokio::test]
async fn a_line_that_makes_the_writer_panic_is_lost_alone() {
    #[derive(Clone, Default)]
    struct Odd(Arc<Mutex<Vec<u8>>>);
    impl io::Write for Odd {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            assert_ne!(bytes, b"two\n", "bad luck");
            self.0.lock().expect("no panic").extend(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            let written = self.0.lock().expect("no panic").clone();
            assert!(!written.ends_with(b"four\n"), "bad luck at its end");
            Ok(())
        }
    }
    let (disk, tasks) = (Odd::default(), Tasks::default());
    let writer = Writer::start(disk.clone(), &tasks).expect("a thread");
    for line in ["one\n", "two\n", "three\n", "four\n"] {
        assert!(writer.write(line.to_owned()));
    }
    writer.flush(Duration::from_mins(1)).await;
    assert_eq!(writer.take_lost(), 2);
    assert_eq!(tasks.restarts(), [("audit", 2)]);
    let written = disk.0.lock().expect("no panic").clone();
    assert_eq!(String::from_utf8_lossy(&written), "one\n\nthree\nfour\n");
}

#[test]
fn a_salt_or_a_file_that_is_not_there_is_named() {
    let config = AuditConfig {
        to: AuditDestination::File("/nowhere/audit".into()),
        salt_file: "/nowhere/salt".into(),
        sample_ratio: 1.0,
        max_per_second: NonZeroU32::MIN,
    };
    let open = |config: &AuditConfig| {
        Audit::open(config, Arc::new(ManualClock::default()), &Tasks::default())
    };
    let error = open(&config).expect_err("no salt").to_string();
    assert_eq!(error, "audit.saltFile: /nowhere/salt");
    let salt = tempfile::NamedTempFile::new().expect("a file");
    fs::write(salt.path(), "0123456789abcdef").expect("written");
    let config = AuditConfig {
        salt_file: salt.path().to_owned(),
        ..config
    };
    let error = open(&config).expect_err("no folder").to_string();
    assert_eq!(error, "audit.to: cannot append to /nowhere/audit");
}
