use serde_json::json;
use tokio::task::JoinHandle;
use toolgate_limit::{Policies as _, SystemClock};

use super::*;
use crate::objects::tests::{all_policies, limit, policy};

/// A publisher of two watches, and how to tell it of changes.
fn publisher() -> (
    Arc<Registry>,
    mpsc::Sender<(Followed, Change)>,
    JoinHandle<()>,
) {
    let registry = Arc::new(Registry::new(Arc::new(SystemClock::new())));
    let (tell, changes) = mpsc::channel(CHANGES);
    let publisher = Publisher {
        registry: Arc::clone(&registry),
        expected: 2,
        objects: Objects::default(),
        in_force: None,
        seen: Some(watch::channel(None).0),
        instruments: Instruments::default(),
    };
    (registry, tell, tokio::spawn(publisher.run(changes)))
}

fn gateways() -> Followed {
    Followed {
        kind: Kind::VirtualMcpServer,
        namespace: None,
    }
}

async fn settled() {
    tokio::time::sleep(2 * GATHER).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_in_force_until_all_that_is_watched_is_listed() {
    let (registry, tell, running) = publisher();
    let listed = Change::Listed(vec![policy("a", "1", 1, limit(5))]);
    tell.send((all_policies(), listed)).await.expect("told");
    settled().await;
    assert_eq!(registry.generation(), 0);
    tell.send((gateways(), Change::Listed(Vec::new())))
        .await
        .expect("told");
    settled().await;
    assert_eq!(registry.generation(), 1);
    assert_eq!(registry.snapshot().policies().len(), 1);
    drop(tell);
    running.await.expect("ends when nobody watches any more");
}

#[tokio::test(start_paused = true)]
async fn changes_that_come_together_make_one_generation_and_those_without_effect_none() {
    let (registry, tell, _running) = publisher();
    tell.send((gateways(), Change::Listed(Vec::new())))
        .await
        .expect("told");
    tell.send((all_policies(), Change::Listed(Vec::new())))
        .await
        .expect("told");
    settled().await;
    assert_eq!(registry.generation(), 1);
    for i in 0..100 {
        let name = format!("p{i}");
        let applied = Change::Applied(policy(&name, &name, 1, limit(5)));
        tell.send((all_policies(), applied)).await.expect("told");
    }
    settled().await;
    assert_eq!(registry.generation(), 2);
    assert_eq!(registry.snapshot().policies().len(), 100);
    // As every write of a status makes it.
    let mut touched = policy("p1", "p1", 1, limit(5));
    touched.revision.resource_version = "999".to_owned();
    touched.status = Some(Arc::new(json!({})));
    tell.send((all_policies(), Change::Applied(touched)))
        .await
        .expect("told");
    settled().await;
    assert_eq!(registry.generation(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_rejected_object_is_told_beside_the_policies_in_force_and_is_no_failed_reload() {
    let (registry, tell, _running) = publisher();
    tell.send((gateways(), Change::Listed(Vec::new())))
        .await
        .expect("told");
    let both = vec![
        policy("bad", "1", 1, limit(0)),
        policy("good", "2", 1, limit(5)),
    ];
    tell.send((all_policies(), Change::Listed(both)))
        .await
        .expect("told");
    settled().await;
    let more = Change::Applied(policy("more", "3", 1, limit(5)));
    tell.send((all_policies(), more)).await.expect("told");
    settled().await;
    let status = registry.status();
    assert_eq!((status.generation, status.failed), (2, 0));
    assert!(status.last_failure.is_none());
    let shown = status.rejected.to_string();
    assert!(
        shown.starts_with("RateLimitPolicy team/bad: spec.global.maxTokens: error:"),
        "{shown}"
    );
    let conflict = json!({"server": "good", "global": {"maxTokens": 1, "refillPeriod": "1m"}});
    let second = Change::Applied(policy("zz", "4", 1, conflict));
    tell.send((all_policies(), second)).await.expect("told");
    settled().await;
    let status = registry.status();
    assert!(status.rejected.to_string().contains("came first"));
    assert_eq!((status.failed, status.last_failure.is_none()), (0, true));
    let mended = Change::Applied(policy("bad", "1", 2, limit(5)));
    tell.send((all_policies(), mended)).await.expect("told");
    let gone = Change::Deleted("team".to_owned(), "zz".to_owned());
    tell.send((all_policies(), gone)).await.expect("told");
    settled().await;
    assert!(!registry.status().rejected.has_errors());
}

/// One tenant's object must not end the limiter of all.
#[tokio::test(start_paused = true)]
async fn a_panic_in_reading_one_object_is_an_error_of_that_object_alone() {
    let mut objects = Objects::reading_with(|kind, namespace, name, spec| {
        assert!(name != "poison", "a fault in the rules");
        toolgate_policy::read_object(kind, namespace, name, spec)
    });
    for name in ["a", "poison", "z"] {
        let applied = Change::Applied(policy(name, name, 1, limit(5)));
        objects.apply(all_policies(), applied);
    }
    let resolution = resolve(&objects);
    assert_eq!(resolution.policies.len(), 2);
    let rejected = resolution.rejected.to_string();
    assert!(
        rejected.contains("team/poison: error: reading it has panicked"),
        "{rejected}"
    );
}
