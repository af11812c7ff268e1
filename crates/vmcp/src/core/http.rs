//! The HTTP client of backends: it keeps their addresses, which may hold secrets, to itself.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::http::{
    HeaderName, HeaderValue, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE},
};
use reqwest::{Client, RequestBuilder, Response, Url, redirect::Policy};
use rmcp::{
    model::{
        ClientJsonRpcMessage, ClientRequest, ErrorData, RequestParamsMeta as _,
        ServerJsonRpcMessage,
    },
    transport::{
        common::client_side_sse::BoxedSseResponse,
        streamable_http_client::{
            AuthRequiredError, HttpStatusError, StreamableHttpClient, StreamableHttpError,
            StreamableHttpPostResponse,
        },
    },
};
use toolgate_limit::TraceContext;

use super::answer::{self, Answer};
use crate::json::unmarked_bytes;

mod body;
mod param;
mod session;

use body::{Asked, Kind};
use session::Doubt;

type HttpError = StreamableHttpError<reqwest::Error>;

/// The most bytes of an answer that is no success.
const MOST_OF_ERROR: usize = 64 * 1024;

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");
const BOTH: HeaderValue = HeaderValue::from_static("text/event-stream, application/json");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What goes with a request, beside its message.
#[derive(Clone, Debug)]
struct With {
    uri: Arc<str>,
    session: Option<Arc<str>>,
    auth: Option<String>,
    headers: HashMap<HeaderName, HeaderValue>,
}

/// A client whose errors name no address, and hold nothing of an answer.
#[derive(Clone, Debug)]
pub(super) struct HttpClient(Client, Sessions);

/// What is known of the server's sessions; clones are the same one.
#[derive(Clone, Debug, Default)]
pub(super) struct Sessions(Arc<session::Known>);

impl Sessions {
    /// Whether the server has given out one.
    pub(super) fn are_given(&self) -> bool {
        self.0.are_given()
    }

    /// Whether anything has come from the server, be it an error.
    pub(super) fn has_answered(&self) -> bool {
        self.0.has_answered()
    }
}

impl HttpClient {
    /// It follows no redirect: that would carry the backend's credentials elsewhere.
    pub(super) fn new() -> Result<Self, reqwest::Error> {
        crate::tls::use_ring();
        let client = Client::builder()
            .redirect(Policy::none())
            .connect_timeout(Duration::from_secs(10))
            .tcp_nodelay(true)
            .build()?;
        Ok(Self(client, Sessions::default()))
    }

    pub(super) fn sessions(&self) -> Sessions {
        self.1.clone()
    }
}

/// `url` without user, password, query and fragment.
pub(super) fn shown(url: &str) -> String {
    let Ok(mut url) = Url::parse(url) else {
        return "not a URL".to_owned();
    };
    // An error means that this kind of URL has no user.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}

/// `headers`, and where `message` belongs in a trace: proxies on the way look at headers alone.
fn with_trace(
    mut headers: HashMap<HeaderName, HeaderValue>,
    message: &ClientJsonRpcMessage,
) -> HashMap<HeaderName, HeaderValue> {
    let ClientJsonRpcMessage::Request(message) = message else {
        return headers;
    };
    let meta = match &message.request {
        ClientRequest::CallToolRequest(call) => call.params.meta(),
        ClientRequest::GetPromptRequest(get) => get.params.meta(),
        ClientRequest::ReadResourceRequest(read) => read.params.meta(),
        ClientRequest::CompleteRequest(complete) => complete.params.meta(),
        _ => None,
    };
    let trace = meta.and_then(|meta| {
        let context: TraceContext = meta.0.get_traceparent()?.parse().ok()?;
        Some(context.with_state(meta.0.get_tracestate().unwrap_or_default()))
    });
    let Some(trace) = trace else { return headers };
    let texts = [
        ("traceparent", trace.to_string()),
        ("tracestate", trace.state.to_string()),
    ];
    for (name, text) in texts {
        if let Some(value) = text.parse().ok().filter(|_| !text.is_empty()) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    headers
}

impl HttpClient {
    /// Its answer's head. This client's own headers count before those of the configuration.
    async fn send(
        request: RequestBuilder,
        with: &With,
        own: &[(HeaderName, HeaderValue)],
    ) -> Result<Response, HttpError> {
        let mut headers: axum::http::HeaderMap = with.headers.clone().into_iter().collect();
        for (name, value) in own {
            headers.insert(name, value.clone());
        }
        let auth = with.auth.as_ref().map(|token| format!("Bearer {token}"));
        let texts = [
            (SESSION, with.session.as_deref()),
            (AUTHORIZATION, auth.as_deref()),
        ];
        for (name, text) in texts {
            if let Some(value) = text.and_then(|text| text.parse().ok()) {
                headers.insert(name, value);
            }
        }
        let sent = request.headers(headers).send().await;
        sent.map_err(|error| HttpError::Client(error.without_url()))
    }

    async fn post(&self, with: &With, message: Vec<u8>) -> Result<Response, HttpError> {
        let own = [(ACCEPT, BOTH), (CONTENT_TYPE, JSON)];
        let response = Self::send(self.0.post(&*with.uri).body(message), with, &own).await?;
        self.1.0.note_answer();
        Ok(response)
    }

    async fn ask(
        &self,
        with: With,
        message: ClientJsonRpcMessage,
        most: usize,
    ) -> Result<StreamableHttpPostResponse, HttpError> {
        if let Some(session) = with.session.as_deref()
            && self.1.0.is_lost(session)
        {
            return Err(HttpError::SessionExpired);
        }
        let text = unmarked_bytes(serde_json::to_vec(&message)?);
        let response = self.post(&with, text).await?;
        let status = response.status();
        if matches!(status, StatusCode::ACCEPTED | StatusCode::NO_CONTENT) {
            return Ok(StreamableHttpPostResponse::Accepted);
        }
        let ClientJsonRpcMessage::Request(request) = message else {
            // Nothing is answered to it.
            return match status {
                status if status.is_success() => Ok(StreamableHttpPostResponse::Accepted),
                StatusCode::NOT_FOUND if with.session.is_some() => Err(HttpError::SessionExpired),
                status => Err(refused(status)),
            };
        };
        let session = response.headers().get(SESSION);
        let session = session.and_then(|id| Some(id.to_str().ok()?.to_owned()));
        let body = match Kind::of(&response) {
            Kind::Events if status.is_success() => {
                let asked = Asked {
                    id: request.id,
                    client: self.clone(),
                    with,
                };
                let events = body::events(response, most, Some(asked));
                return Ok(StreamableHttpPostResponse::Sse(events, session));
            }
            Kind::Other if status.is_success() => {
                return Err(HttpError::UnexpectedContentType(None));
            }
            Kind::Json if status.is_success() => body::read(response, answer::MAX_BYTES).await?,
            Kind::Json => body::read(response, MOST_OF_ERROR)
                .await
                .unwrap_or_default(),
            Kind::Events | Kind::Other => Vec::new(),
        };
        let answer = answer::read(&body);
        let answer = answer.map(|(message, _)| Answer::to(&request.id, message));
        if let Some(doubt) = session::doubt(status, answer.as_ref())
            && self.finds_lost(&with).await
            && doubt == Doubt::NotRun
        {
            return Err(HttpError::SessionExpired);
        }
        let is_discover = matches!(request.request, ClientRequest::DiscoverRequest(_));
        match answer {
            _ if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                Err(refused(status))
            }
            Some(Answer::Own(message) | Answer::Adopted(message)) => {
                Ok(StreamableHttpPostResponse::Json(message, session))
            }
            // How a server of before 2026-07-28 answers what it does not know.
            _ if is_discover && status.is_client_error() && with.session.is_none() => {
                let error = ErrorData::invalid_request(format!("HTTP status {status}"), None);
                let error = ServerJsonRpcMessage::error(error, Some(request.id));
                Ok(StreamableHttpPostResponse::Json(error, None))
            }
            _ if status.is_success() => {
                let what = "it holds no answer to the request";
                Err(HttpError::UnexpectedServerResponse(what.into()))
            }
            _ => Err(refused(status)),
        }
    }
}

/// Why an answer with `status` is none.
fn refused(status: StatusCode) -> HttpError {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            HttpError::AuthRequired(AuthRequiredError::new(status.to_string()))
        }
        status => HttpError::HttpStatus(HttpStatusError::new(status.as_u16(), None)),
    }
}

impl StreamableHttpClient for HttpClient {
    type Error = reqwest::Error;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        auth: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<StreamableHttpPostResponse, HttpError> {
        let most = answer::MAX_BYTES;
        self.post_message_with_max_sse_event_size(uri, message, session, auth, headers, most)
            .await
    }

    async fn post_message_with_max_sse_event_size(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        auth: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
        most: usize,
    ) -> Result<StreamableHttpPostResponse, HttpError> {
        let headers = with_trace(param::unmarked(headers), &message);
        let with = With {
            uri,
            session,
            auth,
            headers,
        };
        let posted = self.ask(with, message, most).await?;
        self.1.0.note(&posted);
        Ok(posted)
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session: Arc<str>,
        auth: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<(), HttpError> {
        let with = With {
            uri,
            session: Some(session),
            auth,
            headers,
        };
        let response = Self::send(self.0.delete(&*with.uri), &with, &[]).await?;
        match response.status() {
            // Sessions need not be ended by their clients.
            StatusCode::METHOD_NOT_ALLOWED => Ok(()),
            status if status.is_success() => Ok(()),
            status => Err(refused(status)),
        }
    }

    async fn get_stream(
        &self,
        uri: Arc<str>,
        session: Option<Arc<str>>,
        last_event: Option<String>,
        auth: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<BoxedSseResponse, HttpError> {
        let most = answer::MAX_BYTES;
        self.get_stream_with_max_sse_event_size(uri, session, last_event, auth, headers, most)
            .await
    }

    async fn get_stream_with_max_sse_event_size(
        &self,
        uri: Arc<str>,
        session: Option<Arc<str>>,
        last_event: Option<String>,
        auth: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
        most: usize,
    ) -> Result<BoxedSseResponse, HttpError> {
        let with = With {
            uri,
            session,
            auth,
            headers,
        };
        let mut own = vec![(ACCEPT, BOTH)];
        let is_resumed = last_event.is_some();
        if let Some(id) = last_event.and_then(|id| id.parse().ok()) {
            own.push((LAST_EVENT, id));
        }
        let response = Self::send(self.0.get(&*with.uri), &with, &own).await?;
        match response.status() {
            StatusCode::METHOD_NOT_ALLOWED => Err(HttpError::ServerDoesNotSupportSse),
            // The stream is gone with its session. Any other error would be tried again until the
            // deadline of the request that waits for it.
            StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::GONE if is_resumed => {
                Err(HttpError::ServerDoesNotSupportSse)
            }
            status if !status.is_success() => Err(refused(status)),
            _ if Kind::of(&response) != Kind::Events => Err(HttpError::UnexpectedContentType(None)),
            _ => Ok(body::events(response, most, None)),
        }
    }
}
