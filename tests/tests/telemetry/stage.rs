//! A gateway, its limiter and a Redis, of which the first two export to one collector.

use std::{io::Write as _, process::Stdio, sync::atomic::AtomicU64, sync::atomic::Ordering};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::{process::Command, time::timeout};
use tonic::Request;
use toolgate_limit::TraceContext;
use toolgate_tests::{
    Collector, FaultProxy, Limiter, PATIENCE, PolicyFile, Process, ReceivedSpan, RedisServer,
    counting_backend, eventually, vmcp,
};

use crate::issuer::Issuer;

/// Who calls, who must be nowhere in what is exported.
pub(crate) const SUBJECT: &str = "alice-the-subject";

/// `message` as a call of the limiter whose metadata name `caller`.
pub(crate) fn traced<T>(message: T, caller: &TraceContext) -> Request<T> {
    let mut request = Request::new(message);
    let traceparent = caller.to_string().parse().expect("ASCII");
    request.metadata_mut().insert("traceparent", traceparent);
    request
}

/// A limit that refuses nobody.
pub(crate) const GENEROUS: &str = "perUser: {maxTokens: 1000000, refillPeriod: 24h}";

/// For a machine that is very busy: a call fails open only if a test wants it.
pub(crate) const PATIENT: &str = "timeout: 30s";

/// All parts of a gateway, and who watches them.
pub(crate) struct Stage {
    pub(crate) collector: Collector,
    pub(crate) redis: RedisServer,
    pub(crate) limiter: Limiter,
    /// Between gateway and limiter.
    pub(crate) proxy: FaultProxy,
    gateway: Process,
    url: String,
    token: String,
    _files: (PolicyFile, NamedTempFile),
    _backend: Process,
    _issuer: Issuer,
}

/// A span of a caller, in a trace that no other test has.
pub(crate) fn caller() -> TraceContext {
    static TRACES: AtomicU64 = AtomicU64::new(1);
    TraceContext {
        trace_id: u128::from(TRACES.fetch_add(1, Ordering::Relaxed)) << 64 | 0xf00d,
        span_id: 0xca11,
        is_sampled: true,
        state: "rojo=1".into(),
    }
}

impl Stage {
    /// With the policy `spec`; `of_limiter` is more of what the gateway is told of its limiter.
    /// Denials are remembered for as long as they last.
    pub(crate) async fn start(spec: &str, of_limiter: &str) -> Self {
        let collector = Collector::start();
        let (redis, issuer) = tokio::join!(RedisServer::start(), Issuer::start());
        let redis = redis.expect("Redis");
        let policies = PolicyFile::of_spec(spec).expect("a policy");
        let store = redis.url();
        // A busy machine is no outage of Redis.
        let patience = ["--store-timeout", "20s", "--remember-denials", "1h"];
        let arguments = [&["--store", &store], &patience[..]].concat();
        let limiter = Limiter::start_with(&policies.path(), arguments, |command| {
            export(command, &collector);
        })
        .await
        .expect("a limiter");
        let address = limiter.endpoint().trim_start_matches("http://");
        let address: std::net::SocketAddr = address.parse().expect("an address");
        let proxy = FaultProxy::start(address).await.expect("a proxy");

        let mut command = Command::new(counting_backend().expect("built"));
        command.arg("127.0.0.1:0").stdout(Stdio::piped());
        let mut backend = Process::start(&mut command).expect("a backend");
        let mut config = NamedTempFile::new().expect("a file");
        write!(
            config,
            "
name: server
namespace: test
listen: 127.0.0.1:0
incomingAuth: {{type: oidc, oidc: {{issuer: '{}', audience: vmcp}}}}
backends: [{{name: a, url: '{}'}}]
limiter: {{endpoint: 'http://{}', rememberDenials: 1h, {of_limiter}}}
",
            issuer.url,
            backend.greeting().await.expect("a greeting"),
            proxy.address(),
        )
        .expect("written");
        let mut command = Command::new(vmcp().expect("built"));
        command.args(["serve", "--config"]).arg(config.path());
        export(&mut command, &collector);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut gateway = Process::start(&mut command).expect("a gateway");
        let greeting = gateway.greeting().await.expect("a greeting");
        let (_, url) = greeting.rsplit_once(' ').expect("an address");
        let stage = Self {
            url: url.to_owned(),
            token: issuer.token(SUBJECT),
            collector,
            redis,
            limiter,
            proxy,
            gateway,
            _files: (policies, config),
            _backend: backend,
            _issuer: issuer,
        };
        eventually("the backend is there", async || {
            let listed = stage.ask("tools/list", json!({}), None).await;
            let tools = listed["result"]["tools"].as_array()?.len();
            (tools > 0).then_some(())
        })
        .await;
        stage
    }

    /// The answer to a request that says in its `_meta` that it is beneath `above`.
    pub(crate) async fn ask(
        &self,
        method: &str,
        mut params: Value,
        above: Option<&TraceContext>,
    ) -> Value {
        if let Some(above) = above {
            let state = above.state.as_ref();
            params["_meta"] = json!({"traceparent": above.to_string(), "tracestate": state});
        }
        self.post(method, params, &[]).await
    }

    /// A call of the tool `a_echo` beneath `above`.
    pub(crate) async fn echo(&self, above: &TraceContext) -> Value {
        let params = json!({"name": "a_echo", "arguments": {}});
        self.ask("tools/call", params, Some(above)).await
    }

    /// The answer to a request with more headers.
    pub(crate) async fn post(
        &self,
        method: &str,
        params: Value,
        headers: &[(&str, String)],
    ) -> Value {
        // An error means that a part of this process has chosen the same before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let body = json!({"jsonrpc": "2.0", "id": "7", "method": method, "params": params});
        let mut request = reqwest::Client::new()
            .post(&self.url)
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2025-11-25")
            .bearer_auth(&self.token)
            .json(&body);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let answer = timeout(PATIENCE, request.send()).await;
        let answer = answer.expect("in time").expect("an answer");
        answer.json().await.expect("JSON")
    }

    /// Stops limiter and gateway, which export what they still have, and gives all that came.
    pub(crate) async fn end(mut self) -> Vec<ReceivedSpan> {
        self.gateway.signal(Signal::SIGTERM).expect("it runs");
        self.limiter.signal(Signal::SIGTERM).expect("it runs");
        let gateway = timeout(PATIENCE, self.gateway.child().wait()).await;
        gateway.expect("in time").expect("it ends");
        self.limiter.wait().await.expect("it ends");
        self.collector.spans()
    }
}

/// Exports spans, and soon.
fn export(command: &mut Command, collector: &Collector) {
    command
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint())
        .env("OTEL_BSP_SCHEDULE_DELAY", "100")
        .env("OTEL_METRICS_EXPORTER", "none");
}
