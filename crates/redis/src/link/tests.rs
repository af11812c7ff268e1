use toolgate_limit::BucketStore as _;

use super::*;
use crate::{
    refusing::{Refusing, plan, restarts},
    store::RedisStore,
};

/// A loss for this reason makes the keeper of the connection panic.
pub(super) fn strike(end: &End) {
    let (End::Lost(fault) | End::Silent(fault) | End::Failed(fault)) = end;
    assert!(!fault.to_string().contains(Refusing::BAD_LUCK), "bad luck");
}

/// The connection was never made anew.
#[tokio::test]
async fn a_connection_whose_task_panics_is_made_anew_before_the_next_check() {
    let server = Refusing::start().await;
    let tasks = Tasks::default();
    let store = RedisStore::open_with(&server.config(), None, tasks.clone()).expect("a URL");
    let ask = async || {
        let answer = store.take(vec![plan("test/server")]).await.remove(0);
        answer.expect_err("nothing is decided")
    };
    for panics in 1..=3 {
        assert!(Refusing::has_refused(&[ask().await]));
        server.be_unlucky();
        let error = ask().await;
        assert_eq!(error.kind(), "readonly", "{error}");
        let error = ask().await;
        assert!(
            Refusing::has_refused(std::slice::from_ref(&error)),
            "{error}"
        );
        assert_eq!(restarts(&tasks, "redis_connection"), panics);
        let fault = tasks.fault().expect("for `/readyz`");
        assert!(fault.contains("`redis_connection`"), "{fault}");
    }
    assert_eq!(restarts(&tasks, "redis_queue"), 0);
}
