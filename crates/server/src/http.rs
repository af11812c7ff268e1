//! `/livez` and `/readyz`, for Kubernetes probes, and `/metrics`, for Prometheus.

use std::convert::Infallible;

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{
        HeaderValue, Request, Response, StatusCode,
        header::{CONNECTION, HOST},
        uri::Authority,
    },
    middleware::{Next, from_fn, map_response},
    response::IntoResponse as _,
    routing::get,
};
use futures::FutureExt as _;
use tokio::{sync::watch, task::JoinHandle};
use toolgate_net::{
    Acceptor, Host,
    http::{Arriving, Bounds},
};
use toolgate_tasks::Tasks;
use toolgate_telemetry::Metrics;
use tower_service::Service;

use crate::health::Readiness;

/// The most connections. Those that wait for their callers make room, so probes always find some.
pub(crate) const MOST: usize = 256;

/// Serves until it is aborted, in one of `tasks`: probes want an answer to the end.
pub(crate) fn serve<S>(tasks: &Tasks, acceptor: Acceptor, service: S) -> JoinHandle<()>
where
    S: Service<Request<Arriving>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    let (never, draining) = watch::channel(false);
    let state = (acceptor, service, draining, never);
    tasks.spawn("http", state, |(acceptor, service, draining, _)| {
        let service = service.clone();
        toolgate_net::http::serve(acceptor, service, Bounds::of(MOST), draining.clone()).boxed()
    })
}

/// `/livez` says that the process runs; `/readyz` whether calls are decided; if not,
/// or without the store, then why. `/metrics` is there if `metrics` are. A connection ends with its
/// answer: whoever asks for much at once, and reads none of it, would have all of it made.
///
/// If `is_loopback`, only this machine can ask, by an address or as `localhost`: a page in its browser
/// whose name was made to lead here (DNS rebinding) would read what it shows.
pub(crate) fn router(
    is_loopback: bool,
    readiness: watch::Receiver<Readiness>,
    tasks: Tasks,
    metrics: Option<Metrics>,
) -> Router {
    let probes = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .with_state((readiness, tasks));
    let routes = match metrics {
        Some(metrics) => probes.merge(toolgate_telemetry::router(metrics)),
        None => probes,
    };
    let routes = if is_loopback {
        routes.layer(from_fn(of_this_machine))
    } else {
        routes
    };
    routes.layer(map_response(closing))
}

/// Whether a request is for this machine. The oldest clients send no `Host`.
async fn of_this_machine(request: Request<Body>, next: Next) -> Response<Body> {
    let is_own = |host: &HeaderValue| {
        let authority = host.to_str().ok()?.parse::<Authority>().ok()?;
        let host = Host::of(authority.host());
        Some(host.is_address() || host == Host::localhost())
    };
    let mut hosts = request.headers().get_all(HOST).iter();
    if hosts.all(|host| is_own(host) == Some(true)) {
        return next.run(request).await;
    }
    (StatusCode::FORBIDDEN, "Host is not allowed\n").into_response()
}

async fn closing<B>(mut answer: Response<B>) -> Response<B> {
    let close = HeaderValue::from_static("close");
    answer.headers_mut().insert(CONNECTION, close);
    answer
}

async fn ready(
    State((readiness, tasks)): State<(watch::Receiver<Readiness>, Tasks)>,
) -> (StatusCode, String) {
    let (status, mut reasons) = match &*readiness.borrow() {
        Readiness::Ready => (StatusCode::OK, Vec::new()),
        Readiness::Degraded(reason) | Readiness::Partly(reason) => {
            (StatusCode::OK, vec![reason.clone()])
        }
        Readiness::NotReady(reason) => (StatusCode::SERVICE_UNAVAILABLE, vec![reason.clone()]),
    };
    reasons.extend(tasks.fault());
    let reasons = reasons.join("; ");
    let text = match status {
        StatusCode::OK if reasons.is_empty() => "ok\n".to_owned(),
        StatusCode::OK => format!("degraded: {reasons}\n"),
        _ => format!("{reasons}\n"),
    };
    (status, text)
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
        task::{Context, Poll},
    };

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    /// The task clones it for itself, and then for each connection. Two of these clones panic.
    struct Fragile(Router, Arc<AtomicU32>);

    impl Clone for Fragile {
        fn clone(&self) -> Self {
            let clones = self.1.fetch_add(1, Ordering::Relaxed);
            assert!(clones != 1 && clones != 3, "bad luck");
            Self(self.0.clone(), Arc::clone(&self.1))
        }
    }

    impl Service<Request<Arriving>> for Fragile {
        type Response = Response<Body>;
        type Error = Infallible;
        type Future = <Router as Service<Request<Arriving>>>::Future;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Request<Arriving>) -> Self::Future {
            self.0.call(request)
        }
    }

    /// The port's task ended with a panic, and nothing answered a probe any more.
    #[tokio::test]
    async fn a_port_whose_task_panics_serves_again_and_says_so() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let tasks = Tasks::default();
        let (_readiness, found) = watch::channel(Readiness::Ready);
        let router = Fragile(router(true, found, tasks.clone(), None), Arc::default());
        let port = serve(&tasks, Acceptor::new(listener), router);
        let mut answers = Vec::new();
        for _ in 0..3 {
            let mut stream = TcpStream::connect(address).await.expect("listens");
            let request = b"GET /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n";
            let mut answer = String::new();
            // The connection on which the task panics is closed.
            if stream.write_all(request).await.is_ok() {
                let _ = stream.read_to_string(&mut answer).await;
            }
            answers.push(answer);
        }
        assert_eq!(answers[..2], ["", ""]);
        assert!(answers[2].starts_with("HTTP/1.1 200 OK"), "{answers:?}");
        let fault = "degraded: the task `http` has panicked and begun anew\n";
        assert!(answers[2].ends_with(fault), "{answers:?}");
        assert_eq!(tasks.restarts(), [("http", 2)]);
        port.abort();
    }

    /// It was named only where all else was well.
    #[tokio::test]
    async fn a_task_that_has_panicked_is_named_whatever_else_is_wrong() {
        let tasks = Tasks::default();
        tasks.run("probe", 0, |runs| {
            *runs += 1;
            assert_ne!(*runs, 1, "bad luck");
        });
        let fault = "the task `probe` has panicked and begun anew\n";
        let down = || "Redis is down".to_owned();
        let ok = StatusCode::OK;
        for (found, status, said) in [
            (Readiness::Ready, ok, "degraded: "),
            (Readiness::Degraded(down()), ok, "degraded: Redis is down; "),
            (Readiness::Partly(down()), ok, "degraded: Redis is down; "),
            (
                Readiness::NotReady(down()),
                StatusCode::SERVICE_UNAVAILABLE,
                "Redis is down; ",
            ),
        ] {
            let (_readiness, found) = watch::channel(found);
            let told = ready(State((found, tasks.clone()))).await;
            assert_eq!(told, (status, format!("{said}{fault}")));
        }
    }

    /// A page whose name leads to this machine read `/metrics`.
    #[tokio::test]
    async fn on_loopback_only_addresses_and_localhost_are_hosts() {
        let (_ready, readiness) = watch::channel(Readiness::Ready);
        let status = async |is_loopback: bool, hosts: &[&str]| {
            let mut request = Request::get("/readyz").body(Body::empty()).expect("one");
            for host in hosts {
                let host = host.parse().expect("a header");
                request.headers_mut().append(HOST, host);
            }
            let mut router = router(is_loopback, readiness.clone(), Tasks::default(), None);
            let Ok(answer) = router.call(request).await;
            answer.status().as_u16()
        };
        for (hosts, expected) in [
            (&["evil.example:9090"][..], 403),
            (&["127.0.0.1.evil.example"], 403),
            (&["127.0.0.1", "evil.example"], 403),
            (&["localhost:9090"], 200),
            (&["10.0.0.1:9090"], 200),
            (&["[::1]"], 200),
            (&[], 200),
        ] {
            assert_eq!(status(true, hosts).await, expected, "{hosts:?}");
            assert_eq!(status(false, hosts).await, 200, "{hosts:?}");
        }
    }
}
