//! Two replicas that share one limiter over gRPC, and callers with tokens.

use std::{io::Write as _, num::NonZeroUsize, time::Duration};

use rmcp::{
    RoleClient, ServiceExt as _,
    model::CallToolRequestParams,
    service::{RunningService, ServiceError},
    transport::{
        StreamableHttpClientTransport, streamable_http_client::StreamableHttpClientTransportConfig,
    },
};
use tempfile::NamedTempFile;
use tokio_util::task::AbortOnDropHandle;
use toolgate_server::{Config, Listen, Server, StoreConfig};

use crate::{
    backend::{HttpBackend, url},
    issuer::Issuer,
    replica::Replica,
};

/// A limiter, two replicas that ask it, one backend behind them, and who issues tokens.
pub(crate) struct Shared {
    pub(crate) backend: HttpBackend,
    pub(crate) issuer: Issuer,
    pub(crate) replicas: [Replica; 2],
    _policy: NamedTempFile,
    _limiter: AbortOnDropHandle<()>,
}

impl Shared {
    /// `backends` are the replicas', beside the backend `a`.
    pub(crate) async fn start(limits: &str, backends: &str) -> Self {
        let mut policy = NamedTempFile::with_suffix(".yaml").unwrap();
        let manifest = format!(
            "{{apiVersion: toolgate.dev/v1alpha1, kind: RateLimitPolicy, \
             metadata: {{name: research}}, spec: {{{limits}}}}}"
        );
        policy.write_all(manifest.as_bytes()).unwrap();
        let config = Config {
            policies: vec![policy.path().to_owned()],
            store: StoreConfig::Memory { max_users: 100 },
            grpc_listen: "127.0.0.1:0".parse().unwrap(),
            http_listen: "127.0.0.1:0".parse().unwrap(),
            workers: NonZeroUsize::MIN,
            drain_timeout: Duration::from_secs(1),
        };
        let server = Server::bind(&config).await.unwrap();
        let Listen::Tcp(limiter) = server.grpc_address() else {
            panic!("not on TCP");
        };
        let limiter = limiter.to_string();
        let run = async { server.run(std::future::pending()).await.unwrap() };
        let run = AbortOnDropHandle::new(tokio::spawn(run));

        let backend = HttpBackend::start().await;
        let issuer = Issuer::start().await;
        let yaml = format!(
            "
incomingAuth: {{type: oidc, oidc: {{issuer: '{}', audience: vmcp}}}}
backends: [{{name: a, url: '{}'}}{backends}]
limiter: {{endpoint: 'http://{limiter}', timeout: 5s, onUnavailable: deny}}
",
            issuer.url,
            backend.url()
        );
        Self {
            replicas: [Replica::start(&yaml).await, Replica::start(&yaml).await],
            backend,
            issuer,
            _policy: policy,
            _limiter: run,
        }
    }

    /// A client of each replica for `user`.
    async fn clients(&self, user: &str) -> Vec<RunningService<RoleClient, ()>> {
        let mut clients = Vec::new();
        for replica in &self.replicas {
            let config = StreamableHttpClientTransportConfig::with_uri(url(replica.address))
                .auth_header(self.issuer.token(user));
            let transport = StreamableHttpClientTransport::from_config(config);
            clients.push(().serve(transport).await.unwrap());
        }
        clients
    }
}

async fn echo(client: &RunningService<RoleClient, ()>) -> Result<(), f64> {
    match client.call_tool(CallToolRequestParams::new("a_echo")).await {
        Ok(_) => Ok(()),
        Err(ServiceError::McpError(error)) => {
            Err(error.data.unwrap()["retryAfterSeconds"].as_f64().unwrap())
        }
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn alice_is_limited_across_replicas_bob_is_not_and_alice_passes_after_her_wait() {
    let limits = "tools: [{name: a_echo, perUser: {maxTokens: 5, refillPeriod: 15s}}]";
    let shared = Shared::start(limits, "").await;
    let alice = shared.clients("alice").await;
    for turn in 0..5 {
        echo(&alice[turn % 2]).await.expect("one of five");
    }
    let wait = echo(&alice[1]).await.expect_err("the sixth");
    assert!(wait > 0.0 && wait <= 3.0, "{wait}");
    assert_eq!(shared.backend.counter.calls(), 5);

    let bob = shared.clients("bob").await;
    for turn in 0..5 {
        echo(&bob[turn % 2]).await.expect("one of bob's five");
    }
    tokio::time::sleep(Duration::from_secs_f64(wait)).await;
    echo(&alice[0]).await.expect("after the announced wait");
}

#[tokio::test]
async fn who_has_no_token_is_not_served() {
    let shared = Shared::start("perUser: {maxTokens: 1, refillPeriod: 1h}", "").await;
    let transport = StreamableHttpClientTransport::from_uri(url(shared.replicas[0].address));
    assert!(().serve(transport).await.is_err());
}
