use std::sync::Barrier;

use crate::{breaker::Change, session};

use super::*;

const ENDPOINT: &str = "http://limiter:7070";

/// The members of an endpoint whose one replica is connected.
fn members(config: ClientConfig) -> (Arc<Members>, Arc<Replica>, session::tests::Wire) {
    let members = Members::new(Arc::new(config));
    let address = Address::of(&members.config.endpoint).expect("one address");
    let replica = Arc::new(Replica::new(address, &members.config, Arc::default()));
    let (session, wire) = session::tests::session();
    replica.connect(session);
    members.replicas.store(Arc::new(vec![Arc::clone(&replica)]));
    (Arc::new(members), replica, wire)
}

fn config() -> ClientConfig {
    let mut config = ClientConfig::new(ENDPOINT.parse().expect("an endpoint"));
    config.breaker.failures = 1;
    config.breaker.probe.first = Duration::from_nanos(1);
    config
}

/// The check that came second was once counted as if there were no connection.
#[tokio::test]
async fn a_probe_that_another_check_has_taken_leaves_the_breaker_open() {
    let (members, replica, _wire) = members(config());
    for round in 0..2_000 {
        assert_eq!(replica.breaker().strike(Instant::now()), Change::Opened);
        let together = Barrier::new(2);
        let ask = || {
            together.wait();
            members.choose()
        };
        let asked = std::thread::scope(|scope| {
            let threads = [scope.spawn(ask), scope.spawn(ask)];
            threads.map(|thread| thread.join().expect("no panic"))
        });
        let is_wrong = |error: &LimiterError| !matches!(error, LimiterError::BreakerOpen { .. });
        for error in asked.iter().filter_map(|asked| asked.as_ref().err()) {
            assert!(!is_wrong(error), "{round}: {error}");
        }
        let probe = asked.into_iter().find_map(Result::ok).expect("one probes");
        probe.report(&Ok(toolgate_limit::Answer::unlimited()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_with_no_room_for_its_probe_is_overloaded() {
    let (members, replica, _wire) = members(ClientConfig {
        max_in_flight: 1,
        ..config()
    });
    let _in_flight = members.choose().expect("there is room");
    replica.breaker().strike(Instant::now());
    tokio::time::advance(Duration::from_millis(1)).await;
    let error = members.choose().err().expect("there is none");
    assert!(
        matches!(error, LimiterError::Overloaded { max: 1 }),
        "{error}"
    );
}

#[tokio::test]
async fn without_a_replica_the_endpoint_cannot_be_reached() {
    let members = Members::new(Arc::new(config()));
    let error = members.choose().err().expect("nobody is there");
    assert_eq!(
        error.to_string(),
        format!("no limiter is reachable at {ENDPOINT}")
    );
}

/// Until it was passed over, a limiter that stopped was sent checks that it read no more.
#[tokio::test]
async fn a_replica_that_asks_to_leave_is_asked_only_while_there_is_no_other() {
    let (members, leaving, _wire) = members(config());
    let chosen = |members: &Members| {
        let chosen = members.choose().expect("one takes it");
        let is_leaving = chosen.session.is_leaving();
        // An open breaker would decide instead.
        chosen.report(&Ok(toolgate_limit::Answer::unlimited()));
        is_leaving
    };
    members.choose().expect("one").session.ask_to_leave();
    assert!(chosen(&members), "there is no other");

    let address = Address::of(&members.config.endpoint).expect("one address");
    let other = Arc::new(Replica::new(address, &members.config, Arc::default()));
    let (session, _other_wire) = session::tests::session();
    other.connect(session);
    members.replicas.store(Arc::new(vec![leaving, other]));
    for _ in 0..100 {
        assert!(!chosen(&members));
    }
}
