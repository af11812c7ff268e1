//! Limiters that cannot be reached, do not answer or refuse.

use std::{io::Write as _, net::TcpListener, thread, time::Duration};

use tokio::{net::TcpSocket, time::Instant};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use toolgate_proto::pb;

use crate::{
    scripted::{Limiter, Script},
    toolgate::{self, Ran, run},
};

const COMMANDS: [&str; 6] = [
    "check default/research",
    "peek default/research",
    "buckets default/research",
    "reset default/research",
    "policies",
    "top --once --interval 100ms",
];

fn refusing(status: Status) -> Ran {
    let limiter = Limiter::start(Script {
        checks: [Err(status)].into(),
        ..Script::default()
    });
    run(&limiter.endpoint, "check default/research")
}

#[test]
fn where_nothing_listens_every_command_fails_with_a_hint() {
    // Bound but not listening: connections are refused, and nobody else gets the port.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .bind(([127, 0, 0, 1], 0).into())
        .expect("a free port");
    let endpoint = format!("http://{}", socket.local_addr().expect("bound"));
    for line in COMMANDS {
        let ran = run(&endpoint, line);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:?}");
        assert!(ran.stderr.starts_with("error: "), "{ran:?}");
        assert!(
            ran.stderr
                .contains(&format!("failed at {endpoint}: nothing listens there"))
        );
        assert!(
            ran.stderr
                .contains("hint: start a limiter with `toolgate serve`"),
            "{ran:?}"
        );
    }
}

#[test]
fn a_missing_socket_fails_with_a_hint_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let endpoint = format!("unix://{}", folder.path().join("grpc.sock").display());
    let ran = run(&endpoint, "check default/research");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("nothing listens there"), "{ran:?}");
}

#[test]
fn a_limiter_that_accepts_and_never_answers_costs_no_more_than_the_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
    // Holds the connections open; ends with the tests' process.
    thread::spawn(move || listener.incoming().collect::<Vec<_>>());
    for line in COMMANDS {
        let started = Instant::now();
        let ran = run(&endpoint, &format!("{line} --timeout 200ms"));
        // Far above the timeout for busy machines, far below any wait without a deadline.
        assert!(started.elapsed() < Duration::from_secs(20), "{ran:?}");
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(
            ran.stderr
                .contains(&format!("failed at {endpoint}: no answer within 200ms"))
        );
    }
}

#[test]
fn an_endpoint_that_speaks_http_1_is_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
    let server = thread::spawn(move || {
        let (mut connection, _) = listener.accept().expect("the command connects");
        let written = connection.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        written.expect("the command reads");
        connection
    });
    let ran = run(&endpoint, "check default/research");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.stderr
            .contains("hint: is this the gRPC port of a limiter?"),
        "{ran:?}"
    );
    // Held until here: closing early could take back what was written.
    server.join().expect("the server has answered");
}

#[test]
fn an_invalid_request_shows_the_field() {
    let mut details = ErrorDetails::new();
    details.add_bad_request_violation("server", "must have the form namespace/name");
    let status =
        Status::with_error_details(Code::InvalidArgument, "the request is invalid", details);
    let ran = refusing(status);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let said = "INVALID_ARGUMENT: the request is invalid\n  \
                server: must have the form namespace/name\n";
    assert!(ran.stderr.ends_with(said), "{ran:?}");
}

#[test]
fn an_outage_shows_its_reason() {
    let details = ErrorDetails::with_error_info("STORE_UNAVAILABLE", "toolgate.dev", []);
    let status = Status::with_error_details(Code::Unavailable, "the store is gone", details);
    let ran = refusing(status);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let said = "UNAVAILABLE: the store is gone\n  reason: STORE_UNAVAILABLE (toolgate.dev)\n";
    assert!(ran.stderr.ends_with(said), "{ran:?}");
}

#[test]
fn an_answer_without_a_decision_is_an_error_and_not_allowed() {
    let limiter = Limiter::start(Script {
        checks: [
            Ok(pb::CheckResponse::default()),
            Ok(pb::CheckResponse::default()),
        ]
        .into(),
        ..Script::default()
    });
    for line in ["check default/research", "peek default/research"] {
        let ran = run(&limiter.endpoint, line);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.stderr.contains("neither allowed nor denied"), "{ran:?}");
    }
}

#[test]
fn what_a_limiter_says_cannot_drive_the_terminal() {
    let ran = refusing(Status::internal("\x1b[2Jgone"));
    assert!(!ran.stderr.contains('\x1b'), "{ran:?}");
}

#[test]
#[cfg(target_os = "linux")]
fn output_that_cannot_be_written_is_an_error() {
    let limiter = Limiter::start(Script {
        resets: [Ok(pb::ResetBucketsResponse { reset_count: 1 })].into(),
        ..Script::default()
    });
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .expect("a full device");
    let mut command = toolgate::command(["reset", "default/research", "--timeout=30s"]);
    command.args(["--endpoint", &limiter.endpoint]).stdout(full);
    let ran: Ran = command.output().expect("the binary runs").into();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.stderr.contains("cannot write to standard output"),
        "{ran:?}"
    );
}
