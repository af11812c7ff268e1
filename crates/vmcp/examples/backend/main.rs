//! A small backend to put behind a vMCP: over streamable HTTP on the address that it is given, or,
//! without one, on its standard input and output.

mod counter;

use std::{env, sync::Arc};

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
    let service = StreamableHttpService::new(move || Ok(counter.clone()), sessions, config);
    let listener = tokio::net::TcpListener::bind(address).await?;
    axum::serve(listener, axum::Router::new().fallback_service(service)).await?;
    Ok(())
}
