//! How often one watch is begun anew.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use kube::{Client, client::Body};
use tokio::time::{Instant, sleep_until};

/// The least time between the beginnings of two watches. An API server, or a proxy before it, that
/// ends each one at once is asked again without an error and so without a back-off.
const PACE: Duration = Duration::from_secs(1);

/// The same client, which begins watches at [`PACE`]. All else is asked at once.
pub(super) fn paced(client: &Client) -> Client {
    let (namespace, client) = (client.default_namespace().to_owned(), client.clone());
    let next = Arc::new(Mutex::new(Instant::now()));
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let (client, next) = (client.clone(), Arc::clone(&next));
        async move {
            if begins_watch(&request) {
                sleep_until(turn(&next)).await;
            }
            Ok::<_, tower::BoxError>(client.send(request).await?)
        }
    });
    Client::new(service, namespace)
}

fn begins_watch(request: &http::Request<Body>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    query.split('&').any(|field| field == "watch=true")
}

/// When the next watch may begin; that turn is taken.
fn turn(next: &Mutex<Instant>) -> Instant {
    let mut next = next.lock().unwrap_or_else(PoisonError::into_inner);
    let turn = (*next).max(Instant::now());
    *next = turn + PACE;
    turn
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        pin::pin,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use futures::StreamExt as _;
    use http::Response;
    use kube::{
        Api,
        runtime::watcher::{Config, watcher},
    };
    use tokio::time::timeout;

    use super::*;
    use crate::RateLimitPolicy;

    const SECONDS: u64 = 10;

    /// How many watches are begun in [`SECONDS`] where each one ends at once.
    async fn begun(pace: impl Fn(&Client) -> Client) -> usize {
        let watches = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&watches);
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let is_list = !begins_watch(&request);
            let count = counted.fetch_add(usize::from(!is_list), Ordering::Relaxed);
            async move {
                // Whoever asks without end would keep the clock of this test from going on.
                if count > 1_000 {
                    std::future::pending::<()>().await;
                }
                let list = r#"{"apiVersion": "toolgate.dev/v1alpha1", "kind": "List",
                               "metadata": {"resourceVersion": "1"}, "items": []}"#;
                let body = if is_list { list } else { "" };
                Ok::<_, Infallible>(Response::new(Body::from(body.as_bytes().to_vec())))
            }
        });
        let client = pace(&Client::new(service, "tools"));
        let mut events = pin!(watcher(
            Api::<RateLimitPolicy>::all(client),
            Config::default()
        ));
        let watch = async { while events.next().await.is_some() {} };
        assert!(timeout(Duration::from_secs(SECONDS), watch).await.is_err());
        watches.load(Ordering::Relaxed)
    }

    /// A proxy that closed each watch was asked thousands of times a second.
    #[tokio::test(start_paused = true)]
    async fn watches_that_end_at_once_are_begun_once_a_second() {
        assert!(begun(Client::clone).await > 1_000);
        let begun = begun(paced).await;
        assert!((9..=11).contains(&begun), "{begun}");
    }
}
