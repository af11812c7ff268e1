//! An API server for tests of what depends on time and failure, which a real one does not show at will.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
};

use http::{Method, Request, Response, StatusCode};
use jiff::Timestamp;
use kube::{Client, client::Body};
use serde_json::{Value, json};

use super::lease::{self, Progress};
use crate::{
    Config, Namespaces,
    source::{Judged, View},
};

/// The newest resource version that replicas and views have seen; written ones are above it.
const NEWEST: usize = 1_000_000;

/// An API server; clones are the same one.
#[derive(Clone, Default)]
pub(super) struct Fake(Arc<Mutex<Asked>>);

/// What it was asked, what it has, and how it answers.
#[derive(Default)]
pub(super) struct Asked {
    /// Name and body of each status that was to be written.
    pub(super) statuses: Vec<(String, Value)>,
    pub(super) events: Vec<String>,
    /// How often the Leases were listed.
    pub(super) lists: usize,
    /// The Lease of each write.
    pub(super) leases_written: Vec<String>,
    /// What to say to the next writes of a status; after them all is well.
    pub(super) answers: VecDeque<u16>,
    /// The policy whose status makes the API server fail.
    pub(super) fails_at: Option<&'static str>,
    /// Whether Leases cannot be asked for.
    pub(super) leases_fail: bool,
    /// Whether nothing is answered at all.
    pub(super) is_silent: bool,
    pub(super) leases: BTreeMap<String, Value>,
}

pub(super) fn config(replica: &str) -> Config {
    Config {
        namespaces: Namespaces::All,
        status: true,
        lease_namespace: None,
        lease_name: "toolgate".to_owned(),
        replica: replica.to_owned(),
        pod_uid: None,
    }
}

pub(super) fn view(objects: Vec<Judged>) -> View {
    View {
        newest: [(None, NEWEST.to_string())].into(),
        objects,
    }
}

impl Fake {
    pub(super) fn asked(&self) -> MutexGuard<'_, Asked> {
        self.0.lock().expect("no test panics with it")
    }

    /// The names whose status was written, in order.
    pub(super) fn written(&self) -> Vec<String> {
        let asked = self.asked();
        let names = asked.statuses.iter().map(|(name, _)| name.clone());
        names.collect()
    }

    /// There is a replica that has seen everything.
    pub(super) fn put_replica(&self, replica: &str) {
        let config = config(replica);
        let progress = Progress::of(&config, &view(Vec::new()));
        let lease = lease::write(&config, ("tools", "tools"), &progress, Timestamp::now());
        let lease = serde_json::to_value(lease).expect("JSON");
        self.asked().leases.insert(lease::name(&config), lease);
    }

    pub(super) fn client(&self) -> Client {
        let fake = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let fake = fake.clone();
            async move {
                if fake.asked().is_silent {
                    std::future::pending::<()>().await;
                }
                let (parts, body) = request.into_parts();
                let body = body.collect_bytes().await?;
                let body = serde_json::from_slice(&body).unwrap_or_default();
                let (code, answer) = fake.answer(&parts.method, parts.uri.path(), body);
                let answer = Body::from(answer.to_string().into_bytes());
                Ok::<_, tower::BoxError>(Response::builder().status(code).body(answer)?)
            }
        });
        Client::new(service, "toolgate")
    }

    fn answer(&self, method: &Method, path: &str, body: Value) -> (u16, Value) {
        let mut asked = self.asked();
        let parts: Vec<_> = path.split('/').collect();
        match (method, &*parts) {
            (_, [.., "leases"] | [.., "leases", _]) if asked.leases_fail => failure(503),
            (&Method::GET, [.., "leases"]) => asked.list_leases(),
            (&Method::GET, [.., "leases", name]) => match asked.leases.get(*name) {
                Some(lease) => (200, lease.clone()),
                None => failure(404),
            },
            (&Method::POST, [.., "leases"]) => {
                let name = body["metadata"]["name"].as_str().expect("name");
                asked.put_lease(name, &body)
            }
            (&Method::PATCH, [.., "leases", name]) => asked.put_lease(name, &body),
            (&Method::DELETE, [.., "leases", name]) => {
                asked.leases.remove(*name);
                (
                    200,
                    json!({"apiVersion": "v1", "kind": "Status", "status": "Success"}),
                )
            }
            (&Method::PATCH, [.., "ratelimitpolicies", name, "status"]) => {
                asked.write_status(name, body)
            }
            (&Method::POST, [.., "events"]) => {
                let name = body["metadata"]["name"].as_str().expect("name").to_owned();
                let is_known = asked.events.contains(&name);
                asked.events.push(name);
                if is_known { failure(409) } else { (201, body) }
            }
            _ => panic!("{method} {path} is not expected"),
        }
    }
}

impl Asked {
    fn list_leases(&mut self) -> (u16, Value) {
        self.lists += 1;
        let items: Vec<_> = self.leases.values().collect();
        let list = json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "LeaseList",
            "metadata": {},
            "items": items,
        });
        (200, list)
    }

    /// Every kind of patch of a Lease is a merge.
    fn put_lease(&mut self, name: &str, patch: &Value) -> (u16, Value) {
        self.leases_written.push(name.to_owned());
        let lease = self.leases.entry(name.to_owned()).or_insert_with(|| {
            json!({
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": name},
                "spec": {},
            })
        });
        for part in ["metadata", "spec"] {
            for (field, value) in patch[part].as_object().into_iter().flatten() {
                lease[part][field] = value.clone();
            }
        }
        (200, lease.clone())
    }

    fn write_status(&mut self, name: &str, body: Value) -> (u16, Value) {
        let code = match self.fails_at {
            Some(failing) if failing == name => 500,
            _ => self.answers.pop_front().unwrap_or(200),
        };
        self.statuses.push((name.to_owned(), body));
        if code != 200 {
            return failure(code);
        }
        let version = (NEWEST + self.statuses.len()).to_string();
        let object = json!({
            "apiVersion": "toolgate.dev/v1alpha1",
            "kind": "RateLimitPolicy",
            "metadata": {"name": name, "namespace": "team", "resourceVersion": version},
        });
        (200, object)
    }
}

fn failure(code: u16) -> (u16, Value) {
    let reason = StatusCode::from_u16(code).expect("code").canonical_reason();
    let status = json!({
        "apiVersion": "v1",
        "kind": "Status",
        "status": "Failure",
        "reason": reason,
        "message": "as the test wants it",
        "code": code,
    });
    (code, status)
}
