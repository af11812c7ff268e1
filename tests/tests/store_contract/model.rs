//! Random cases against an exact model.
//!
//! The model is the definition of the token bucket, in integers of 128 bits and in one unit for
//! all: `1 / period` of a token. It shares no code with the product.

use std::time::Duration;

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use toolgate_limit::{Answer, Decision, Mode, Policy, Quota, Quotas, Timestamp};

use crate::fixture::{Call, Fixture, START, quota, tool};

const TOOL: &str = "search";

/// No clock steps back further: near 1970 Redis itself does not work.
const EARLIEST: Timestamp = Timestamp::from_micros(START.as_micros() / 2);

/// The definition: `level = min(capacity, level + elapsed * capacity / period)`, full at first. A clock
/// that stepped back refills nothing until it has come to `as_of` again, or it is more than a period
/// behind it: then the level is that of now.
#[derive(Clone, Copy, Debug)]
struct ModelBucket {
    capacity: u128,
    period: u128,
    level: u128,
    as_of: u128,
}

impl ModelBucket {
    fn full(quota: Quota, now: Timestamp) -> Self {
        let (capacity, period) = (quota.capacity().into(), quota.refill_period().as_micros());
        Self {
            capacity,
            period,
            level: capacity * period,
            as_of: now.as_micros().into(),
        }
    }

    fn refill(&mut self, now: Timestamp) {
        let now = u128::from(now.as_micros());
        if now < self.as_of {
            if self.as_of - now > self.period {
                self.as_of = now;
            }
            return;
        }
        let gained = (now - self.as_of) * self.capacity;
        self.level = (self.capacity * self.period).min(self.level + gained);
        self.as_of = now;
    }

    /// Microseconds from `now` until the bucket holds `tokens`; none if it never can.
    fn wait(&self, tokens: u128, now: Timestamp) -> Option<u128> {
        let stands_still = self.as_of.saturating_sub(now.as_micros().into());
        (tokens <= self.capacity).then(|| {
            let missing = (tokens * self.period).saturating_sub(self.level);
            match missing {
                0 => 0,
                missing => stands_still + missing.div_ceil(self.capacity),
            }
        })
    }
}

/// One step of a case.
#[derive(Clone, Debug)]
enum Step {
    Advance(Duration),
    Take {
        cost: u32,
    },
    /// Only a check that was allowed has written all of its buckets: one that was not written may be
    /// forgotten, as it is full.
    TurnBackIfAllowed {
        cost: u32,
        span: Duration,
    },
    Peek {
        cost: u32,
    },
    /// After a denial: waits until just before the announced time, and then to it.
    WaitAsTold {
        cost: u32,
    },
}

#[derive(Clone, Debug)]
struct Case {
    /// Server global, tool global, server per user, tool per user.
    quotas: [Option<Quota>; 4],
    steps: Vec<Step>,
}

fn any_quota() -> impl Strategy<Value = Quota> {
    let capacity = prop_oneof![
        3 => 1_u32..20,
        1 => Just(1),
        1 => Just(Quota::MAX_CAPACITY),
        1 => 1..=Quota::MAX_CAPACITY,
    ];
    let max_micros = u64::try_from(Quota::MAX_PERIOD.as_micros()).expect("fits");
    let micros = prop_oneof![
        2 => Just(1_000_000),
        1 => Just(60_000_000),
        1 => Just(1_000),
        1 => Just(30 * 86_400 * 1_000_000),
        1 => Just(max_micros),
        2 => 1_000_u64..100_000,
        1 => 1_000_u64..=max_micros,
    ];
    (capacity, micros).prop_map(|(capacity, micros)| quota(capacity, Duration::from_micros(micros)))
}

/// Costs and spans that matter for `quota`: at the edges of tokens, and anywhere between.
fn any_step(quota: Quota) -> impl Strategy<Value = Step> {
    let capacity = quota.capacity();
    let cost = prop_oneof![
        4 => Just(1_u32),
        1 => Just(capacity),
        1 => Just(capacity / 2 + 1),
        1 => Just(capacity + 1),
        2 => 1..=capacity,
    ]
    .boxed();
    let period = quota.period_micros();
    let token = (period / u64::from(capacity)).max(1);
    let span = prop_oneof![
        Just(1),
        Just(token),
        Just(token.saturating_sub(1)),
        Just(token + 1),
        Just(period - 1),
        Just(period),
        1..=period,
        1..=token,
        Just(period + 1),
        Just(period.saturating_mul(3)),
    ]
    .prop_map(Duration::from_micros)
    .boxed();
    let back = (cost.clone(), span.clone());
    prop_oneof![
        6 => cost.clone().prop_map(|cost| Step::Take { cost }),
        2 => back.prop_map(|(cost, span)| Step::TurnBackIfAllowed { cost, span }),
        4 => span.prop_map(Step::Advance),
        1 => cost.clone().prop_map(|cost| Step::Peek { cost }),
        2 => cost.prop_map(|cost| Step::WaitAsTold { cost }),
    ]
}

fn any_case() -> impl Strategy<Value = Case> {
    let maybe = || prop::option::weighted(0.6, any_quota());
    [maybe(), maybe(), maybe(), maybe()]
        .prop_filter("a policy has a limit", |quotas| {
            quotas.iter().any(Option::is_some)
        })
        .prop_flat_map(|quotas| {
            let tightest = quotas.iter().flatten().min_by_key(|quota| quota.capacity());
            let steps = any_step(*tightest.expect("there is one"));
            (Just(quotas), prop::collection::vec(steps, 1..25))
        })
        .prop_map(|(quotas, steps)| Case { quotas, steps })
}

struct Run<'a> {
    fixture: &'a Fixture,
    policy: Policy,
    model: Vec<ModelBucket>,
    /// When each admitted check was decided, and its cost.
    admitted: Vec<(u128, u128)>,
}

impl<'a> Run<'a> {
    fn new(fixture: &'a Fixture, quotas: [Option<Quota>; 4]) -> Self {
        let [global, tool_global, per_user, tool_per_user] = quotas;
        let own = Quotas { global, per_user };
        let of_tool = Quotas {
            global: tool_global,
            per_user: tool_per_user,
        };
        let operations = (of_tool != Quotas::default()).then(|| (tool(TOOL), of_tool));
        let policy = Policy::new(fixture.new_server(), Mode::Enforce, own, operations);
        // No bucket of an earlier case is used again. Lua counts no further than the year 2255; the
        // memory store takes a bucket that is new to it as full as of the latest time.
        fixture.set_clock(match fixture.redis {
            Some(_) => START,
            None => fixture.latest(),
        });
        let now = fixture.now();
        Self {
            fixture,
            policy: policy.expect("valid"),
            model: quotas
                .into_iter()
                .flatten()
                .map(|quota| ModelBucket::full(quota, now))
                .collect(),
            admitted: Vec::new(),
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Advance(span) => self.fixture.advance(span),
            Step::Take { cost } => {
                self.take(cost);
            }
            Step::TurnBackIfAllowed { cost, span } => {
                if self.take(cost) {
                    self.step_back(span);
                }
            }
            Step::Peek { cost } => {
                self.peek(cost);
            }
            Step::WaitAsTold { cost } => self.wait_as_told(cost),
        }
    }

    fn step_back(&mut self, span: Duration) {
        let to = self.fixture.now() - span;
        if to > EARLIEST {
            // The bound is about a span of time, which a step back ends.
            self.expect_admission_bound();
            self.admitted.clear();
            self.fixture.set_clock(to);
        }
    }

    /// Nothing is written, so the model stays as it is too.
    fn peek(&mut self, cost: u32) -> Decision {
        let before = self.model.clone();
        let answer = self.fixture.peek(&self.policy, &call(cost));
        self.expect(&answer, cost);
        self.expect_state(&answer);
        self.model = before;
        answer.decision
    }

    fn take(&mut self, cost: u32) -> bool {
        let answer = self.fixture.take(&self.policy, &call(cost));
        self.expect(&answer, cost);
        if answer.decision.is_allowed() {
            for bucket in &mut self.model {
                bucket.level -= u128::from(cost) * bucket.period;
            }
            let now = self.fixture.now().as_micros().into();
            self.admitted.push((now, cost.into()));
        }
        self.expect_state(&answer);
        answer.decision.is_allowed()
    }

    /// Just before the announced time the check is refused still; at that time it passes.
    fn wait_as_told(&mut self, cost: u32) {
        let asked_at = self.fixture.now();
        if self.take(cost) {
            return;
        }
        let Decision::Denied(denial) = self.peek(cost) else {
            panic!("what was denied just now is allowed");
        };
        let Some(wait) = denial.retry_after else {
            return;
        };
        for early in [Duration::from_millis(1), Duration::from_micros(1)] {
            if let Some(not_yet) = wait.checked_sub(early) {
                self.fixture.set_clock(asked_at + not_yet);
                let decision = self.peek(cost);
                assert!(!decision.is_allowed(), "{early:?} before {wait:?}");
            }
        }
        self.fixture.set_clock(asked_at + wait);
        assert!(self.take(cost), "denied at retry after {wait:?}");
    }

    /// The decision is the model's, and so are the limit that is named and the wait.
    fn expect(&mut self, answer: &Answer, cost: u32) {
        let now = self.fixture.now();
        for bucket in &mut self.model {
            bucket.refill(now);
        }
        let waits = self.model.iter().map(|b| b.wait(cost.into(), now));
        let waits: Vec<_> = waits.collect();
        let longest = waits.iter().map(|wait| wait.unwrap_or(u128::MAX)).max();
        match (&answer.decision, longest.expect("a bucket")) {
            (Decision::Allowed, 0) => {}
            (Decision::Denied(denial), longest) if longest > 0 => {
                let announced = denial.retry_after.map(|wait| wait.as_micros());
                assert_eq!(announced.unwrap_or(u128::MAX), longest);
                let named = answer.buckets.iter().position(|b| b.limit == denial.limit);
                let first = waits.iter().position(|w| w.unwrap_or(u128::MAX) == longest);
                assert_eq!(
                    named, first,
                    "the first bucket with the longest wait is named"
                );
            }
            (decision, wait) => panic!("{decision:?}, but the model waits {wait} us: {self:?}"),
        }
    }

    fn expect_state(&self, answer: &Answer) {
        assert_eq!(answer.buckets.len(), self.model.len());
        for (status, bucket) in answer.buckets.iter().zip(&self.model) {
            assert_eq!(u128::from(status.remaining), bucket.level / bucket.period);
            let full_after = bucket.wait(bucket.capacity, self.fixture.now());
            let full_after = full_after.expect("it can be full");
            assert_eq!(status.full_after.as_micros(), full_after);
        }
    }

    /// Over any span, a bucket admits at most `capacity + span * capacity / period`.
    fn expect_admission_bound(&self) {
        for bucket in &self.model {
            for (first, (began, _)) in self.admitted.iter().enumerate() {
                let mut tokens = 0;
                for (ended, cost) in &self.admitted[first..] {
                    tokens += cost;
                    let bound = bucket.capacity * (bucket.period + (ended - began));
                    assert!(tokens * bucket.period <= bound, "{self:?}");
                }
            }
        }
    }
}

impl std::fmt::Debug for Run<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run")
            .field("model", &self.model)
            .field("admitted", &self.admitted)
            .finish_non_exhaustive()
    }
}

fn call(cost: u32) -> Call<'static> {
    Call {
        user: "alice",
        tool: Some(TOOL),
        cost,
    }
}

fn every_answer_is_the_models(fixture: &Fixture, cases: u32) {
    let mut runner = TestRunner::new(Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    });
    let outcome = runner.run(&any_case(), |case| {
        let mut run = Run::new(fixture, case.quotas);
        for step in &case.steps {
            run.step(step);
        }
        run.expect_admission_bound();
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

#[test]
fn on_memory_every_answer_is_that_of_an_exact_model() {
    every_answer_is_the_models(&Fixture::memory(), 10_000);
}

#[test]
fn on_redis_every_answer_is_that_of_an_exact_model() {
    every_answer_is_the_models(&Fixture::redis(), 2_500);
}
