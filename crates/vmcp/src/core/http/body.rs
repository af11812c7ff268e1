//! What comes back over HTTP, within bounds.

use std::{future::ready, io, sync::Arc};

use axum::{body::Bytes, http::StatusCode};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use reqwest::{Response, header::CONTENT_TYPE};
use rmcp::{
    model::RequestId,
    transport::{common::client_side_sse::BoxedSseResponse, streamable_http_client::SseError},
};
use sse_stream::{Sse, SseStream};

use super::{
    HttpClient, HttpError, With,
    session::{self, Doubt},
};
use crate::core::answer::{self, Answer};

/// What a body says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// JSON, or nothing: then it is tried.
    Json,
    Events,
    Other,
}

impl Kind {
    pub(super) fn of(response: &Response) -> Self {
        let Some(kind) = response.headers().get(CONTENT_TYPE) else {
            return Self::Json;
        };
        let kind = kind.to_str().unwrap_or_default();
        let essence = kind.split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case("application/json") {
            Self::Json
        } else if essence.eq_ignore_ascii_case("text/event-stream") {
            Self::Events
        } else {
            Self::Other
        }
    }
}

/// The body of `response`, of at most `most` bytes.
pub(super) async fn read(response: Response, most: usize) -> Result<Vec<u8>, HttpError> {
    let too_large = || HttpError::ResponseBodyTooLarge { max_size: most };
    if response
        .content_length()
        .is_some_and(|length| length > most as u64)
    {
        return Err(too_large());
    }
    let mut chunks = response.bytes_stream();
    let mut body = Vec::new();
    while let Some(chunk) = chunks.try_next().await.map_err(HttpError::Client)? {
        if chunk.len() > most - body.len() {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The request whose answer is among events.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) id: RequestId,
    pub(super) client: HttpClient,
    pub(super) with: With,
}

/// The events of `response`, of at most `most` bytes each, as rmcp reads them. Where the answer to
/// the request `asked` belongs, an error without its id is one. If it looks like a lost session, that is
/// found out before it is passed on: the request may have run.
pub(super) fn events(response: Response, most: usize, asked: Option<Asked>) -> BoxedSseResponse {
    let chunks = response.bytes_stream();
    let chunks = chunks.map_err(|error| io::Error::other(error.without_url()));
    let events = SseStream::from_bytes_stream(bounded(chunks, most));
    let asked = Arc::new(asked);
    events
        .then(move |event| {
            let asked = Arc::clone(&asked);
            async move {
                let asked = asked.as_ref().as_ref();
                let (event, doubt) = readable(event, asked.map(|asked| &asked.id))?;
                if let (Some(_), Some(asked)) = (doubt, asked) {
                    asked.client.finds_lost(&asked.with).await;
                }
                Ok(event)
            }
        })
        .boxed()
}

/// An event, and whether the answer in it may mean that there is no session.
fn readable(
    event: Result<Sse, SseError>,
    asked: Option<&RequestId>,
) -> Result<(Sse, Option<Doubt>), SseError> {
    let mut event = match (event, asked) {
        (Ok(event), _) => event,
        (Err(SseError::Body(error)), Some(id))
            if matches!(error.downcast_ref(), Some(EventError::TooLarge(_))) =>
        {
            let answer = serde_json::to_string(&answer::too_large(id));
            return Ok((Sse::default().data(answer.unwrap_or_default()), None));
        }
        (Err(error), _) => return Err(error),
    };
    let is_message = matches!(event.event.as_deref(), None | Some("" | "message"));
    let Some(data) = event.data.take_if(|_| is_message) else {
        return Ok((event, None));
    };
    // An event that is no message says nothing.
    let Some((message, text)) = answer::read(data.as_bytes()) else {
        return Ok((event, None));
    };
    let answer = asked.map(|id| Answer::to(id, message));
    let doubt = answer
        .as_ref()
        .and_then(|answer| session::doubt(StatusCode::OK, Some(answer)));
    event.data = match answer {
        Some(Answer::Adopted(error)) => serde_json::to_string(&error).ok(),
        Some(Answer::Own(_) | Answer::Other) | None => Some(text.into_owned()),
    };
    Ok((event, doubt))
}

#[derive(Debug, thiserror::Error)]
enum EventError {
    #[error(transparent)]
    Broken(#[from] io::Error),
    #[error("an event of more than {0} bytes")]
    TooLarge(usize),
}

/// `chunks`, up to an event of more than `most` bytes.
fn bounded(
    chunks: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    most: usize,
) -> impl Stream<Item = Result<Bytes, EventError>> + Send + 'static {
    chunks.scan(Some(Size::default()), move |state, chunk| {
        let next = state.as_mut().map(|size| {
            let chunk = chunk?;
            if size.after(&chunk) > most {
                return Err(EventError::TooLarge(most));
            }
            Ok(chunk)
        });
        if let Some(Err(_)) = next {
            *state = None;
        }
        ready(next)
    })
}

/// How long the event is that is being read.
#[derive(Debug, Default)]
struct Size {
    event: usize,
    line: usize,
    is_after_cr: bool,
}

impl Size {
    fn after(&mut self, chunk: &[u8]) -> usize {
        for byte in chunk {
            match byte {
                b'\n' if self.is_after_cr => {}
                b'\n' | b'\r' => {
                    if self.line == 0 {
                        self.event = 0;
                    }
                    self.line = 0;
                }
                _ => {
                    self.line += 1;
                    self.event += 1;
                }
            }
            self.is_after_cr = *byte == b'\r';
        }
        self.event
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_ends_at_an_empty_line() {
        for end in ["\n\n", "\r\n\r\n", "\r\r"] {
            let mut size = Size::default();
            let event = format!("data: x{end}");
            for _ in 0..3 {
                assert_eq!(size.after(event.as_bytes()), 0, "{end:?}");
            }
            assert_eq!(size.after(b"data: x\ndata: "), 13);
        }
    }

    #[tokio::test]
    async fn a_stream_ends_at_an_event_that_is_too_large() {
        let chunks = ["data: 1\n\n", "data: 2", "34567", "\n\n"].map(|chunk| Ok(chunk.into()));
        let chunks = futures::stream::iter(chunks);
        let read: Vec<_> = bounded(chunks, 10).collect().await;
        assert_eq!(read.len(), 3);
        assert!(matches!(read[2], Err(EventError::TooLarge(10))));
    }
}
