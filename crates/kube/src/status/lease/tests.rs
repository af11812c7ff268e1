use crate::Namespaces;

use super::*;

fn config(namespaces: &str) -> Config {
    Config {
        namespaces: Namespaces::of(namespaces.split(',')).expect("namespaces"),
        status: true,
        lease_namespace: None,
        lease_name: "toolgate".to_owned(),
        replica: "toolgate-7d9f-abcde".to_owned(),
        pod_uid: None,
    }
}

fn view(newest: &[(Option<&str>, &str)]) -> View {
    let newest = newest.iter();
    let newest =
        newest.map(|(namespace, newest)| (namespace.map(str::to_owned), (*newest).to_owned()));
    View {
        newest: newest.collect(),
        objects: Vec::new(),
    }
}

#[test]
fn a_replica_s_lease_reads_as_it_was_written() {
    let config = config("team-a,team-b");
    let progress = Progress::of(&config, &view(&[(Some("team-a"), "1207")]));
    let now = Timestamp::from_second(1_800_000_000).expect("time");
    let lease = write(&config, ("tools", "tools"), &progress, now);
    assert_eq!(
        lease.metadata.name.as_deref(),
        Some("toolgate-toolgate-7d9f-abcde")
    );
    let annotations = lease.metadata.annotations.as_ref().expect("annotations");
    assert_eq!(
        annotations["toolgate.dev/ratelimitpolicies"],
        r#"{"team-a":"1207","team-b":"0"}"#
    );
    let heartbeat = read(&lease).expect("a replica's");
    assert_eq!(heartbeat.replica, "toolgate-7d9f-abcde");
    assert_eq!(heartbeat.progress, progress);
    assert_eq!(heartbeat.renewed, now);
}

#[test]
fn a_lease_without_progress_is_no_replica_s() {
    assert_eq!(read(&Lease::default()), None);
    let mut lease = write(
        &config("*"),
        ("tools", "tools"),
        &Progress::default(),
        Timestamp::UNIX_EPOCH,
    );
    lease.metadata.annotations = Some([(PROGRESS.to_owned(), "not JSON".to_owned())].into());
    assert_eq!(read(&lease), None);
}

#[test]
fn the_name_of_an_election_makes_a_label_however_long_it_is() {
    assert_eq!(label("toolgate"), "toolgate");
    let long = format!("{}.-{}", "x".repeat(61), "y".repeat(60));
    assert_eq!(label(&long), "x".repeat(61));
}

#[test]
fn progress_covers_all_versions_up_to_its_own_in_the_namespaces_that_are_watched() {
    let some = Progress::of(&config("a,b"), &view(&[(Some("a"), "1000")]));
    assert_eq!(some.covers("a", "999"), Some(true));
    assert_eq!(some.covers("a", "1000"), Some(true));
    assert_eq!(some.covers("a", "1001"), Some(false));
    assert_eq!(some.covers("b", "1"), Some(false));
    assert_eq!(some.covers("c", "1"), None);

    let all = Progress::of(&config("*"), &view(&[(None, "1000")]));
    assert_eq!(all.covers("whatever", "999"), Some(true));
    assert_eq!(config("*").namespaces, Namespaces::All);
}

#[test]
fn of_versions_that_are_no_numbers_only_the_same_one_is_covered() {
    let progress = Progress::of(&config("*"), &view(&[(None, "zz")]));
    assert_eq!(progress.covers("a", "zz"), Some(true));
    assert_eq!(progress.covers("a", "aa"), Some(false));
    assert_eq!(progress.covers("a", "7"), Some(false));
}

/// Leases of pods that were killed lay there until another replica swept them.
#[test]
fn a_pod_owns_the_lease_of_its_replica_in_its_own_namespace() {
    let of_a_pod = Config {
        pod_uid: Some("5f0c".to_owned()),
        ..config("*")
    };
    let owners = |config, namespaces| {
        let lease = write(
            config,
            namespaces,
            &Progress::default(),
            Timestamp::UNIX_EPOCH,
        );
        lease.metadata.owner_references
    };
    let owner = owners(&of_a_pod, ("tools", "tools")).expect("an owner");
    let [owner] = owner.as_slice() else {
        panic!("{owner:?}");
    };
    assert_eq!((&*owner.kind, &*owner.name), ("Pod", "toolgate-7d9f-abcde"));
    assert_eq!(owner.uid, "5f0c");
    assert_eq!(owners(&of_a_pod, ("leases", "tools")), None);
    assert_eq!(owners(&config("*"), ("tools", "tools")), None);
}
