//! Two limiters behind one `dns:///` name, below a virtual MCP server that is built by hand, so that
//! the test is the name server.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use nix::sys::signal::Signal;
use prometheus_client::registry::Registry;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};
use toolgate_client::{Client, OnUnavailable};
use toolgate_limit::{Answer, Check, Limiter as Limits, LimiterError};
use toolgate_tests::{Limiter, Names, PolicyFile, RedisServer, client_config, eventually};
use vmcp::{
    Gate,
    auth::Anonymous,
    core::{BackendSettings, Core, Sessions, Timing, Transport},
    rate_limited,
    rejection::Rejection,
    serve::{AllowedHost, Edge, router},
};

use crate::{
    backend::Backend,
    caller::Caller,
    load::{goes_on, load},
};

/// Counts the checks on which no decision was made: the calls that fail open.
#[derive(Debug)]
struct Counted {
    client: Client,
    undecided: Arc<AtomicUsize>,
}

#[tonic::async_trait]
impl Limits for Counted {
    async fn check(&self, check: Check) -> Result<Answer, LimiterError> {
        let answer = self.client.check(check).await;
        if answer.is_err() {
            self.undecided.fetch_add(1, Ordering::SeqCst);
        }
        answer
    }

    async fn peek(&self, check: Check) -> Result<Answer, LimiterError> {
        self.client.peek(check).await
    }
}

/// A virtual MCP server in this process whose limiters have a name.
struct Gateway {
    caller: Caller,
    client: Client,
    undecided: Arc<AtomicUsize>,
    _serve: JoinSet<()>,
}

impl Gateway {
    async fn start(names: &Names, backend: &Backend) -> Self {
        let config = client_config(Names::ENDPOINT);
        let client = Client::with_resolver(config, Arc::new(names.clone()));
        let client = client.expect("valid settings");
        let undecided = Arc::new(AtomicUsize::new(0));
        let counted = Counted {
            client: client.clone(),
            undecided: Arc::clone(&undecided),
        };
        let server = "test/server".parse().expect("a server");
        let gate = Gate::new(server, Arc::new(counted), OnUnavailable::Allow);
        let core = Core::start(vec![BackendSettings {
            name: "a".parse().expect("a name"),
            transport: Transport::Http {
                url: backend.url.clone(),
                headers: HashMap::new(),
            },
            timing: Timing::default(),
            sessions: Sessions::Shared,
        }]);
        let router = router(Edge {
            name: "server".to_owned(),
            vmcp: rate_limited(core, Some(gate)),
            authenticator: Arc::new(Anonymous::new()),
            rejection: Rejection::default(),
            allowed_hosts: vec![AllowedHost::Any],
            admin_hosts: vec![AllowedHost::Any],
            allowed_origins: Vec::new(),
            ready: watch::channel(true).1,
            registry: Registry::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let mut serve = JoinSet::new();
        serve.spawn(async { axum::serve(listener, router).await.expect("served") });
        let gateway = Self {
            caller: Caller::new(&format!("http://{address}/mcp"), None),
            client,
            undecided,
            _serve: serve,
        };
        gateway.caller.until_listed("a_echo").await;
        gateway
    }

    fn undecided(&self) -> usize {
        self.undecided.load(Ordering::SeqCst)
    }

    /// Waits until `limiters` are connected, and no others known.
    async fn knows(&self, limiters: &[&Limiter]) {
        eventually("the limiters are connected", async || {
            let replicas = self.client.replicas();
            let connected = replicas.iter().filter(|replica| replica.connected).count();
            ([connected, replicas.len()] == [limiters.len(); 2]).then_some(())
        })
        .await;
    }

    /// Waits until `limiter` has a check in flight.
    async fn uses(&self, limiter: &Limiter) {
        let address = address(limiter).to_string();
        let in_use = async {
            loop {
                let replicas = self.client.replicas();
                let mut replicas = replicas.iter().filter(|replica| replica.in_flight > 0);
                if replicas.any(|replica| replica.endpoint.contains(&address)) {
                    return;
                }
                // A check is in flight for less than a millisecond.
                tokio::task::yield_now().await;
            }
        };
        let used = tokio::time::timeout(toolgate_tests::PATIENCE, in_use).await;
        used.expect("the limiter is used");
    }
}

fn address(limiter: &Limiter) -> std::net::SocketAddr {
    let address = limiter.endpoint().strip_prefix("http://").expect("TCP");
    address.parse().expect("an address")
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_limiters_dies_and_one_joins_and_only_what_was_in_flight_fails_open() {
    const CALLERS: usize = 8;
    let redis = RedisServer::start().await.expect("Redis");
    // Never reached, yet each call must pay.
    let spec = "perUser: {maxTokens: 2147483647, refillPeriod: 24h}";
    let policies = PolicyFile::of_spec(spec).expect("a policy");
    let store = redis.url();
    let start = async || {
        let arguments = ["--store", &store, "--store-timeout", "20s"];
        let limiter = Limiter::start(&policies.path(), arguments).await;
        limiter.expect("a limiter")
    };
    let (mut first, mut second) = (start().await, start().await);
    let names = Names::at(&[address(&first), address(&second)]);
    let backend = Backend::start().await;
    let gateway = Gateway::start(&names, &backend).await;
    gateway.knows(&[&first, &second]).await;

    let calls = load(&gateway.caller, CALLERS);
    gateway.uses(&first).await;
    gateway.uses(&second).await;
    goes_on(&calls, 200).await;
    assert_eq!(gateway.undecided(), 0);

    // The name still leads to the dead one.
    first.signal(Signal::SIGKILL).expect("killed");
    first.wait().await.expect("gone");
    goes_on(&calls, 200).await;
    let lost = gateway.undecided();
    assert!(lost <= CALLERS, "{lost} calls failed open");

    let third = start().await;
    names.lead_to(&[address(&second), address(&third)]);
    gateway.knows(&[&second, &third]).await;
    gateway.uses(&third).await;
    gateway.uses(&second).await;
    goes_on(&calls, 200).await;
    assert_eq!(
        gateway.undecided(),
        lost,
        "a call failed open for a limiter that joined"
    );

    // The one that joined bears the load alone.
    second.signal(Signal::SIGKILL).expect("killed");
    second.wait().await.expect("gone");
    goes_on(&calls, 200).await;
    let lost = gateway.undecided() - lost;
    assert!(lost <= CALLERS, "{lost} calls failed open");
    gateway.uses(&third).await;
    for call in calls.end().await {
        assert!(call.outcome.is_ok(), "{:?}", call.outcome);
    }
}
