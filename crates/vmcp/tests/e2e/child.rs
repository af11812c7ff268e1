//! Children that do what no server should: one in `sh` that does as it is told.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use rmcp::model::CallToolRequestParams;
use serde_json::json;
use tempfile::TempDir;
use tokio::time::{Duration, Instant};
use toolgate_limit::Identity;
use vmcp::{
    Vmcp, VmcpError,
    core::{BackendSettings, Core, Sessions, Transport},
};

use crate::{
    backend::{as_child, timing},
    wait::{settled, until},
};

/// Each start adds a line to `$LOG`: the process. `deaf` reads no more once it is called.
pub(crate) const SERVER: &str = r#"
echo $$ >> "$LOG"
answer() { printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$1"; }
while read -r line; do
  id=$(printf %s "$line" | sed -n 's/.*"id":\([0-9]*\).*/\1/p')
  case $line in
    *'"initialize"'*) answer '{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"sh","version":"1"}}';;
    *'"tools/list"'*) answer '{"tools":[{"name":"echo","inputSchema":{}},{"name":"deaf","inputSchema":{}},{"name":"huge","inputSchema":{}},{"name":"odd","inputSchema":{}}]}';;
    *'"name":"echo"'*) answer '{"content":[]}';;
    *'"name":"deaf"'*) exec sleep 1000;;
    *'"name":"odd"'*) answer '"no result';;
    *'"name":"huge"'*)
      printf '{"result":{"content":[{"type":"text","text":"'
      head -c 17000000 /dev/zero | tr '\0' x
      printf '"}]},"jsonrpc":"2.0","id":%s}\n' "$id";;
  esac
done
"#;

/// A folder with the file that children write to.
pub(crate) struct Log(TempDir);

impl Log {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("log")
    }

    /// The processes that were started.
    pub(crate) fn starts(&self) -> Vec<String> {
        let log = fs::read_to_string(self.path()).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    pub(crate) fn child(&self, script: String) -> BackendSettings {
        BackendSettings {
            name: "a".parse().unwrap(),
            transport: Transport::Command {
                program: "sh".to_owned(),
                args: vec!["-c".to_owned(), script],
                env: BTreeMap::from([("LOG".to_owned(), self.path().display().to_string())]),
            },
            timing: timing(),
            sessions: Sessions::Shared,
        }
    }
}

async fn call(core: &Core, user: &str, call: CallToolRequestParams) -> Result<(), VmcpError> {
    let user = Identity::new(user).unwrap();
    core.call_tool(&user, call).await.map(drop)
}

fn is_there(process: &str) -> bool {
    Path::new("/proc").join(process).exists()
}

/// Closing it waited for a line that it would never take: it stayed for ever, and a new one beside it.
#[tokio::test]
async fn a_child_that_reads_nothing_is_ended() {
    let log = Log::new();
    let mut settings = log.child(SERVER.to_owned());
    settings.timing.request = Duration::from_millis(300);
    let core = Core::start(vec![settings]);
    settled(&core).await;
    for (tool, bytes) in [("a_deaf", 1), ("a_echo", 1_000_000), ("a_echo", 1_000_000)] {
        let mut params = CallToolRequestParams::new(tool);
        params.arguments = json!({"x": "x".repeat(bytes)}).as_object().cloned();
        let late = call(&core, "alice", params).await.unwrap_err();
        assert!(late.to_string().contains("no answer within"), "{late}");
    }
    let starts = log.starts();
    assert_eq!(starts.len(), 1);
    assert!(is_there(&starts[0]), "it is alive until it is not needed");
    drop(core);
    until("it has ended", async || !is_there(&starts[0])).await;
}

/// Calls waited for their deadline.
#[tokio::test]
async fn a_line_that_is_too_long_or_no_answer_ends_its_call_at_once() {
    let log = Log::new();
    let core = Core::start(vec![log.child(SERVER.to_owned())]);
    settled(&core).await;
    let started = Instant::now();
    for (tool, why) in [
        ("a_huge", "its answer is larger than 16777216 bytes"),
        ("a_odd", "its answer is none to this request"),
    ] {
        let failed = call(&core, "alice", CallToolRequestParams::new(tool)).await;
        let failed = failed.unwrap_err().to_string();
        assert_eq!(failed, format!("backend a failed: {why}"));
        call(&core, "alice", CallToolRequestParams::new("a_echo"))
            .await
            .unwrap();
    }
    assert!(started.elapsed() < timing().request);
    assert_eq!(log.starts().len(), 1);
}

/// Its second start was greeted with `server/discover`, and from then on all users shared one process.
#[tokio::test]
async fn a_child_whose_first_start_fails_is_a_process_for_each_user_all_the_same() {
    let Transport::Command { program, .. } = as_child("a").transport else {
        unreachable!("it is a child");
    };
    for first in ["exit 1", "read -r line; exit 1"] {
        let log = Log::new();
        let mut settings = log.child(format!(
            r#"[ -e "$LOG" ] || {{ echo $$ >> "$LOG"; {first}; }}; echo $$ >> "$LOG"; exec '{program}'"#
        ));
        let (most, idle) = (8, Duration::from_hours(1));
        settings.sessions = Sessions::PerUser { most, idle };
        let core = Core::start(vec![settings]);
        until("it is up", async || {
            let listed = core
                .list_tools(&Identity::new("alice").unwrap(), None)
                .await;
            !listed.unwrap().tools.is_empty()
        })
        .await;
        let starts = log.starts().len();
        assert!(starts >= 2, "{first}");
        for _ in 0..2 {
            for user in ["alice", "bob"] {
                let echo = CallToolRequestParams::new("a_echo");
                call(&core, user, echo).await.unwrap();
            }
        }
        assert_eq!(log.starts().len(), starts + 2, "{first}");
    }
}

/// Half of the first wait, as the other half is random.
const LEAST_WAIT: Duration = Duration::from_secs(2);

/// Each call of the user started one more process, and had paid nothing for it.
#[tokio::test]
async fn a_users_child_that_cannot_start_is_not_started_at_each_call() {
    for gone in ["exit 1", "exec sleep 1000"] {
        let log = Log::new();
        let server = SERVER.trim_start().split_once('\n').unwrap().1;
        // The first is the one that health is known by.
        let mut settings = log.child(format!(
            "echo $$ >> \"$LOG\"; [ $(wc -l < \"$LOG\") = 1 ] || {gone}\n{server}"
        ));
        settings.timing.connect = Duration::from_secs(2);
        settings.timing.first_backoff = Duration::from_secs(4);
        settings.timing.longest_backoff = Duration::from_hours(1);
        let (most, idle) = (8, Duration::from_hours(1));
        settings.sessions = Sessions::PerUser { most, idle };
        let core = Core::start(vec![settings]);
        settled(&core).await;
        let fail = async |user: &str| {
            let echo = CallToolRequestParams::new("a_echo");
            let failed = call(&core, user, echo).await.unwrap_err();
            assert!(matches!(failed, VmcpError::Unavailable { .. }), "{failed}");
        };
        fail("alice").await;
        let since = Instant::now();
        for _ in 0..20 {
            fail("alice").await;
            assert!(
                log.starts().len() == 2 || since.elapsed() >= LEAST_WAIT,
                "{gone}"
            );
        }
        // Another user has a first try of its own, and she has one more once she has waited.
        fail("bob").await;
        until("another try", async || {
            fail("alice").await;
            log.starts().len() == 4
        })
        .await;
        assert!(
            since.elapsed() + Duration::from_millis(100) >= LEAST_WAIT,
            "{gone}"
        );
    }
}
