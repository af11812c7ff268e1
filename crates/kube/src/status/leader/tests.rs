use std::sync::Arc;

use serde_json::json;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use toolgate_limit::SystemClock;

use super::{memory::LEAVE_ALONE, *};
use crate::{
    objects::ObjectKey,
    resolve::Reading,
    status::{
        condition::tests::{judged, rejected},
        fake::{Fake, config, view},
    },
};

/// A leader, how to show it views, and what it asks.
struct Stage {
    views: watch::Sender<Option<Arc<View>>>,
    fake: Fake,
    running: tokio::task::JoinHandle<()>,
}

impl Stage {
    /// Of an API server that answers the first writes of a status in this way.
    fn new(answers: &[u16]) -> Self {
        let fake = Fake::default();
        fake.asked().answers = answers.iter().copied().collect();
        fake.put_replica("r0");
        let clock = Arc::new(SystemClock::new());
        let cluster = Cluster::new(&fake.client(), &config("r0"), "toolgate", clock);
        let (views, seen) = watch::channel(None);
        let leader = Leader::new(&cluster, seen);
        let running = tokio::spawn(async move { match leader.lead().await {} });
        Self {
            views,
            fake,
            running,
        }
    }

    fn show(&self, objects: Vec<Judged>) {
        self.views.send_replace(Some(Arc::new(view(objects))));
    }

    fn written(&self) -> Vec<String> {
        self.fake.written()
    }

    fn events(&self) -> Vec<String> {
        self.fake.asked().events.clone()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.running.abort();
    }
}

fn named(name: &str, object: Judged) -> Judged {
    let mut object = object;
    object.key.name = name.to_owned();
    object.revision.uid = format!("uid-of-{name}");
    object
}

fn good(name: &str) -> Judged {
    named(name, judged(1, Reading::Accepted))
}

#[tokio::test(start_paused = true)]
async fn a_thousand_policies_are_written_once_each_at_a_bounded_rate() {
    let stage = Stage::new(&[]);
    stage.show((0..1_000).map(|i| good(&format!("p{i}"))).collect());
    sleep(Duration::from_secs(1)).await;
    let first = stage.written().len();
    assert!((1..=51).contains(&first), "{first} in the first second");
    sleep(Duration::from_secs(29)).await;
    let mut written = stage.written();
    assert_eq!(written.len(), 1_000);
    written.sort();
    written.dedup();
    assert_eq!(written.len(), 1_000);
    // The view never showed those writes; that is no reason to write again.
    sleep(Duration::from_mins(5)).await;
    assert_eq!(stage.written().len(), 1_000);
}

#[tokio::test(start_paused = true)]
async fn a_new_generation_is_written_before_what_only_names_another_replica() {
    let stage = Stage::new(&[]);
    let named_elsewhere = |name: &str| {
        let mut object = good(name);
        let status = json!({
            "server": "team/research",
            "observedGeneration": 1,
            "conditions": [
                {"type": "Accepted", "status": "True", "observedGeneration": 1, "reason": "Valid",
                 "message": "the policy is valid", "lastTransitionTime": "2026-01-01T00:00:00Z"},
                {"type": "Enforced", "status": "True", "observedGeneration": 1, "reason": "AllReplicas",
                 "message": "1 of 1 replica enforces generation 1", "lastTransitionTime": "2026-01-01T00:00:00Z"},
                {"type": "Conflicted", "status": "False", "observedGeneration": 1, "reason": "OnlyPolicy",
                 "message": "no older policy limits the same server", "lastTransitionTime": "2026-01-01T00:00:00Z"},
            ],
            "replicas": [{"name": "gone", "generation": 1}],
        });
        object.status = Some(Arc::new(status));
        object
    };
    stage.show(vec![named_elsewhere("a"), named_elsewhere("b"), good("c")]);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(stage.written(), ["c", "a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_write_names_the_version_that_it_was_made_from() {
    let stage = Stage::new(&[]);
    stage.show(vec![good("a")]);
    sleep(Duration::from_secs(1)).await;
    let mut changed = good("a");
    changed.revision.generation = 2;
    changed.revision.resource_version = "2000000".to_owned();
    stage.show(vec![changed]);
    sleep(Duration::from_secs(1)).await;
    let asked = stage.fake.asked();
    let versions: Vec<_> = asked
        .statuses
        .iter()
        .map(|(_, patch)| patch["metadata"]["resourceVersion"].clone())
        .collect();
    assert_eq!(versions, ["100", "2000000"]);
}

/// An API server whose definition is older than the limiter drops the fields that it does not know. What
/// it shows then always differs from what it should be.
#[tokio::test(start_paused = true)]
async fn a_status_that_is_kept_in_part_is_not_written_again_and_again() {
    let stage = Stage::new(&[]);
    stage.show(vec![good("a")]);
    sleep(Duration::from_secs(1)).await;
    let mut kept = good("a");
    kept.revision.resource_version = "1000001".to_owned();
    kept.status = Some(Arc::new(json!({"observedGeneration": 1})));
    for _ in 0..10 {
        stage.show(vec![kept.clone()]);
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(stage.written(), ["a"]);
}

/// Two installations that watched the same policies overwrote each other's status, each time that they
/// saw it, without an end.
#[tokio::test(start_paused = true)]
async fn a_status_that_somebody_else_overwrites_is_written_ever_more_seldom() {
    let stage = Stage::new(&[]);
    let overwritten = |times: usize| {
        let mut object = good("a");
        object.revision.resource_version = (2_000_000 * (times + 1)).to_string();
        object.status = Some(Arc::new(
            json!({"observedGeneration": 1, "server": times.to_string()}),
        ));
        object
    };
    stage.show(vec![good("a")]);
    let seconds = 10 * LEAVE_ALONE.as_secs();
    for _ in 0..seconds {
        sleep(Duration::from_secs(1)).await;
        stage.show(vec![overwritten(stage.written().len())]);
    }
    // At once, and after 30, 60 and 120 s.
    assert_eq!(stage.written(), ["a", "a", "a", "a"]);
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_changed_meanwhile_is_left_alone_until_its_new_version_is_seen() {
    let stage = Stage::new(&[409]);
    stage.show(vec![good("a")]);
    sleep(LEAVE_ALONE / 2).await;
    assert_eq!(stage.written(), ["a"]);
    let mut newer = good("a");
    newer.revision.resource_version = "101".to_owned();
    stage.show(vec![newer]);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(stage.written(), ["a", "a"]);
}

#[tokio::test(start_paused = true)]
async fn one_policy_whose_status_is_forbidden_holds_up_no_other_and_is_tried_again() {
    let stage = Stage::new(&[403]);
    stage.show(vec![good("a"), good("b")]);
    sleep(LEAVE_ALONE / 2).await;
    assert_eq!(stage.written(), ["a", "b"]);
    sleep(LEAVE_ALONE).await;
    assert_eq!(stage.written(), ["a", "b", "a"]);
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_fails_is_asked_ever_more_seldom_and_then_all_is_written() {
    let stage = Stage::new(&[503; 6]);
    stage.show(vec![good("a"), good("b")]);
    // At least half of 1 + 2 + 4 + 8 s, at most all of it.
    sleep(Duration::from_secs(7)).await;
    let tried = stage.written().len();
    assert!((3..=5).contains(&tried), "{tried} tries in 7 s");
    let all = async {
        while stage.written().last().map(String::as_str) != Some("b") {
            sleep(Duration::from_secs(1)).await;
        }
    };
    timeout(Duration::from_mins(2), all).await.expect("written");
}

#[tokio::test(start_paused = true)]
async fn one_policy_at_which_the_api_server_always_fails_holds_up_no_other() {
    let stage = Stage::new(&[]);
    stage.fake.asked().fails_at = Some("a");
    stage.show(vec![good("a"), good("b")]);
    sleep(Duration::from_secs(10)).await;
    assert_eq!(stage.written(), ["a", "a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_rejection_makes_an_event_after_its_status_and_only_one() {
    let stage = Stage::new(&[]);
    stage.show(vec![named("bad", judged(3, rejected(None)))]);
    sleep(Duration::from_mins(1)).await;
    assert_eq!(stage.events(), ["bad.uid-of-bad.3.rejected"]);
}

#[tokio::test(start_paused = true)]
async fn an_object_of_toolhive_has_events_and_is_never_written_to() {
    let stage = Stage::new(&[]);
    let toolhive = |generation| {
        let mut object = named("gateway", judged(generation, rejected(None)));
        object.key = ObjectKey {
            kind: Kind::VirtualMcpServer,
            ..object.key
        };
        object
    };
    for generation in [1, 1, 2, 2] {
        stage.show(vec![toolhive(generation)]);
        sleep(Duration::from_secs(20)).await;
    }
    assert_eq!(
        stage.events(),
        [
            "gateway.uid-of-gateway.1.rejected",
            "gateway.uid-of-gateway.2.rejected"
        ]
    );
    assert_eq!(stage.written(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn replicas_are_looked_at_seldom_while_nothing_is_awaited_of_them() {
    let stage = Stage::new(&[]);
    stage.show(vec![good("a")]);
    sleep(Duration::from_mins(1)).await;
    let lists = stage.fake.asked().lists;
    assert!((6..=9).contains(&lists), "{lists} in a minute");
}
