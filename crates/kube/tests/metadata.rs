//! A manifest in a file is accepted with all the metadata that `kubectl get -o yaml` prints.

#![allow(clippy::expect_used, reason = "a test that cannot go on fails")]

use std::path::Path;

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta, OwnerReference, Time},
    jiff::Timestamp,
};
use toolgate_policy::read_text;

#[test]
fn every_field_of_object_meta_is_accepted() {
    let text = || Some("x".to_owned());
    // No `..Default`: a new field of Kubernetes must be named here.
    let metadata = ObjectMeta {
        annotations: Some([("a".to_owned(), "b".to_owned())].into()),
        creation_timestamp: Some(Time(Timestamp::UNIX_EPOCH)),
        deletion_grace_period_seconds: Some(1),
        deletion_timestamp: Some(Time(Timestamp::UNIX_EPOCH)),
        finalizers: Some(vec!["x".to_owned()]),
        generate_name: Some("research-".to_owned()),
        generation: Some(1),
        labels: Some([("a".to_owned(), "b".to_owned())].into()),
        managed_fields: Some(vec![ManagedFieldsEntry::default()]),
        name: Some("research-x7k2p".to_owned()),
        namespace: Some("team".to_owned()),
        owner_references: Some(vec![OwnerReference::default()]),
        resource_version: text(),
        self_link: text(),
        uid: text(),
    };
    let object = serde_json::json!({
        "apiVersion": "toolgate.dev/v1alpha1",
        "kind": "RateLimitPolicy",
        "metadata": metadata,
        "spec": {"global": {"maxTokens": 1, "refillPeriod": "1m"}},
        "status": {"conditions": []},
    });
    let loaded = read_text(Path::new("object.yaml"), &object.to_string());
    assert!(loaded.diagnostics.is_empty(), "{}", loaded.diagnostics);
    assert_eq!(loaded.policies.len(), 1);

    // A field of nobody's is still an error.
    let mut wrong = object;
    wrong["metadata"]["generatedName"] = "x".into();
    let loaded = read_text(Path::new("object.yaml"), &wrong.to_string());
    assert!(loaded.diagnostics.has_errors());
}
