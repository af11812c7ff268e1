use super::*;
use crate::{Config, Namespaces};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).expect("time")
}

/// The Lease of a replica that renewed it at `renewed` by its own clock.
fn lease(replica: &str, renewed: Timestamp) -> Lease {
    let config = Config {
        namespaces: Namespaces::All,
        status: true,
        lease_namespace: None,
        lease_name: "toolgate".to_owned(),
        replica: replica.to_owned(),
        pod_uid: None,
    };
    lease::write(&config, ("tools", "tools"), &Progress::default(), renewed)
}

fn live(replicas: &Replicas, now: Timestamp) -> Vec<&str> {
    replicas.live(now).into_keys().collect()
}

#[test]
fn a_replica_lives_until_its_lease_was_not_renewed_for_30_seconds() {
    let mut replicas = Replicas::default();
    replicas.observe(&[lease("a", at(0)), lease("b", at(0))], at(1));
    replicas.observe(&[lease("a", at(20)), lease("b", at(0))], at(21));
    assert_eq!(live(&replicas, at(29)), ["a", "b"]);
    assert_eq!(live(&replicas, at(30)), ["a"]);
    replicas.observe(&[lease("a", at(20))], at(31));
    assert_eq!(live(&replicas, at(31)), ["a"]);
}

#[test]
fn a_renewal_that_is_seen_counts_whatever_the_clock_of_its_node_says() {
    let mut replicas = Replicas::default();
    replicas.observe(&[lease("slow", at(-600)), lease("fast", at(600))], at(0));
    // Of the slow one nothing is known yet, and the fast one is not believed.
    assert_eq!(live(&replicas, at(0)), ["fast"]);
    assert_eq!(live(&replicas, at(30)), [""; 0]);
    replicas.observe(&[lease("slow", at(-590)), lease("fast", at(610))], at(10));
    assert_eq!(live(&replicas, at(39)), ["fast", "slow"]);
}

/// After an outage of the API server every Lease has run out. A leader that took all replicas but itself
/// for gone would write every policy, and again once they have renewed.
#[test]
fn a_replica_whose_lease_has_just_run_out_counts_at_first_sight_and_has_time_to_renew_it() {
    let mut replicas = Replicas::default();
    replicas.observe(&[lease("a", at(-300)), lease("b", at(-300))], at(0));
    assert_eq!(live(&replicas, at(11)), ["a", "b"]);
    replicas.observe(&[lease("a", at(5)), lease("b", at(-300))], at(11));
    assert_eq!(live(&replicas, at(12)), ["a"]);
}

#[test]
fn a_replica_that_is_long_gone_does_not_live_at_first_sight() {
    let mut replicas = Replicas::default();
    replicas.observe(&[lease("gone", at(-600))], at(0));
    assert_eq!(live(&replicas, at(0)), [""; 0]);
    // The time in it does not say that, as the next test shows.
    assert_eq!(replicas.forgotten(at(599)).count(), 0);
    assert_eq!(replicas.forgotten(at(600)).count(), 1);
}

/// Its Lease was deleted every time that another replica began to lead, or lost the API server.
#[test]
fn the_lease_of_a_replica_whose_clock_is_an_hour_off_is_not_deleted() {
    for off in [-3_600, 3_600] {
        let mut replicas = Replicas::default();
        for second in (0..1_200).step_by(10) {
            replicas.observe(&[lease("off", at(second + off))], at(second));
            assert_eq!(replicas.forgotten(at(second)).count(), 0, "{off} {second}");
        }
        assert_eq!(live(&replicas, at(1_199)), ["off"]);
    }
}

#[test]
fn a_lease_is_deleted_when_it_was_seen_unchanged_for_ten_minutes() {
    let mut replicas = Replicas::default();
    replicas.observe(&[lease("a", at(0)), lease("b", at(0))], at(0));
    replicas.observe(&[lease("a", at(0)), lease("b", at(590))], at(590));
    assert_eq!(replicas.forgotten(at(599)).count(), 0);
    let forgotten: Vec<_> = replicas.forgotten(at(600)).map(|(name, _)| name).collect();
    assert_eq!(forgotten, ["toolgate-a"]);
}

#[test]
fn other_leases_are_no_replicas() {
    let mut other = lease("other", at(0));
    other.metadata.annotations = None;
    let mut replicas = Replicas::default();
    replicas.observe(&[other], at(0));
    assert_eq!(live(&replicas, at(0)), [""; 0]);
    other = lease("other", at(0));
    other.metadata.name = None;
    replicas.observe(&[other], at(0));
    assert_eq!(live(&replicas, at(0)), [""; 0]);
}
