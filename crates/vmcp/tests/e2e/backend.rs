//! Backends that can be started, counted and stopped.

use std::{io::ErrorKind, net::SocketAddr, sync::Arc, time::Duration};

use rmcp::transport::{
    StreamableHttpServerConfig, StreamableHttpService,
    streamable_http_server::session::local::LocalSessionManager,
};
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use vmcp::core::{BackendSettings, Sessions, Timing, Transport};

use crate::{counter::Counter, wait::PATIENCE};

/// An MCP server over HTTP, in this process. It stops when it is dropped.
pub(crate) struct HttpBackend {
    pub(crate) address: SocketAddr,
    pub(crate) counter: Counter,
    stop: CancellationToken,
    _serve: AbortOnDropHandle<()>,
}

impl HttpBackend {
    pub(crate) async fn start() -> Self {
        Self::start_on("127.0.0.1:0".parse().unwrap()).await
    }

    pub(crate) async fn start_on(address: SocketAddr) -> Self {
        let counter = Counter::default();
        let stop = CancellationToken::new();
        let served = counter.clone();
        let config = StreamableHttpServerConfig::default().with_cancellation_token(stop.clone());
        let sessions = Arc::new(LocalSessionManager::default());
        let service = StreamableHttpService::new(move || Ok(served.clone()), sessions, config);
        let listener = bind(address).await;
        let address = listener.local_addr().unwrap();
        let router = axum::Router::new().fallback_service(service);
        let stopped = stop.clone();
        let serve = tokio::spawn(async move {
            tokio::select! {
                served = axum::serve(listener, router).into_future() => served.unwrap(),
                () = stopped.cancelled() => {}
            }
        });
        Self {
            address,
            counter,
            stop,
            _serve: AbortOnDropHandle::new(serve),
        }
    }

    pub(crate) fn url(&self) -> String {
        url(self.address)
    }
}

impl Drop for HttpBackend {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Listens on `address` once whoever had it before has gone.
async fn bind(address: SocketAddr) -> TcpListener {
    let bound = async {
        loop {
            match TcpListener::bind(address).await {
                Ok(listener) => return listener,
                Err(error) if error.kind() == ErrorKind::AddrInUse => {
                    sleep(Duration::from_millis(1)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    };
    timeout(PATIENCE, bound).await.expect("it is free")
}

pub(crate) fn url(address: SocketAddr) -> String {
    format!("http://{address}/mcp")
}

/// Fails fast, and never lists again by itself.
pub(crate) fn timing() -> Timing {
    Timing {
        request: Duration::from_secs(10),
        connect: Duration::from_secs(5),
        relist: Duration::from_hours(1),
        first_backoff: Duration::from_millis(10),
        longest_backoff: Duration::from_millis(50),
        back_within: Duration::from_secs(5),
        ..Timing::default()
    }
}

pub(crate) fn over_http(name: &str, url: String) -> BackendSettings {
    BackendSettings {
        name: name.parse().unwrap(),
        transport: Transport::Http {
            url,
            headers: std::collections::HashMap::new(),
        },
        timing: timing(),
        sessions: Sessions::Shared,
    }
}

/// The example `backend` on its standard input and output.
pub(crate) fn as_child(name: &str) -> BackendSettings {
    // target/<profile>/deps/<test>
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(std::path::Path::parent).unwrap();
    BackendSettings {
        name: name.parse().unwrap(),
        transport: Transport::Command {
            program: profile.join("examples/backend").display().to_string(),
            args: Vec::new(),
            env: std::collections::BTreeMap::new(),
        },
        timing: timing(),
        sessions: Sessions::Shared,
    }
}
