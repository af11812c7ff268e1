use std::time::Duration;

use toolgate_proto::pb::{CheckOutcome, Scope};

use super::{replica::Trouble, *};
use crate::top::{
    fixture::{Fixture, failed, limit, of_tool, view},
    watch::Event,
};

const A: &str = "default/a";
const B: &str = "default/b";

fn seen(events: impl IntoIterator<Item = Event>) -> View {
    view(events, Duration::ZERO)
}

fn names(view: &View) -> Vec<&str> {
    view.servers.iter().map(|server| &*server.name).collect()
}

#[test]
fn rates_are_what_two_readings_differ_in_and_replicas_add_up() {
    let first = |number: u16| Fixture::new(number).count(A, CheckOutcome::Allowed, 100);
    let later = |number: u16, seconds: f64, allowed, denied| {
        let later = Fixture::new(number).read_at(60.0 + seconds);
        let later = later.count(A, CheckOutcome::Allowed, allowed);
        later.denied(A, of_tool("x"), denied)
    };
    let view = seen([
        first(1).answer(),
        first(2).answer(),
        later(1, 2.0, 120, 40).answer(),
        later(2, 1.0, 150, 0).answer(),
    ]);
    let (counts, rates) = (view.sum.counts, view.sum.rates.expect("two readings"));
    assert_eq!((counts.allowed, counts.denied), (270, 40));
    assert_eq!((rates.allowed, rates.denied), (60.0, 20.0));
    assert_eq!(view.servers[0].limits[0].sum.counts.denied, 40);
    let of_replicas: Vec<_> = view.replicas.iter().map(|it| it.sum.counts.all()).collect();
    assert_eq!(of_replicas, [160, 150]);
}

#[test]
fn errors_are_those_of_no_server() {
    let of = |seconds, errors| {
        let it = Fixture::new(1).read_at(seconds);
        it.count("", CheckOutcome::Error, errors)
    };
    let view = seen([of(60.0, 0).answer(), of(61.0, 5).answer()]);
    assert_eq!(view.sum.counts.error, 5);
    assert!(view.sum.rates.is_some_and(|rates| rates.error > 4.9));
    assert!(view.servers.is_empty(), "{:?}", view.servers);
}

#[test]
fn one_reading_makes_no_rate_and_a_restart_none_either() {
    let reading = |id: &str, allowed| {
        let mut it = Fixture::new(1).count(A, CheckOutcome::Allowed, allowed);
        it.activity.replica.as_mut().expect("a replica").id = id.to_owned();
        it
    };
    let first = reading("one", 100).answer();
    assert_eq!(seen([first]).sum.rates, None);
    let restarted = [
        reading("one", 100).answer(),
        reading("two", 5).read_at(61.0).answer(),
    ];
    let view = seen(restarted);
    assert_eq!((view.sum.rates, view.sum.counts.allowed), (None, 5));
}

#[test]
fn a_replica_that_fails_counts_no_more_until_it_is_back() {
    let reading = |seconds, allowed| {
        Fixture::new(1)
            .read_at(seconds)
            .count(A, CheckOutcome::Allowed, allowed)
    };
    let before = || [reading(60.0, 100).answer(), reading(61.0, 200).answer()];
    let endpoint = Fixture::new(1).endpoint;
    let gone = before()
        .into_iter()
        .chain([failed(&endpoint), failed(&endpoint)]);
    let gone = view(gone, Duration::from_secs(7));
    assert_eq!((gone.sum, gone.replicas.len()), (Sum::default(), 1));
    let State::Unreachable(trouble) = &gone.replicas[0].state else {
        panic!("{:?}", gone.replicas[0]);
    };
    assert_eq!(trouble.lasts, Duration::from_secs(7));
    assert_eq!(trouble.reason, "no answer within 1s");

    let back = [failed(&endpoint), reading(71.0, 1_200).answer()];
    let back = seen(before().into_iter().chain(back));
    assert_eq!(back.replicas[0].state, State::Serving);
    let rates = back.sum.rates.expect("of the time between");
    assert!((rates.allowed - 100.0).abs() < 1e-9, "{rates:?}");
}

#[test]
fn two_endpoints_of_one_replica_count_once_and_one_that_has_left_not_at_all() {
    let again = Fixture {
        endpoint: "http://localhost:7070".to_owned(),
        ..Fixture::new(1)
    };
    let events = || {
        let count = |it: Fixture| it.count(A, CheckOutcome::Allowed, 10).answer();
        [
            count(Fixture::new(1)),
            count(again.clone()),
            count(Fixture::new(2)),
        ]
    };
    let view = seen(events());
    assert_eq!((view.replicas.len(), view.sum.counts.allowed), (2, 20));
    let left = Event::Left(Fixture::new(2).endpoint);
    let view = seen(events().into_iter().chain([left]));
    assert_eq!((view.replicas.len(), view.sum.counts.allowed), (1, 10));
}

#[test]
fn servers_limits_and_buckets_are_sorted_as_asked() {
    let first = Fixture::new(1)
        .denied(A, of_tool("x"), 0)
        .count(B, CheckOutcome::Allowed, 0);
    let later = Fixture::new(1)
        .read_at(61.0)
        .denied(A, of_tool("x"), 10)
        .denied(A, of_tool("y"), 20)
        .count(B, CheckOutcome::Allowed, 1_000)
        .hot(limit(Scope::Global, None), None, (500.0, 0.0), None)
        .hot(of_tool("x"), Some("bob"), (20.0, 15.0), Some(0))
        .hot(of_tool("x"), Some("alice"), (30.0, 15.0), Some(0));
    let mut view = seen([first.answer(), later.answer()]);
    let users = |view: &View| -> Vec<String> { view.hot.iter().map(Hot::user).collect() };
    assert_eq!(names(&view), [A, B]);
    let limits = view.servers[0].limits.iter().map(|it| it.limit.clone());
    assert_eq!(limits.collect::<Vec<_>>(), [of_tool("y"), of_tool("x")]);
    assert_eq!(users(&view), ["alice", "bob", "(shared)"]);
    view.sort(Sort::Checks);
    assert_eq!(names(&view), [B, A]);
    assert_eq!(users(&view), ["(shared)", "alice", "bob"]);
    view.sort(Sort::Name);
    assert_eq!(names(&view), [A, B]);
}

#[test]
fn a_bucket_that_is_hot_at_two_replicas_is_one_row() {
    let hot = |number, remaining| {
        Fixture::new(number)
            .hot(of_tool("x"), Some("alice"), (10.0, 5.0), remaining)
            .answer()
    };
    let view = seen([hot(1, Some(7)), hot(2, Some(3)), hot(3, None)]);
    let [bucket] = &view.hot[..] else {
        panic!("{:?}", view.hot);
    };
    assert_eq!((bucket.checks, bucket.denied), (30.0, 15.0));
    assert_eq!(bucket.status.as_ref().map(|it| it.remaining), Some(3));
}

#[test]
fn a_replica_that_enforces_other_policies_is_marked_whatever_its_generation() {
    let of = |number, generation, policies: &str| {
        let mut it = Fixture::new(number);
        it.activity.reload.as_mut().expect("a status").generation = generation;
        it.activity.policies = policies.to_owned();
        it.answer()
    };
    let others =
        |view: &View| -> Vec<bool> { view.replicas.iter().map(|it| it.is_other).collect() };
    let same = seen([of(1, 1, "p"), of(2, 9, "p")]);
    assert_eq!(others(&same), [false, false]);
    let differ = seen([of(1, 3, "q"), of(2, 3, "p"), of(3, 3, "p")]);
    assert_eq!(others(&differ), [true, false, false]);
    let no_majority = seen([of(1, 3, "q"), of(2, 3, "p")]);
    assert_eq!(others(&no_majority), [false, true]);
}

#[test]
fn without_its_store_a_replica_says_for_how_long_and_whether_it_decides() {
    let view = seen([
        Fixture::new(1).degraded(48.0, true).answer(),
        Fixture::new(2).degraded(59.5, false).answer(),
    ]);
    let states: Vec<_> = view.replicas.iter().map(|it| it.state.clone()).collect();
    let trouble = |millis| Trouble {
        lasts: Duration::from_millis(millis),
        reason: "the store did not answer within 40ms".to_owned(),
    };
    assert_eq!(
        states,
        [
            State::Degraded(trouble(12_000)),
            State::NotDeciding(trouble(500))
        ]
    );
}
