//! The HTTP client of backends: it keeps their addresses, which may hold secrets, to itself.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::http::{HeaderName, HeaderValue};
use reqwest::{Client, Url, redirect::Policy};
use rmcp::{
    model::{ClientJsonRpcMessage, ClientRequest, RequestParamsMeta as _},
    transport::{
        common::client_side_sse::BoxedSseResponse,
        streamable_http_client::{
            StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse,
        },
    },
};
use toolgate_limit::TraceContext;

type HttpError = StreamableHttpError<reqwest::Error>;

/// A client whose errors name no address.
#[derive(Clone, Debug)]
pub(super) struct HttpClient(Client, Sessions);

/// Whether the server has given out a session; clones are the same one.
#[derive(Clone, Debug, Default)]
pub(super) struct Sessions(Arc<AtomicBool>);

impl Sessions {
    pub(super) fn are_given(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    fn note(&self, posted: &StreamableHttpPostResponse) {
        use StreamableHttpPostResponse::{Json, Sse};
        if let Json(_, Some(_)) | Sse(_, Some(_)) = posted {
            self.0.store(true, Ordering::SeqCst);
        }
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

fn without_url(error: HttpError) -> HttpError {
    match error {
        HttpError::Client(error) => HttpError::Client(error.without_url()),
        other => other,
    }
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
        let headers = with_trace(headers, &message);
        let posted = self.0.post_message(uri, message, session, auth, headers);
        let posted = posted.await.map_err(without_url)?;
        self.1.note(&posted);
        Ok(posted)
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
        let headers = with_trace(headers, &message);
        let posted = self
            .0
            .post_message_with_max_sse_event_size(uri, message, session, auth, headers, most);
        let posted = posted.await.map_err(without_url)?;
        self.1.note(&posted);
        Ok(posted)
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session: Arc<str>,
        auth: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<(), HttpError> {
        let deleted = self.0.delete_session(uri, session, auth, headers);
        deleted.await.map_err(without_url)
    }

    async fn get_stream(
        &self,
        uri: Arc<str>,
        session: Option<Arc<str>>,
        last_event: Option<String>,
        auth: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<BoxedSseResponse, HttpError> {
        let opened = self.0.get_stream(uri, session, last_event, auth, headers);
        opened.await.map_err(without_url)
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
        let opened = self
            .0
            .get_stream_with_max_sse_event_size(uri, session, last_event, auth, headers, most);
        opened.await.map_err(without_url)
    }
}
