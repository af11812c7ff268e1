use futures::future::join_all;
use toolgate_limit::BucketStore as _;

use super::*;
use crate::{
    refusing::{Refusing, plan, restarts},
    store::RedisStore,
};

/// A check of it makes the queue panic.
const UNLUCKY: &str = "bad/luck";

pub(super) fn strike(batch: &Batch) {
    for plan in batch.plans() {
        assert_ne!(plan.server().as_str(), UNLUCKY, "bad luck");
    }
}

/// The task ended, and every later check was an error of a closed store, while probes passed.
#[tokio::test]
async fn a_queue_that_panics_costs_the_checks_that_it_has_and_none_of_the_next() {
    let server = Refusing::start().await;
    let tasks = Tasks::default();
    let store = RedisStore::open_with(&server.config(), None, tasks.clone()).expect("a URL");
    let ask = async |servers: &[&str]| {
        let asked = servers.iter().map(|server| store.take(vec![plan(server)]));
        let answers = join_all(asked).await.into_iter().flatten();
        let errors = answers.map(|answer| answer.expect_err("nothing is decided"));
        errors.collect::<Vec<_>>()
    };
    assert!(Refusing::has_refused(&ask(&["test/server"]).await));
    for panics in 1..=3 {
        // Together, so in one batch.
        for error in ask(&["test/server", UNLUCKY, "test/other"]).await {
            assert_eq!(error.kind(), "closed", "{error}");
        }
        let next = ask(&["test/server", "test/other"]).await;
        assert!(Refusing::has_refused(&next), "{next:?}");
        assert_eq!(restarts(&tasks, "redis_queue"), panics);
        let fault = tasks.fault().expect("for `/readyz`");
        assert!(fault.contains("`redis_queue`"), "{fault}");
    }
    assert_eq!(restarts(&tasks, "redis_connection"), 0);
}

/// A Redis that is slow must not collect calls without end.
#[tokio::test]
async fn calls_that_wait_have_a_bound_and_more_are_refused_at_once() {
    let (jobs, mut waiting) = mpsc::channel(MAX_WAITING);
    let sender = tokio::spawn(std::future::pending());
    let queue = Queue { jobs, sender };
    let submit = || queue.submit(vec![plan("test/server")], Instant::now());
    let mut pending: Vec<_> = (0..MAX_WAITING).map_while(|_| submit().ok()).collect();
    assert_eq!(pending.len(), MAX_WAITING);
    for _ in 0..2 {
        let refused = submit().expect_err("one too many");
        assert!(matches!(refused, StoreError::Overloaded), "{refused}");
        // One is taken, and there is room for another.
        drop(waiting.try_recv().expect("they wait"));
        pending.push(submit().expect("room"));
    }
}
