//! `grpc.reflection.v1.ServerReflection`, and the same by its older name.
//!
//! tonic-reflection has a service of its own, which ends the stream at the first name that it does not
//! know. The protocol answers each request by itself, so that a client can go on asking.

mod index;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::{Stream, StreamExt as _};
use http::{Uri, uri::PathAndQuery};
use tonic::{Code, Request, Response, Status, Streaming, server::NamedService};
use tonic_reflection::pb::{
    v1::{
        ErrorResponse, ExtensionNumberResponse, FileDescriptorResponse, ListServiceResponse,
        ServerReflectionRequest, ServerReflectionResponse, ServiceResponse,
        server_reflection_request::MessageRequest as Asked,
        server_reflection_response::MessageResponse as Answer,
        server_reflection_server::{SERVICE_NAME, ServerReflection},
    },
    v1alpha::server_reflection_server::SERVICE_NAME as OLDER_NAME,
};
use tower_service::Service;

use super::status;
pub(crate) use index::Index;

/// Answers questions about the descriptors of the API.
#[derive(Clone, Debug)]
pub(crate) struct Reflection(Arc<Index>);

impl Reflection {
    pub(crate) fn of(index: &Arc<Index>) -> Self {
        Self(Arc::clone(index))
    }
}

#[tonic::async_trait]
impl ServerReflection for Reflection {
    type ServerReflectionInfoStream =
        Pin<Box<dyn Stream<Item = Result<ServerReflectionResponse, Status>> + Send>>;

    async fn server_reflection_info(
        &self,
        requests: Request<Streaming<ServerReflectionRequest>>,
    ) -> Result<Response<Self::ServerReflectionInfoStream>, Status> {
        let index = Arc::clone(&self.0);
        let answers = requests.into_inner().map(move |request| {
            let request = request.map_err(status::of_message)?;
            let answer = answer(&index, request.message_request.as_ref());
            Ok(ServerReflectionResponse {
                valid_host: request.host.clone(),
                original_request: Some(request),
                message_response: Some(answer),
            })
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

fn answer(index: &Index, asked: Option<&Asked>) -> Answer {
    match asked {
        Some(Asked::FileByFilename(name)) => file(index.file(name), "file", name),
        Some(Asked::FileContainingSymbol(name)) => file(index.file_of_symbol(name), "symbol", name),
        Some(Asked::ListServices(_)) => {
            let service = index.services().map(|name| ServiceResponse {
                name: name.to_owned(),
            });
            Answer::ListServicesResponse(ListServiceResponse {
                service: service.collect(),
            })
        }
        // None of our messages has an extension.
        Some(Asked::AllExtensionNumbersOfType(name)) if index.file_of_symbol(name).is_some() => {
            Answer::AllExtensionNumbersResponse(ExtensionNumberResponse {
                base_type_name: name.clone(),
                extension_number: Vec::new(),
            })
        }
        Some(Asked::AllExtensionNumbersOfType(name)) => file(None, "type", name),
        Some(Asked::FileContainingExtension(extension)) => {
            file(None, "extension of", &extension.containing_type)
        }
        None => error(Code::InvalidArgument, "nothing is asked".to_owned()),
    }
}

fn file(found: Option<&[u8]>, kind: &str, name: &str) -> Answer {
    match found {
        Some(file) => Answer::FileDescriptorResponse(FileDescriptorResponse {
            file_descriptor_proto: vec![file.to_vec()],
        }),
        None => error(Code::NotFound, format!("there is no {kind} {name:?}")),
    }
}

fn error(code: Code, error_message: String) -> Answer {
    Answer::ErrorResponse(ErrorResponse {
        error_code: code.into(),
        error_message,
    })
}

/// A reflection service by the name that it had before it was stable, `v1alpha`. Bytes on the wire are
/// the same in both.
#[derive(Clone, Debug)]
pub(crate) struct OlderName<S>(pub(crate) S);

impl<S> NamedService for OlderName<S> {
    const NAME: &'static str = OLDER_NAME;
}

impl<S, B> Service<http::Request<B>> for OlderName<S>
where
    S: Service<http::Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<B>) -> S::Future {
        // A path that cannot be changed is none of a method.
        if let Some(path) = by_stable_name(request.uri()) {
            *request.uri_mut() = path;
        }
        self.0.call(request)
    }
}

fn by_stable_name(uri: &Uri) -> Option<Uri> {
    let method = uri.path().strip_prefix('/')?.strip_prefix(OLDER_NAME)?;
    let path = PathAndQuery::try_from(format!("/{SERVICE_NAME}{method}")).ok()?;
    Some(path.into())
}

#[cfg(test)]
mod tests;
