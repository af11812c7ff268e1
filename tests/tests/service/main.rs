//! What an operator expects of the service beside exact decisions, shown on real processes.

#![allow(clippy::expect_used, reason = "a test that cannot go on fails")]

mod abuse;
mod admin;
mod decisions;
mod files;
mod life;
mod reach;
mod stream;

use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use toolgate_tests::Limiter;

const TWO_A_DAY: &str = "perUser: {maxTokens: 2, refillPeriod: 24h}";

async fn limiter(spec: &str) -> Limiter {
    Limiter::of_spec(spec, [""; 0]).await.expect("a limiter")
}

async fn health(limiter: &Limiter, service: &str) -> Result<ServingStatus, Code> {
    let mut client = HealthClient::new(limiter.channel().await.expect("a connection"));
    let service = service.to_owned();
    let reply = client.check(HealthCheckRequest { service }).await;
    reply
        .map(|reply| reply.into_inner().status())
        .map_err(|status| status.code())
}
