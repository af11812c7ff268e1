//! A small backend to put behind a vMCP: over streamable HTTP on the address that it is given, or,
//! without one, on its standard input and output. Over HTTP `GET /calls` says how many tool calls
//! have reached it.

mod counter;

use std::{
    env,
    io::{Write as _, stdout},
    sync::Arc,
};

use axum::{Router, routing::get, serve::ListenerExt as _};
use counter::Counter;
use rmcp::{
    ServiceExt as _,
    transport::{
        StreamableHttpServerConfig, StreamableHttpService, stdio,
        streamable_http_server::session::local::LocalSessionManager,
    },
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let counter = Counter::default();
    let Some(address) = env::args().nth(1) else {
        counter.serve(stdio()).await?.waiting().await?;
        return Ok(());
    };
    let config = StreamableHttpServerConfig::default();
    let sessions = Arc::new(LocalSessionManager::default());
    let served = counter.clone();
    let service = StreamableHttpService::new(move || Ok(served.clone()), sessions, config);
    let router = Router::new()
        .route("/calls", get(async move || counter.calls().to_string()))
        .fallback_service(service);
    let listener = tokio::net::TcpListener::bind(address).await?;
    writeln!(stdout(), "http://{}/mcp", listener.local_addr()?)?;
    // Answers are streams: without this each waits 40 ms for the acknowledgement of its head.
    let listener = listener.tap_io(|connection| {
        let _ = connection.set_nodelay(true);
    });
    axum::serve(listener, router).await?;
    Ok(())
}
