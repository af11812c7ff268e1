//! A store without a limiter around it, to see its errors as they are.

use std::{num::NonZeroU32, time::Duration};

use toolgate_limit::{
    Answer, BucketStore, Check, Identity, Mode, Plan, Policy, Quota, Quotas, ServerId, StoreError,
};
use toolgate_redis::{RedisConfig, RedisStore};
use toolgate_tests::eventually;

/// A store on `url`, with time for a busy machine.
pub(crate) fn open(url: &str, adjust: impl FnOnce(&mut RedisConfig)) -> RedisStore {
    let mut config = RedisConfig {
        timeout: Duration::from_secs(2),
        ..RedisConfig::new(url)
    };
    adjust(&mut config);
    RedisStore::open(&config).expect("a valid URL")
}

/// A check of `alice` to `test/<server>`, with a bucket for all and one of her own.
pub(crate) fn plan(server: &str) -> Plan {
    let server = ServerId::new("test", server).expect("valid");
    let quota = Quota::new(100_000, Duration::from_hours(24)).expect("valid");
    let own = Quotas {
        global: Some(quota),
        per_user: Some(quota),
    };
    let policy = Policy::new(server.clone(), Mode::Enforce, own, []).expect("valid");
    policy.plan(&Check {
        server,
        identity: Identity::new("alice").expect("valid"),
        operation: None,
        cost: NonZeroU32::MIN,
        trace: None,
    })
}

pub(crate) async fn take(store: &RedisStore) -> Result<Answer, StoreError> {
    take_of(store, plan("server")).await
}

pub(crate) async fn take_of(store: &RedisStore, plan: Plan) -> Result<Answer, StoreError> {
    let mut answers = store.take(vec![plan]).await;
    answers.pop().expect("an answer for each plan")
}

/// Waits until the store decides, and says that all of it does.
pub(crate) async fn decides(store: &RedisStore) {
    eventually("the store decides", async || take(store).await.ok()).await;
    // The other nodes of a cluster may learn of it later.
    eventually("it says so", async || store.ping().await.ok()).await;
}

/// Waits until the store refuses with an error of class `kind`, and returns its text.
pub(crate) async fn refused(store: &RedisStore, kind: &str) -> String {
    eventually(&format!("the store says {kind}"), async || {
        let error = take(store).await.err()?;
        assert!(
            !matches!(error, StoreError::Overloaded | StoreError::Corrupt(_)),
            "{error}"
        );
        (error.kind() == kind).then(|| error.to_string())
    })
    .await
}
