use crate::fail_open::tests::Log;

use super::*;

fn replica() -> Replica {
    let config = ClientConfig::new("http://limiter:7070".parse().expect("an endpoint"));
    let address = Address::of(&config.endpoint).expect("one address");
    Replica::new(address, &config, Arc::default())
}

fn cut() -> End {
    End {
        reason: "cut".into(),
        condemned: false,
        answered: true,
    }
}

/// Each failed probe once said that the connection was lost, and then that there was one.
#[tokio::test]
async fn connections_that_come_and_go_with_failed_probes_are_not_logged() {
    let (replica, log, mut known) = (replica(), Log::default(), Known::Nothing);
    let _captured = log.capture();
    let lines = |part: &str| log.text().lines().filter(|l| l.contains(part)).count();
    replica.log_connected(&mut known);
    assert_eq!(lines("connected to"), 1);
    while replica.breaker().state() == BreakerState::Closed {
        replica.breaker().strike(Instant::now());
    }
    for _ in 0..3 {
        replica.log_lost(&mut known, &cut());
        replica.log_connected(&mut known);
    }
    assert_eq!(log.text().lines().count(), 1, "{}", log.text());

    // Nobody is there any more; that is new.
    replica.log_lost(&mut known, &cut());
    for _ in 0..3 {
        replica.log_no_connection(&mut known, &ConnectError::Timeout);
    }
    assert_eq!(lines("no connection"), 1);
    replica.log_connected(&mut known);
    assert_eq!(lines("connected to"), 2, "{}", log.text());
}

#[tokio::test]
async fn a_connection_that_is_lost_while_all_is_well_is_logged_each_time() {
    let (replica, log, mut known) = (replica(), Log::default(), Known::Nothing);
    let _captured = log.capture();
    for times in 1..=3 {
        replica.log_connected(&mut known);
        replica.log_lost(&mut known, &cut());
        assert_eq!(log.text().lines().count(), 2 * times, "{}", log.text());
    }
}
