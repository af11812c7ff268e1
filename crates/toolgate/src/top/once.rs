//! One table, or one JSON object, of two readings.

mod json;

use anyhow::bail;
use futures::future::join_all;
use tokio::time::{Instant, sleep_until};
use toolgate_proto::pb;

use super::{
    replicas::Replicas,
    screen::to_text,
    view::View,
    watch::{Event, Targets},
};
use crate::{
    client::{CallError, Client},
    output::{Format, Palette},
};

/// Reads `targets` twice. An error if none of them answers the second time.
pub(crate) async fn once(
    targets: &Targets,
    format: Format,
    palette: Palette,
) -> anyhow::Result<String> {
    let clients = targets.clients().await?;
    let mut replicas = Replicas::default();
    let second = Instant::now() + targets.interval;
    for (endpoint, read) in read(&clients).await {
        replicas.take(event(endpoint, read), Instant::now());
    }
    sleep_until(second).await;
    let answers = read(&clients).await;
    if answers.iter().all(|(_, answer)| answer.is_err()) {
        match answers.into_iter().find_map(|(_, answer)| answer.err()) {
            Some(error) => return Err(error.into()),
            None => bail!("there is no endpoint to ask"),
        }
    }
    for (endpoint, answer) in answers {
        replicas.take(event(endpoint, answer), Instant::now());
    }
    let view = View::of(&replicas, Instant::now());
    Ok(match format {
        Format::Table => to_text(&view, palette),
        Format::Json => json::to_json(&view)?,
    })
}

type Answer = Result<pb::GetActivityResponse, CallError>;

async fn read(clients: &[(String, Client)]) -> Vec<(String, Answer)> {
    join_all(clients.iter().map(|(endpoint, client)| async move {
        let request = pb::GetActivityRequest::default();
        (endpoint.clone(), client.get_activity(request).await)
    }))
    .await
}

fn event(endpoint: String, answer: Answer) -> Event {
    match answer {
        Ok(activity) => Event::Answered(endpoint, Box::new(activity)),
        Err(error) => Event::Failed(endpoint, error),
    }
}
