#![allow(
    clippy::disallowed_methods,
    reason = "a first instant to count simulated time from"
)]

use proptest::prelude::*;

use super::*;
use crate::{
    Bucket, Check, Identity, Limit, Mode, Plan, Policy, Quota, Quotas, Scope, ServerId, Timestamp,
    peek,
};

const SECOND: Duration = Duration::from_secs(1);

/// A bucket by its place in the plan and its user; shared where that is 0.
type Key = (usize, u8);
/// What a lookup names: another type than the key, as callers' are.
#[derive(Hash)]
struct Name(usize, u8);

impl Equivalent<Key> for Name {
    fn equivalent(&self, key: &Key) -> bool {
        (self.0, self.1) == *key
    }
}

fn server() -> ServerId {
    "default/research".parse().expect("valid")
}

fn quota(capacity: u32, millis: u64) -> Quota {
    Quota::new(capacity, Duration::from_millis(millis)).expect("valid")
}

/// A server with one bucket for all and one for each user.
fn plan(global: Quota, per_user: Quota) -> Plan {
    let quotas = Quotas {
        global: Some(global),
        per_user: Some(per_user),
    };
    let policy = Policy::new(server(), Mode::Enforce, quotas, []).expect("valid");
    policy.plan(&Check {
        server: server(),
        identity: Identity::anonymous(),
        operation: None,
        cost: Check::COST_OF_ONE,
        trace: None,
    })
}

/// What the store says at `now` of buckets that were full or `empty` when time began.
fn decided(plan: &Plan, empty: &[bool], now: Timestamp) -> Answer {
    let began = Timestamp::from_micros(1_000_000);
    let bucket = |(limit, &empty): (&Arc<Limit>, &bool)| {
        let quota = limit.quota();
        let left = if empty { 0 } else { quota.capacity() };
        let bucket = Bucket::restore(quota, left, 0, began).expect("possible");
        bucket.at(quota, now)
    };
    let buckets: Vec<_> = plan.limits().zip(empty).map(bucket).collect();
    peek(plan, &buckets, now)
}

fn told(answer: &Answer) -> Duration {
    let Decision::Denied(denial) = &answer.decision else {
        panic!("allowed");
    };
    denial.retry_after.expect("it ends")
}

fn remember(cache: &Denials<Key>, user: u8, answer: &Answer, times: (Instant, Instant)) {
    let keys = [(0, 0), (1, user)];
    let buckets = keys.into_iter().zip(answer.buckets.iter().map(Some));
    cache.remember(answer, times, buckets);
}

fn ask(cache: &Denials<Key>, user: u8, now: Instant) -> Option<Answer> {
    cache.look(now)?.answer([Name(0, 0), Name(1, user)], 1, now)
}

/// She was told 10 s, the wait of the bucket that another user had found empty. Her own took an hour.
#[test]
fn the_longest_wait_is_told_whoever_remembers_the_denial() {
    let (began, at) = (Instant::now(), Timestamp::from_micros(1_000_000));
    let plan = plan(quota(3, 30_000), quota(1, 3_600_000));
    let cache = Denials::new(SECOND, 100, began);
    // Bob has his token; alice has none.
    remember(
        &cache,
        1,
        &decided(&plan, &[true, true], at),
        (began, began),
    );
    remember(
        &cache,
        2,
        &decided(&plan, &[true, false], at),
        (began, began),
    );
    let alice = ask(&cache, 1, began).expect("denied");
    assert_eq!(told(&alice), 3_600 * SECOND);
    assert_eq!(
        alice.denial().expect("denied").limit.scope(),
        Scope::PerUser
    );
    let bob = ask(&cache, 2, began).expect("denied");
    assert_eq!(told(&bob), 10 * SECOND);
    assert_eq!(ask(&cache, 3, began), None, "nothing is known of carol");

    // Alice's own is forgotten after a second. Bob's newer denial must not answer for hers.
    let later = began + SECOND;
    remember(
        &cache,
        2,
        &decided(&plan, &[true, false], at),
        (later, later),
    );
    assert!(ask(&cache, 2, later).is_some());
    assert_eq!(ask(&cache, 1, later), None);
}

#[test]
fn a_denial_that_was_on_its_way_during_a_reset_is_not_remembered() {
    let (began, at) = (Instant::now(), Timestamp::from_micros(1_000_000));
    let plan = plan(quota(3, 30_000), quota(1, 3_600_000));
    let denied = decided(&plan, &[true, true], at);
    let cache = Denials::new(SECOND, 100, began);
    let after = |millis| began + Duration::from_millis(millis);
    let is_remembered = |sent, answered| {
        remember(&cache, 1, &denied, (after(sent), after(answered)));
        ask(&cache, 1, after(answered)).is_some()
    };
    assert!(is_remembered(0, 1));
    cache.reset_begins();
    assert_eq!(ask(&cache, 1, after(2)), None, "forgotten at once");
    assert!(!is_remembered(2, 3), "the reset is on its way");
    cache.reset_ends(after(5));
    assert!(!is_remembered(4, 6), "sent before the reset was over");
    assert!(!is_remembered(5, 6), "sent when it was over");
    assert!(is_remembered(6, 7));

    // Two at a time, one of which nobody waits for any more: it may be carried out later.
    cache.reset_begins();
    cache.reset_begins();
    cache.reset_ends(after(1_008));
    assert!(!is_remembered(9, 10), "the other one is on its way");
    cache.reset_ends(after(10));
    assert!(
        !is_remembered(1_000, 1_001),
        "it may have been done by then"
    );
    assert!(is_remembered(1_009, 1_010));
}

#[test]
fn no_check_looks_once_the_last_denial_is_over() {
    let (began, at) = (Instant::now(), Timestamp::from_micros(1_000_000));
    let plan = plan(quota(1, 100), quota(1, 50));
    let cache = Denials::new(SECOND, 100, began);
    assert!(cache.look(began).is_none());
    remember(
        &cache,
        1,
        &decided(&plan, &[true, true], at),
        (began, began),
    );
    let almost = began + Duration::from_millis(99);
    assert!(cache.look(almost).is_some());
    assert!(cache.look(began + Duration::from_millis(100)).is_none());
}

#[test]
fn no_more_is_remembered_than_two_generations_hold() {
    let (began, at) = (Instant::now(), Timestamp::from_micros(1_000_000));
    let plan = plan(quota(1, 3_600_000), quota(1, 3_600_000));
    let denied = decided(&plan, &[true, true], at);
    let cache = Denials::new(SECOND, 10, began);
    for user in 1..=200 {
        remember(&cache, user, &denied, (began, began));
        let memory = cache.lock();
        assert!(memory.younger.len() <= 10 && memory.older.len() <= 10);
    }
    assert!(ask(&cache, 200, began).is_some());
    assert_eq!(ask(&cache, 1, began), None, "what is too much is asked for");
}

/// A cache of a limiter, and a client's on top of it. Each check takes its time on each way.
#[derive(Debug)]
struct Caches {
    began: Instant,
    now: Duration,
    plan: Plan,
    empty: [bool; 2],
    limiter: Denials<Key>,
    client: Denials<Key>,
}

impl Caches {
    fn instant(&self) -> Instant {
        self.began + self.now
    }

    /// What the store would say now.
    fn truth(&self, user: u8) -> Answer {
        let micros = 1_000_000 + u64::try_from(self.now.as_micros()).expect("fits");
        // The second user's bucket is as full as the first one's is empty.
        let own = self.empty[1] == (user == 1);
        decided(
            &self.plan,
            &[self.empty[0], own],
            Timestamp::from_micros(micros),
        )
    }

    fn must_be_true(&self, user: u8, cached: &Answer) -> Result<(), TestCaseError> {
        let truth = self.truth(user);
        prop_assert!(!truth.decision.is_allowed(), "the store would allow");
        let (told, wait) = (told(cached), told(&truth));
        prop_assert!(told >= wait, "told {told:?}, truly {wait:?}");
        // The model's clock counts microseconds, and simulated time does not.
        let most = wait + cached.uncertainty + 2 * ROUNDING;
        prop_assert!(told <= most, "told {told:?}, truly {wait:?}");
        Ok(())
    }

    fn check(&mut self, user: u8, ways: [u64; 4]) -> Result<(), TestCaseError> {
        let asked = self.instant();
        if let Some(cached) = ask(&self.client, user, asked) {
            return self.must_be_true(user, &cached);
        }
        let way = ways.map(Duration::from_micros);
        self.now += way[0];
        let sent = self.instant();
        let answer = if let Some(cached) = ask(&self.limiter, user, sent) {
            self.must_be_true(user, &cached)?;
            cached
        } else {
            self.now += way[1];
            let answer = self.truth(user);
            self.now += way[2];
            remember(&self.limiter, user, &answer, (sent, self.instant()));
            answer
        };
        self.now += way[3];
        remember(&self.client, user, &answer, (asked, self.instant()));
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Limiter and client once denied together for longer than Redis would, by the time that its reply
    /// took.
    #[test]
    fn caches_never_deny_what_the_store_would_allow_and_never_tell_too_short_a_wait(
        quotas in [(1_u32..5, 1_u64..3_000), (1_u32..5, 1_u64..3_000)],
        empty in any::<[bool; 2]>(),
        steps in prop::collection::vec(
            (0_u64..400_000, 1_u8..3, prop::array::uniform4(0_u64..100_000)),
            1..40,
        ),
    ) {
        let began = Instant::now();
        let [global, per_user] = quotas.map(|(capacity, millis)| quota(capacity, millis));
        let mut caches = Caches {
            began,
            now: Duration::ZERO,
            plan: plan(global, per_user),
            empty,
            limiter: Denials::new(SECOND, 100, began),
            client: Denials::new(SECOND, 100, began),
        };
        for (pause, user, ways) in steps {
            caches.check(user, ways)?;
            caches.now += Duration::from_micros(pause / 4);
        }
    }
}
