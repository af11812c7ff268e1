//! The CRD that `toolgate crd` prints, judged by a real API server.

use std::{collections::BTreeMap, fs, path::Path};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client,
    api::DeleteParams,
    core::{
        Status,
        response::{StatusCause, StatusDetails},
    },
};
use serde::Deserialize;
use serde_json::Value;
use serde_saphyr::{DuplicateKeyPolicy, options};
use tokio::process::Command;
use toolgate_tests::toolgate;

use crate::stage::{Stage, policy};

/// What an API server is said to answer to one document.
#[derive(Debug, Deserialize)]
struct Answer {
    file: String,
    document: usize,
    #[serde(default)]
    accepted: bool,
    #[serde(default)]
    refused: Vec<Cause>,
}

/// A part of a refusal.
#[derive(Debug, Deserialize)]
struct Cause {
    at: Option<String>,
    says: String,
}

#[tokio::test]
async fn the_api_server_takes_it_and_has_nothing_to_complain_of() {
    let stage = Stage::new().await;
    let crds: Api<CustomResourceDefinition> = Api::all(client(&stage).await);
    let crd = crds.get("ratelimitpolicies.toolgate.dev").await;
    let status = crd.expect("the CRD").status.expect("a status");
    let conditions: BTreeMap<_, _> = status
        .conditions
        .iter()
        .flatten()
        .map(|condition| (condition.type_.as_str(), condition.status.as_str()))
        .collect();
    // NonStructuralSchema and others would say what is wrong.
    let right = BTreeMap::from([("Established", "True"), ("NamesAccepted", "True")]);
    assert_eq!(conditions, right);
}

#[tokio::test]
async fn what_is_wrong_is_refused_with_the_documented_words() {
    let stage = Stage::new().await;
    let client = client(&stage).await;
    let mut refused = 0;
    for answer in answers() {
        if answer.refused.is_empty() {
            continue;
        }
        let refusal = create(&client, &stage, "yaml", answer.text(&stage)).await;
        let refusal = refusal.expect_err("it is wrong");
        for cause in &answer.refused {
            assert!(cause.is_in(&refusal), "{answer:?}: {refusal:#?}");
        }
        // Of no field it says that it has stopped to look for more.
        let of_fields = causes(&refusal)
            .iter()
            .filter(|cause| cause.field != "<nil>");
        for cause in of_fields {
            let known = |known: &Cause| known.is(cause);
            assert!(answer.refused.iter().any(known), "{answer:?}: {cause:?}");
        }
        refused += 1;
    }
    assert!(refused >= 30, "only {refused}");
}

#[tokio::test]
async fn what_is_right_is_taken_and_what_kubectl_gives_back_is_valid_in_a_file() {
    let stage = Stage::new().await;
    let (client, policies) = (client(&stage).await, stage.policies().await);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("given-back.yaml");
    let mut taken = 0;
    for answer in answers() {
        if !answer.accepted {
            continue;
        }
        let created = create(&client, &stage, "json", answer.json(&stage)).await;
        let created = created.unwrap_or_else(|refusal| panic!("{answer:?}: {refusal:?}"));
        let name = created["metadata"]["name"].as_str().expect("a name");
        let given_back = stage.kubectl(&["get", "rlp", name, "-o", "yaml"]).await;
        fs::write(&path, &given_back).expect("written");
        let validate = Command::new(toolgate().expect("built"))
            .arg("validate")
            .arg(&path)
            .output();
        let validated = validate.await.expect("it runs");
        assert!(validated.status.success(), "{given_back}{validated:?}");
        let deleted = policies.delete(name, &DeleteParams::default()).await;
        deleted.expect("deleted");
        taken += 1;
    }
    assert!(taken >= 10, "only {taken}");
}

#[tokio::test]
async fn kubectl_shows_people_what_is_wrong() {
    let stage = Stage::new().await;
    let wrong = policy("research", "mode: Enforce, tools: []");
    let refusal = stage.plane.apply(&stage.namespace, &wrong).await;
    let refusal = refusal.expect_err("it limits nothing").to_string();
    let reason = "at least one of global, perUser, tools, prompts or resources must be configured";
    assert!(refusal.contains(reason), "{refusal}");
    let misspelt = policy("research", "peruser: {maxTokens: 1, refillPeriod: 1m}");
    let refusal = stage.plane.apply(&stage.namespace, &misspelt).await;
    let refusal = refusal.expect_err("nobody knows it").to_string();
    assert!(
        refusal.contains(r#"unknown field "spec.peruser""#),
        "{refusal}"
    );
}

impl Answer {
    /// The document, moved into the namespace of the stage.
    fn text(&self, stage: &Stage) -> String {
        let text = fs::read_to_string(fixtures().join(&self.file)).expect("a fixture");
        let says_something = |text: &&str| {
            let mut lines = text.lines();
            lines.any(|line| !line.trim().is_empty() && !line.starts_with('#'))
        };
        let mut documents = text.split("---\n").filter(says_something);
        let document = documents.nth(self.document - 1).expect("a document");
        let here = format!("namespace: {}", stage.namespace);
        document
            .replace("namespace: team-a", &here)
            .replace("namespace: default", &here)
    }

    /// The document as clients send it: JSON, in which of two equal keys the last one counts.
    fn json(&self, stage: &Stage) -> String {
        let options = options! { duplicate_keys: DuplicateKeyPolicy::LastWins };
        let document = serde_saphyr::from_str_with_options(&self.text(stage), options);
        let mut document: Value = document.expect("YAML");
        if let Some(metadata) = document["metadata"].as_object_mut() {
            // What kubectl has given back names what the API server alone gives.
            metadata.remove("resourceVersion");
        }
        document.to_string()
    }
}

impl Cause {
    fn is_in(&self, refusal: &Status) -> bool {
        match self.at {
            Some(_) => causes(refusal).iter().any(|cause| self.is(cause)),
            None => refusal.message.contains(&self.says),
        }
    }

    fn is(&self, cause: &StatusCause) -> bool {
        self.at.as_ref() == Some(&cause.field) && cause.message.contains(&self.says)
    }
}

fn causes(refusal: &Status) -> &[StatusCause] {
    let details: Option<&StatusDetails> = refusal.details.as_ref();
    details.map_or(&[], |details| &details.causes)
}

/// What `tests/fixtures/manifests/crd.yaml` lists.
fn answers() -> Vec<Answer> {
    let table = fs::read_to_string(fixtures().join("crd.yaml")).expect("a table");
    serde_saphyr::from_str(&table).expect("a table")
}

fn fixtures() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/manifests"))
}

async fn client(stage: &Stage) -> Client {
    stage.plane.client().await.expect("a client")
}

/// Creates it in the namespace of the stage, strictly, as kubectl does.
async fn create(
    client: &Client,
    stage: &Stage,
    format: &str,
    object: String,
) -> Result<Value, Status> {
    let namespace = &stage.namespace;
    let kind = format!("/apis/toolgate.dev/v1alpha1/namespaces/{namespace}/ratelimitpolicies");
    let request = http::Request::post(format!("{kind}?fieldValidation=Strict"))
        .header("content-type", format!("application/{format}"))
        .body(object.into_bytes());
    match client.request(request.expect("a request")).await {
        Ok(created) => Ok(created),
        Err(kube::Error::Api(status)) => Err(*status),
        Err(error) => panic!("no answer: {error}"),
    }
}
