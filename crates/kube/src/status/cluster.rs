//! What is asked of the API server, each with a deadline.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::{coordination::v1::Lease, events::v1::Event};
use kube::{
    Api, Client, Error,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions},
    client::Body,
    core::{ApiResource, DynamicObject},
};
use serde_json::json;
use tokio::time::timeout;
use toolgate_limit::Clock;

use super::lease::{self, Heartbeat, Progress};
use crate::{Config, RateLimitPolicy, RateLimitPolicyStatus, objects::ObjectKey};

/// The longest that one request may take. Less than the grace of the lead (`election.rs`), so that a
/// leader that cannot renew learns so before its lease is over.
const REQUEST: Duration = Duration::from_secs(4);

/// As whom fields are written.
const MANAGER: &str = "toolgate";

/// A cluster as those who report see it.
#[derive(Clone)]
pub(super) struct Cluster {
    client: Client,
    pub(super) config: Config,
    lease_namespace: String,
    pod_namespace: String,
    clock: Arc<dyn Clock>,
}

/// A status that was written.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub(super) status: RateLimitPolicyStatus,
    pub(super) resource_version: String,
}

impl Cluster {
    pub(super) fn new(
        client: &Client,
        config: &Config,
        namespace: &str,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let lease_namespace = config.lease_namespace.clone();
        Self {
            client: with_deadline(client),
            config: config.clone(),
            lease_namespace: lease_namespace.unwrap_or_else(|| namespace.to_owned()),
            pod_namespace: namespace.to_owned(),
            clock,
        }
    }

    pub(super) fn client(&self) -> Client {
        self.client.clone()
    }

    pub(super) fn lease_namespace(&self) -> &str {
        &self.lease_namespace
    }

    pub(super) fn now(&self) -> Timestamp {
        let micros = i64::try_from(self.clock.now().as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX)
    }

    /// Writes `status` over the object as it is at `resource_version`; if it is not that any more,
    /// this is an error, and a newer view is on its way.
    pub(super) async fn write_status(
        &self,
        key: &ObjectKey,
        resource_version: &str,
        status: &RateLimitPolicyStatus,
    ) -> Result<Written, Error> {
        // Untyped: an answer that does not fit the type would be an error after the fact.
        let resource = ApiResource::erase::<RateLimitPolicy>(&());
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &key.namespace, &resource);
        let patch = json!({
            "metadata": {"resourceVersion": resource_version},
            // A null takes a field away that is there.
            "status": {
                "server": status.server,
                "observedGeneration": status.observed_generation,
                "conditions": status.conditions,
                "replicas": status.replicas,
            },
        });
        let params = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let object = api
            .patch_status(&key.name, &params, &Patch::Merge(patch))
            .await?;
        Ok(Written {
            status: status.clone(),
            resource_version: object.metadata.resource_version.unwrap_or_default(),
        })
    }

    /// Creates an Event. One that exists already is as good.
    pub(super) async fn create_event(&self, event: &Event) -> Result<(), Error> {
        let namespace = event.metadata.namespace.as_deref().unwrap_or_default();
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let params = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PostParams::default()
        };
        match api.create(&params, event).await {
            Err(Error::Api(status)) if status.code == 409 => Ok(()),
            created => created.map(drop),
        }
    }

    /// Says how far this replica is.
    pub(super) async fn write_own_lease(&self, progress: &Progress) -> Result<(), Error> {
        let namespaces = (&*self.lease_namespace, &*self.pod_namespace);
        let lease = lease::write(&self.config, namespaces, progress, self.now());
        let params = PatchParams::apply(MANAGER).force();
        let (leases, name) = (self.leases(), lease::name(&self.config));
        let applied = leases.patch(&name, &params, &Patch::Apply(&lease)).await;
        applied.map(drop)
    }

    pub(super) async fn delete_own_lease(&self) -> Result<(), Error> {
        let params = DeleteParams::default();
        let name = lease::name(&self.config);
        match self.leases().delete(&name, &params).await {
            Err(Error::Api(status)) if status.code == 404 => Ok(()),
            deleted => deleted.map(drop),
        }
    }

    /// The Leases of all replicas that share policies with this one.
    pub(super) async fn list_leases(&self) -> Result<Vec<Lease>, Error> {
        let selector = format!("{}={}", lease::LABEL, lease::label(&self.config.lease_name));
        let params = ListParams::default().labels(&selector);
        Ok(self.leases().list(&params).await?.items)
    }

    /// Deletes the Lease `name`, unless it is not any more what `heartbeat` says.
    pub(super) async fn delete_lease(
        &self,
        name: &str,
        heartbeat: &Heartbeat,
    ) -> Result<(), Error> {
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                resource_version: heartbeat.resource_version.clone(),
                uid: heartbeat.uid.clone(),
            }),
            ..DeleteParams::default()
        };
        self.leases().delete(name, &params).await.map(drop)
    }

    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), &self.lease_namespace)
    }
}

/// Whether the API server could not be asked, or would not listen: all else will fare alike.
pub(super) fn is_outage(error: &Error) -> bool {
    match error {
        Error::Api(status) => status.code == 429 || status.code >= 500,
        _ => true,
    }
}

/// The same client with a deadline on each answer. What follows its first line is small, and bounded
/// by the connection's own time for reading.
fn with_deadline(client: &Client) -> Client {
    let (namespace, client) = (client.default_namespace().to_owned(), client.clone());
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let client = client.clone();
        async move {
            let answer = timeout(REQUEST, client.send(request)).await;
            let answer = answer.map_err(|_| format!("no answer within {REQUEST:?}"))?;
            Ok::<_, tower::BoxError>(answer?)
        }
    });
    Client::new(service, namespace)
}
