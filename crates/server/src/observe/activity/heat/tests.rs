use toolgate_limit::{
    Decision, Denial, ManualClock, Mode, Operation, OperationKind, Policy, Quota, Quotas, Scope,
    ServerId, Snapshot, StoreError,
};

use super::*;
use crate::observe::activity::hot_buckets::HotBucket;

#[derive(Debug)]
struct Fixed(Arc<Snapshot>);

impl Policies for Fixed {
    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.0)
    }
}

fn server() -> ServerId {
    "test/server".parse().expect("a server")
}

fn tool(name: &str) -> Operation {
    Operation::new(OperationKind::Tool, name).expect("a tool")
}

/// Global and per user, of the server and of the tool `search`.
fn policy(mode: Mode) -> Policy {
    let quota = Quota::new(10, Duration::from_mins(1)).expect("a quota");
    let both = Quotas {
        global: Some(quota),
        per_user: Some(quota),
    };
    Policy::new(server(), mode, both, [(tool("search"), both)]).expect("a policy")
}

struct Stage {
    heat: Heat,
    clock: ManualClock,
}

impl Stage {
    fn new() -> Self {
        let clock = ManualClock::new(Timestamp::from_micros(1_000_000_000));
        let policies = Fixed(Arc::new(Snapshot::new(1, [policy(Mode::Enforce)])));
        Self {
            heat: Heat::new(Arc::new(policies), Arc::new(clock.clone())),
            clock,
        }
    }

    fn decide(&self, checks: &[Check], answers: &[Result<Answer, StoreError>]) {
        self.heat.decided(&Decided {
            checks,
            answers,
            took: Duration::ZERO,
        });
    }

    fn allow(&self, user: &str, tool: &str) {
        self.decide(&[of(user, tool)], &[Ok(allowed())]);
    }

    fn found(&self) -> HotBuckets {
        let mut all = HotBuckets::default();
        self.heat.add_to(&mut all);
        all
    }

    fn hottest(&self, most: usize) -> Vec<HotBucket> {
        self.found().hottest(most)
    }
}

fn of(user: &str, name: &str) -> Check {
    Check {
        server: server(),
        identity: Identity::new(user)
            .and_then(|user| user.of_issuer("https://id.test"))
            .and_then(|user| user.in_groups(vec!["staff".to_owned()]))
            .expect("a user"),
        operation: Some(tool(name)),
        cost: Check::COST_OF_ONE,
        trace: None,
    }
}

fn allowed() -> Answer {
    Answer {
        unlimited: false,
        ..Answer::unlimited()
    }
}

fn denied_by(limit: &Arc<Limit>) -> Answer {
    let denial = Denial {
        limit: Arc::clone(limit),
        retry_after: None,
        cost: 1,
    };
    Answer {
        decision: Decision::Denied(denial),
        ..Answer::unlimited()
    }
}

fn of_user<'a>(buckets: &'a [HotBucket], user: &str) -> Vec<&'a HotBucket> {
    let is_of = |bucket: &&HotBucket| {
        let identity = bucket.identity.as_ref();
        identity.is_some_and(|identity| identity.subject() == Some(user))
    };
    buckets.iter().filter(is_of).collect()
}

#[test]
fn a_check_warms_all_its_buckets_and_only_the_one_that_refused_has_denied() {
    let stage = Stage::new();
    let policy = policy(Mode::Enforce);
    let refusing = Arc::clone(policy.limits()[3]);
    assert_eq!(refusing.scope(), Scope::PerUser);
    let checks = [of("alice", "search"), of("alice", "search")];
    let kept_back = denied_by(&refusing).shadowed();
    stage.decide(&checks, &[Ok(denied_by(&refusing)), Ok(kept_back)]);
    stage.clock.advance(MEMORY);
    let buckets = stage.hottest(10);
    let shown: Vec<_> = buckets
        .iter()
        .map(|bucket| (bucket.limit.field(), bucket.identity.is_some()))
        .collect();
    assert_eq!(shown.len(), 4, "{shown:?}");
    assert!(!shown[0].1 && !shown[1].1, "shared ones come first");
    for bucket in &buckets {
        let is_refusing = *bucket.limit == *refusing;
        let expected = if is_refusing { bucket.checks } else { 0.0 };
        assert!((bucket.denied - expected).abs() < 1e-9, "{bucket:?}");
        assert!(bucket.checks > 0.0);
        if let Some(identity) = &bucket.identity {
            assert_eq!(identity.issuer(), Some("https://id.test"));
            assert!(identity.groups().is_empty());
        }
    }
}

#[test]
fn a_tool_without_limits_warms_the_server_s_own_buckets_alone() {
    let stage = Stage::new();
    stage.allow("alice", "another");
    stage.clock.advance(STEP);
    let fields = |bucket: &HotBucket| bucket.limit.field().to_owned();
    let fields: Vec<_> = stage.hottest(10).iter().map(fields).collect();
    assert_eq!(fields, ["server", "server"]);
}

#[test]
fn what_nothing_limits_and_what_was_not_decided_warms_nothing() {
    let stage = Stage::new();
    let elsewhere = Check {
        server: "test/another".parse().expect("a server"),
        ..of("alice", "search")
    };
    stage.decide(&[elsewhere], &[Ok(Answer::unlimited())]);
    stage.decide(&[of("alice", "search")], &[Err(StoreError::Overloaded)]);
    stage.clock.advance(STEP);
    assert!(stage.hottest(10).is_empty());
}

#[test]
fn a_steady_rate_is_shown_from_the_first_second_on_and_forgotten_when_it_ends() {
    let stage = Stage::new();
    for second in 1..=60_u32 {
        for _ in 0..20 {
            stage.allow("alice", "search");
            stage.clock.advance(Duration::from_millis(50));
        }
        let buckets = stage.hottest(10);
        let rate = of_user(&buckets, "alice")[0].checks;
        assert!((rate - 20.0).abs() < 1.0, "{rate} after {second} s");
    }
    stage.clock.advance(MEMORY);
    let rate = stage.hottest(10)[0].checks;
    assert!((6.0..8.0).contains(&rate), "{rate}");
    stage.clock.advance(2 * Duration::from_mins(1));
    assert!(stage.hottest(10).is_empty());
}

/// 4,000 checks a second for 10 s, of which the hottest user has one in ten, in groups.
#[test]
fn the_hottest_user_of_a_busy_worker_is_found_by_samples() {
    let stage = Stage::new();
    let answers: Vec<_> = (0..40).map(|_| Ok(allowed())).collect();
    for group in 0..1_000_u32 {
        let check = |place: u32| match place % 10 {
            3 => of("hot", "search"),
            _ => of(&format!("user-{}", (group * 40 + place) % 10_007), "search"),
        };
        let checks: Vec<_> = (0..40).map(check).collect();
        stage.decide(&checks, &answers);
        stage.clock.advance(Duration::from_millis(10));
    }
    let found = stage.found();
    let error = found.error();
    let buckets = found.hottest(20);
    let hot = of_user(&buckets, "hot");
    assert_eq!(hot.len(), 2, "of the server and of the tool");
    let users: Vec<_> = buckets.iter().filter(|it| it.identity.is_some()).collect();
    assert!(std::ptr::eq(users[0], hot[0]) && std::ptr::eq(users[1], hot[1]));
    // Of about 5,000 samples some 500; five times their deviation.
    for bucket in hot {
        let rate = bucket.checks;
        assert!(rate < 500.0 && rate + error > 300.0, "{rate} {error}");
    }
    assert!(error < 4_000.0 * 2.0 * 2.0 / 512.0, "{error}");
    let shared = &buckets[0];
    assert!((3_600.0..4_400.0).contains(&shared.checks), "{shared:?}");
    (stage.heat.kept).read(|kept| assert!(kept.users.entries().count() <= USERS));
}

#[test]
fn workers_add_up() {
    let (one, other) = (Stage::new(), Stage::new());
    for stage in [&one, &other] {
        stage.allow("alice", "search");
        stage.clock.advance(Duration::from_secs(1));
    }
    let alone = one.hottest(10);
    let mut all = one.found();
    other.heat.add_to(&mut all);
    let both = all.hottest(10);
    assert_eq!(both.len(), alone.len());
    for bucket in both {
        assert!((bucket.checks - 2.0 * alone[0].checks).abs() < 1e-9);
    }
}

#[test]
fn no_more_are_shown_at_each_scope_than_asked_for() {
    let stage = Stage::new();
    for user in 0..30 {
        stage.allow(&format!("user-{user}"), "search");
    }
    stage.clock.advance(STEP);
    let shown = stage.hottest(1);
    assert_eq!(shown.len(), 2);
    assert!(shown[0].identity.is_none() && shown[1].identity.is_some());
}
