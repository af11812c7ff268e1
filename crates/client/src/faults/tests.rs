use tokio::time::advance;
use tonic::{Code, Status};

use crate::fail_open::tests::Log;

use super::*;

fn rejected(code: &str) -> LimiterError {
    LimiterError::Rejected {
        code: code.to_owned(),
        message: "no rule names it".to_owned(),
    }
}

fn server(name: &str) -> ServerId {
    ServerId::new("test", name).expect("valid")
}

/// It ran unlimited for weeks, and the log was empty.
#[tokio::test(start_paused = true)]
async fn a_fault_is_an_error_at_once_and_every_minute_while_it_lasts() {
    let (faults, log) = (Faults::default(), Log::default());
    let _captured = log.capture();
    let lines = || log.text().lines().filter(|l| l.contains("ERROR")).count();
    for (minute, second) in (0..3).flat_map(|m| (0..60).map(move |s| (m, s))) {
        faults.see_check(&server("a"), &rejected("PermissionDenied"));
        assert_eq!(lines(), minute + 1, "{second}");
        advance(Duration::from_secs(1)).await;
    }
    let text = log.text();
    assert!(
        text.contains("test/a") && text.contains("`callers`"),
        "{text}"
    );
    assert!(text.contains("times=60"), "{text}");
    assert_eq!(faults.count(ConfigFault::PermissionDenied), 180);

    // Each server and each fault has a line of its own.
    faults.see_check(&server("b"), &rejected("PermissionDenied"));
    faults.see_check(&server("b"), &rejected("InvalidArgument"));
    assert_eq!(lines(), 5);
}

#[tokio::test(start_paused = true)]
async fn any_number_of_servers_makes_few_lines() {
    let (faults, log) = (Faults::default(), Log::default());
    let _captured = log.capture();
    for number in 0..10_000 {
        faults.see_check(
            &server(&format!("s-{number}")),
            &rejected("Unauthenticated"),
        );
    }
    assert_eq!(log.text().lines().count(), MAX_KNOWN + 1);
    assert_eq!(faults.told.lock().expect("whole").len(), MAX_KNOWN + 1);
    assert_eq!(faults.count(ConfigFault::Unauthenticated), 10_000);

    // Those that are over make room.
    advance(EVERY).await;
    faults.see_check(&server("new"), &rejected("Unauthenticated"));
    assert!(log.text().contains("test/new"), "{}", log.text());
    assert_eq!(faults.told.lock().expect("whole").len(), 1);
}

#[test]
fn codes_that_no_wait_mends_are_faults_and_others_are_not() {
    for code in (0..=17).map(Code::from) {
        let failed = LimiterError::Failed {
            code: format!("{code:?}"),
            message: String::new(),
        };
        let stream = ConnectError::Stream(Status::new(code, ""));
        let expected = match code {
            Code::InvalidArgument => Some(ConfigFault::InvalidArgument),
            Code::PermissionDenied => Some(ConfigFault::PermissionDenied),
            Code::Unauthenticated => Some(ConfigFault::Unauthenticated),
            Code::Unimplemented => Some(ConfigFault::Unimplemented),
            _ => None,
        };
        assert_eq!(ConfigFault::of_check(&failed), expected, "{code:?}");
        assert_eq!(ConfigFault::of_connection(&stream), expected, "{code:?}");
    }
    let timeout = LimiterError::Timeout { after: EVERY };
    assert_eq!(ConfigFault::of_check(&timeout), None);
    assert_eq!(ConfigFault::of_connection(&ConnectError::Timeout), None);
}

#[test]
fn each_fault_has_a_counter_and_a_label_of_its_own() {
    let faults = Faults::default();
    for (place, fault) in ConfigFault::ALL.into_iter().enumerate() {
        assert_eq!(fault as usize, place);
        (0..=place).for_each(|_| faults.counts[fault as usize].increment());
    }
    for (count, fault) in (1..).zip(ConfigFault::ALL) {
        assert_eq!(faults.count(fault), count);
    }
    let labels: std::collections::HashSet<_> = ConfigFault::ALL.map(ConfigFault::as_str).into();
    assert_eq!(labels.len(), ConfigFault::ALL.len());
}
