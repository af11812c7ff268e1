//! `toolgate check` and `toolgate peek`.

use std::{io, process::Stdio};

use tonic::Status;
use toolgate_proto::pb;

use crate::{
    answers::{allowed, denied},
    scripted::{Limiter, Script},
    toolgate::{Ran, command, run},
};

fn answering<const N: usize>(answers: [pb::CheckResponse; N]) -> Limiter {
    Limiter::start(Script {
        checks: answers.map(Ok).into(),
        ..Script::default()
    })
}

#[test]
fn an_allowed_check_exits_with_0_and_asks_what_was_typed() {
    let limiter = answering([allowed(9)]);
    let line = "check default/research --user alice --issuer https://id.example --group dev \
                --group ops --tool github_search --cost 3";
    let ran = run(&limiter.endpoint, line);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(ran.stderr, "");
    let request = pb::CheckRequest {
        server: "default/research".to_owned(),
        identity: Some(pb::Identity {
            subject: "alice".to_owned(),
            issuer: "https://id.example".to_owned(),
            groups: vec!["dev".to_owned(), "ops".to_owned()],
        }),
        operation: Some(pb::check_request::Operation::Tool(
            "github_search".to_owned(),
        )),
        cost: 3,
    };
    assert_eq!(limiter.asked().checks, [request]);
}

#[test]
fn a_check_without_a_user_is_anonymous() {
    let limiter = answering([allowed(9)]);
    run(
        &limiter.endpoint,
        "check default/research --resource file:///a.csv",
    );
    let request = pb::CheckRequest {
        server: "default/research".to_owned(),
        identity: None,
        operation: Some(pb::check_request::Operation::Resource(
            "file:///a.csv".to_owned(),
        )),
        cost: 1,
    };
    assert_eq!(limiter.asked().checks, [request]);
}

#[test]
fn several_checks_are_a_table_and_one_denial_exits_with_3() {
    let limiter = answering([allowed(1), allowed(0), denied()]);
    let ran = run(
        &limiter.endpoint,
        "check default/research --user alice --tool github_search -n 3",
    );
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert_eq!(
        ran.stdout,
        "\
#  decision  refused by                   retry after  tool github_search per user
──────────────────────────────────────────────────────────────────────────────────
1  allowed   -                            -                                      1
2  allowed   -                            -                                      0
3  denied    tool github_search per user  5.9s                                   0

2 allowed, 1 denied
"
    );
}

#[test]
fn json_is_one_object_a_check() {
    let limiter = answering([allowed(0), denied()]);
    let ran = run(
        &limiter.endpoint,
        "check default/research -n 2 --output json",
    );
    assert_eq!(ran.code, Some(3), "{ran:?}");
    let lines: Vec<serde_json::Value> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["decision"], "DECISION_ALLOWED");
    assert_eq!(lines[0]["buckets"][0]["remaining"], 0);
    assert_eq!(lines[1]["decision"], "DECISION_DENIED");
    assert_eq!(lines[1]["denial"]["retryAfter"], "5.812345678s");
    assert_eq!(lines[1]["denial"]["limit"]["tool"], "github_search");
}

#[test]
fn what_was_decided_before_a_failure_is_still_shown() {
    let limiter = Limiter::start(Script {
        checks: [
            Ok(allowed(4)),
            Err(Status::unavailable("the store does not answer")),
        ]
        .into(),
        ..Script::default()
    });
    let ran = run(&limiter.endpoint, "check default/research -n 5");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stdout.ends_with("1 allowed, 0 denied\n"), "{ran:?}");
    assert!(
        ran.stderr
            .contains("UNAVAILABLE: the store does not answer"),
        "{ran:?}"
    );
    assert_eq!(limiter.asked().checks.len(), 2);
}

#[test]
fn a_peek_shows_the_buckets_and_does_not_check() {
    let limiter = answering([denied(), allowed(7)]);
    let ran = run(
        &limiter.endpoint,
        "peek default/research --prompt weekly_report",
    );
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(
        ran.stdout
            .starts_with("denied: 10 calls per 1m per user of tool"),
        "{ran:?}"
    );
    assert!(ran.stdout.contains("full after"), "{ran:?}");

    let ran = run(&limiter.endpoint, "peek default/research --output json");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let answer: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(answer["check"]["buckets"][0]["remaining"], 7);

    let asked = limiter.asked();
    assert_eq!(asked.checks, []);
    let prompt = pb::check_request::Operation::Prompt("weekly_report".to_owned());
    assert_eq!(asked.peeks[0].operation, Some(prompt));
}

#[test]
fn a_limiter_on_a_unix_socket_is_asked_as_any_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = Script {
        checks: [Ok(allowed(9))].into(),
        ..Script::default()
    };
    let limiter = Limiter::start_on_socket(script, &folder.path().join("grpc.sock"));
    let ran = run(&limiter.endpoint, "check default/research");
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[test]
fn the_endpoint_may_come_from_the_environment() {
    let limiter = answering([allowed(9)]);
    let mut command = command(["check", "default/research", "--timeout=30s"]);
    command.env("TOOLGATE_ENDPOINT", &limiter.endpoint);
    let ran: Ran = command.output().expect("the binary runs").into();
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[test]
fn a_reader_that_has_gone_is_no_error_and_ends_a_long_run() {
    let limiter = answering([denied(), denied()]);
    for output in ["json", "table"] {
        let (reader, writer) = io::pipe().expect("a pipe");
        drop(reader);
        let args = [
            "check",
            "default/research",
            "--timeout=30s",
            "--output",
            output,
        ];
        let mut command = command(args);
        command.args(["--endpoint", &limiter.endpoint]);
        command.args(["-n", if output == "json" { "2" } else { "1" }]);
        command.stdout(writer).stderr(Stdio::piped());
        let ran: Ran = command.output().expect("the binary runs").into();
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(3), ""));
    }
    assert_eq!(limiter.asked().checks.len(), 2);
}
