//! `grpc.health.v1.Health`.
//!
//! tonic-health has a service of its own, which ends the watch of a service that it does not know.
//! The protocol wants it kept: it says `SERVICE_UNKNOWN`, and more once the service is known.

use std::{collections::BTreeMap, pin::Pin};

use futures::{Stream, stream};
use tokio::sync::watch;
use tonic::{Request, Response, Status};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
    health_server::Health,
};

/// What each service says of itself. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct ServiceHealth(watch::Sender<Statuses>);

#[derive(Debug)]
struct Statuses {
    of: BTreeMap<&'static str, ServingStatus>,
    /// Watches end.
    ended: bool,
}

impl ServiceHealth {
    /// Of a limiter that does not serve yet.
    pub(crate) fn new() -> Self {
        let of = BTreeMap::from([("", ServingStatus::NotServing)]);
        Self(watch::Sender::new(Statuses { of, ended: false }))
    }

    /// From now on, and to all that watch it, `service` says `status`.
    pub(crate) fn set(&self, service: &'static str, status: ServingStatus) {
        self.0
            .send_if_modified(|statuses| statuses.of.insert(service, status) != Some(status));
    }

    /// Ends all watches, which would outlast every drain, once they have told the last status.
    pub(crate) fn end_watches(&self) {
        self.0.send_modify(|statuses| statuses.ended = true);
    }
}

#[tonic::async_trait]
impl Health for ServiceHealth {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let status = self.0.borrow().of.get(&*request.get_ref().service).copied();
        let status = status.ok_or_else(|| Status::not_found("the service is not known"))?;
        Ok(Response::new(response(status)))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let watch = Watch {
            service: request.into_inner().service,
            statuses: self.0.subscribe(),
            told: None,
        };
        let told = stream::unfold(watch, async |mut watch| {
            let status = watch.next().await?;
            Some((Ok(response(status)), watch))
        });
        Ok(Response::new(Box::pin(told)))
    }
}

struct Watch {
    service: String,
    statuses: watch::Receiver<Statuses>,
    told: Option<ServingStatus>,
}

impl Watch {
    /// The status as soon as it is another one than was told last. None at the end.
    async fn next(&mut self) -> Option<ServingStatus> {
        loop {
            let (status, ended) = {
                let statuses = self.statuses.borrow_and_update();
                let status = statuses.of.get(&*self.service).copied();
                (
                    status.unwrap_or(ServingStatus::ServiceUnknown),
                    statuses.ended,
                )
            };
            if self.told != Some(status) {
                self.told = Some(status);
                return Some(status);
            }
            if ended {
                return None;
            }
            self.statuses.changed().await.ok()?;
        }
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse {
        status: status.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use futures::{FutureExt as _, StreamExt as _};

    use super::*;

    fn of(service: &str) -> Request<HealthCheckRequest> {
        let service = service.to_owned();
        Request::new(HealthCheckRequest { service })
    }

    async fn watch(
        health: &ServiceHealth,
        service: &str,
    ) -> <ServiceHealth as Health>::WatchStream {
        let watch = health.watch(of(service)).await;
        watch.expect("a stream").into_inner()
    }

    /// What a watch says now.
    fn next(watch: &mut <ServiceHealth as Health>::WatchStream) -> Poll<Option<ServingStatus>> {
        let next = watch.poll_next_unpin(&mut Context::from_waker(Waker::noop()));
        next.map_ok(|told| told.status()).map(|told| told?.ok())
    }

    #[tokio::test]
    async fn the_watch_of_a_service_that_is_not_known_goes_on_until_it_is() {
        let health = ServiceHealth::new();
        let mut late = watch(&health, "late").await;
        assert_eq!(
            next(&mut late),
            Poll::Ready(Some(ServingStatus::ServiceUnknown))
        );
        assert_eq!(next(&mut late), Poll::Pending);
        health.set("other", ServingStatus::Serving);
        assert_eq!(next(&mut late), Poll::Pending, "it is another service");
        health.set("late", ServingStatus::Serving);
        assert_eq!(next(&mut late), Poll::Ready(Some(ServingStatus::Serving)));
        assert_eq!(next(&mut late), Poll::Pending);
    }

    #[tokio::test]
    async fn watches_tell_the_last_status_and_end() {
        let health = ServiceHealth::new();
        let mut streams = [watch(&health, "").await, watch(&health, "unknown").await];
        assert_eq!(
            next(&mut streams[0]),
            Poll::Ready(Some(ServingStatus::NotServing))
        );
        health.set("", ServingStatus::Serving);
        health.end_watches();
        assert_eq!(
            next(&mut streams[0]),
            Poll::Ready(Some(ServingStatus::Serving))
        );
        assert_eq!(next(&mut streams[0]), Poll::Ready(None));
        assert_eq!(
            next(&mut streams[1]),
            Poll::Ready(Some(ServingStatus::ServiceUnknown))
        );
        assert_eq!(next(&mut streams[1]), Poll::Ready(None));
        let mut late = watch(&health, "").await;
        assert_eq!(next(&mut late), Poll::Ready(Some(ServingStatus::Serving)));
        assert_eq!(next(&mut late), Poll::Ready(None));
    }

    #[tokio::test]
    async fn a_check_is_of_a_service_that_is_known() {
        let health = ServiceHealth::new();
        let code = |service| {
            let check = health.check(of(service)).now_or_never().expect("at once");
            check
                .map(|reply| reply.into_inner().status())
                .map_err(|error| error.code())
        };
        assert_eq!(code(""), Ok(ServingStatus::NotServing));
        assert_eq!(code("unknown"), Err(tonic::Code::NotFound));
        health.end_watches();
        assert_eq!(code(""), Ok(ServingStatus::NotServing), "probes go on");
    }
}
