//! Connections past Toolgate that wait for a busy machine.

use anyhow::Result;
use redis::{AsyncConnectionConfig, Client, aio::MultiplexedConnection};

use crate::PATIENCE;

/// A connection to the Redis at `url`.
pub async fn connect(url: &str) -> Result<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE));
    let client = Client::open(url)?;
    Ok(client
        .get_multiplexed_async_connection_with_config(&config)
        .await?)
}
