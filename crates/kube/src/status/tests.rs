use tokio::{task::JoinHandle, time::sleep};
use toolgate_limit::SystemClock;

use super::*;
use crate::{
    resolve::Reading,
    source::Judged,
    status::{
        condition::tests::judged,
        fake::{Fake, config, view},
    },
};

/// A replica that reports to an API server, how to show it views, and how to stop it.
struct Stage {
    fake: Fake,
    views: watch::Sender<Option<Arc<View>>>,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Stage {
    fn new() -> Self {
        let fake = Fake::default();
        let (views, seen) = watch::channel(None);
        let clock = Arc::new(SystemClock::new());
        let mut reporter = Reporter::new(&fake.client(), &config("r0"), "toolgate", seen, clock);
        let stop = CancellationToken::new();
        let running = tokio::spawn({
            let stop = stop.clone();
            async move { Box::pin(reporter.run(stop)).await }
        });
        Self {
            fake,
            views,
            stop,
            running,
        }
    }

    /// Shows these policies, of which replicas have seen all up to this resource version.
    fn show(&self, objects: Vec<Judged>, newest: usize) {
        let view = View {
            newest: [(None, newest.to_string())].into(),
            ..view(objects)
        };
        self.views.send_replace(Some(Arc::new(view)));
    }

    /// How often this replica has said how far it is.
    fn heartbeats(&self) -> usize {
        let asked = self.fake.asked();
        let own = asked.leases_written.iter();
        own.filter(|name| *name == "toolgate-r0").count()
    }

    fn progress(&self) -> String {
        let asked = self.fake.asked();
        let annotations = &asked.leases["toolgate-r0"]["metadata"]["annotations"];
        annotations["toolgate.dev/ratelimitpolicies"].to_string()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.running.abort();
    }
}

fn good(generation: i64) -> Judged {
    let mut object = judged(generation, Reading::Accepted);
    object.revision.resource_version = (100 * generation).to_string();
    object
}

#[tokio::test(start_paused = true)]
async fn a_replica_says_how_far_it_is_at_once_and_at_most_once_a_second_and_every_ten() {
    let stage = Stage::new();
    sleep(Duration::from_secs(5)).await;
    assert_eq!(stage.heartbeats(), 0, "nothing is in force yet");
    stage.show(Vec::new(), 100);
    sleep(Duration::from_millis(10)).await;
    assert_eq!(stage.heartbeats(), 1);
    for newest in 101..=200 {
        stage.show(Vec::new(), newest);
        sleep(Duration::from_millis(50)).await;
    }
    assert!(
        (5..=7).contains(&stage.heartbeats()),
        "{}",
        stage.heartbeats()
    );
    sleep(Duration::from_secs(1)).await;
    assert!(stage.progress().contains("200"), "{}", stage.progress());
    let before = stage.heartbeats();
    sleep(Duration::from_mins(1)).await;
    let idle = stage.heartbeats() - before;
    assert!((5..=7).contains(&idle), "{idle} in a minute");
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_renewal_fails_writes_nothing_until_it_leads_again() {
    let stage = Stage::new();
    stage.show(vec![good(1)], 100);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(stage.fake.written().len(), 1);

    stage.fake.asked().leases_fail = true;
    // It renews at the latest now.
    sleep(Duration::from_secs(30)).await;
    stage.show(vec![good(2)], 200);
    sleep(Duration::from_mins(1)).await;
    assert_eq!(stage.fake.written().len(), 1);

    stage.fake.asked().leases_fail = false;
    sleep(Duration::from_mins(1)).await;
    let asked = stage.fake.asked();
    let (_, last) = asked.statuses.last().expect("written");
    assert_eq!(last["status"]["observedGeneration"], 2);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_not_answered_knows_it_before_its_time_is_over() {
    let stage = Stage::new();
    stage.show(vec![good(1)], 100);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(stage.fake.written().len(), 1);

    stage.fake.asked().is_silent = true;
    // The lead lasts 15 s from its last renewal, and nobody waits for an answer for longer.
    sleep(Duration::from_secs(15)).await;
    stage.fake.asked().is_silent = false;
    stage.fake.asked().leases_fail = true;
    stage.show(vec![good(2)], 200);
    sleep(Duration::from_mins(1)).await;
    assert_eq!(stage.fake.written().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_stops_gives_the_lead_up_and_takes_its_lease_away() {
    let mut stage = Stage::new();
    stage.show(vec![good(1)], 100);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(
        stage.fake.asked().leases["toolgate"]["spec"]["holderIdentity"],
        "r0"
    );
    stage.stop.cancel();
    (&mut stage.running).await.expect("stopped");
    let asked = stage.fake.asked();
    assert!(asked.leases["toolgate"]["spec"]["holderIdentity"].is_null());
    assert!(!asked.leases.contains_key("toolgate-r0"));
}

#[tokio::test(start_paused = true)]
async fn a_replica_stops_in_time_though_the_api_server_does_not_answer() {
    let mut stage = Stage::new();
    stage.show(vec![good(1)], 100);
    sleep(Duration::from_secs(5)).await;
    stage.fake.asked().is_silent = true;
    stage.stop.cancel();
    let stopped = timeout(Duration::from_secs(2), &mut stage.running).await;
    stopped.expect("in time").expect("stopped");
}
