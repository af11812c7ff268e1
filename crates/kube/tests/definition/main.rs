//! The definition of `RateLimitPolicy` and the reader of files judge the same documents alike.
//!
//! `tests/fixtures/manifests/crd.yaml` says what a real API server answers;
//! `tests/tests/kubernetes` asks one. Here its checks are made without one: the structural schema
//! by a validator of JSON schemas, the rules by that of `kube`.

#![allow(clippy::expect_used, reason = "a test that cannot go on fails")]

use std::{collections::BTreeMap, fs, path::Path};

use judge::Judge;
use serde::Deserialize;
use serde_json::{Value, json};
use serde_saphyr::{DuplicateKeyPolicy, NonFiniteFloatPolicy, options};
use toolgate_policy::{MAX_OPERATIONS, read_text};

mod judge;

/// What the API server says to one document.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    file: String,
    document: usize,
    #[serde(default)]
    accepted: bool,
    differs: Option<String>,
    #[serde(default)]
    refused: Vec<Cause>,
    unasked: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cause {
    at: Option<String>,
    says: String,
}

fn fixtures() -> &'static Path {
    Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/fixtures/manifests"
    ))
}

fn answers() -> BTreeMap<(String, usize), Answer> {
    let text = fs::read_to_string(fixtures().join("crd.yaml")).expect("table");
    let answers: Vec<Answer> = serde_saphyr::from_str(&text).expect("table");
    let count = answers.len();
    let answers: BTreeMap<_, _> = answers
        .into_iter()
        .map(|answer| ((answer.file.clone(), answer.document), answer))
        .collect();
    assert_eq!(answers.len(), count, "a document is in the table twice");
    answers
}

/// The documents of kind `RateLimitPolicy`, by file and number.
fn documents() -> BTreeMap<(String, usize), String> {
    let mut documents = BTreeMap::new();
    for folder in ["valid", "invalid"] {
        for entry in fs::read_dir(fixtures().join(folder)).expect("folder") {
            let path = entry.expect("entry").path();
            let text = fs::read_to_string(&path).expect("text");
            let name = path.file_name().expect("named").to_string_lossy();
            let says_something = |text: &&str| {
                text.lines()
                    .any(|line| !line.trim().is_empty() && !line.starts_with('#'))
            };
            let parts: Vec<&str> = text.split("---\n").filter(says_something).collect();
            for (document, text) in (1..).zip(parts) {
                if text.contains("RateLimitPolicy") {
                    documents.insert((format!("{folder}/{name}"), document), text.to_owned());
                }
            }
        }
    }
    documents
}

#[test]
fn every_document_has_an_answer_in_the_table_and_every_answer_a_document() {
    let documents: Vec<_> = documents().into_keys().collect();
    let answers: Vec<_> = answers().into_keys().collect();
    assert_eq!(documents, answers);
}

#[test]
fn a_file_and_the_api_server_judge_alike_unless_the_table_says_why_not() {
    let documents = documents();
    for (key, answer) in answers() {
        let ways = [
            answer.accepted,
            !answer.refused.is_empty(),
            answer.unasked.is_some(),
        ];
        assert_eq!(ways.into_iter().filter(|&way| way).count(), 1, "{key:?}");
        let refused_in_a_file = read_text(Path::new(&key.0), &documents[&key])
            .diagnostics
            .has_errors();
        assert_eq!(
            refused_in_a_file,
            !answer.accepted || answer.differs.is_some(),
            "{key:?}"
        );
    }
}

#[test]
fn the_definition_refuses_what_the_api_server_refuses_at_the_same_fields_and_in_the_same_words() {
    let judge = Judge::new();
    let documents = documents();
    for (key, answer) in answers() {
        if answer.unasked.is_some() {
            continue;
        }
        // As clients read it on its way to the API server.
        let options = options! { duplicate_keys: DuplicateKeyPolicy::LastWins, non_finite_float_policy: NonFiniteFloatPolicy::PassThrough };
        let document = serde_saphyr::from_str_with_options(&documents[&key], options);
        let document = document.expect("it is YAML");
        let refusals = judge.refusals(document);
        for refusal in &refusals {
            let known = |cause: &Cause| match &refusal.field {
                Some(field) => {
                    cause.at.as_ref() == Some(field)
                        && refusal
                            .rule
                            .as_ref()
                            .is_none_or(|message| message.contains(&cause.says))
                }
                None => refusal.rule.as_ref() == Some(&cause.says),
            };
            assert!(answer.refused.iter().any(known), "{key:?}: {refusal:?}");
        }
        for Cause { at, says } in &answer.refused {
            let made = refusals.iter().any(|refusal| match at {
                Some(_) => refusal.field == *at,
                None => refusal.rule.as_ref() == Some(says),
            });
            assert!(made, "{key:?}: {at:?} {says}");
        }
    }
}

#[test]
fn one_operation_more_than_the_most_is_refused_by_both() {
    let judge = Judge::new();
    for kind in ["tools", "prompts", "resources"] {
        let quota = json!({"maxTokens": 1, "refillPeriod": "1m"});
        let mut items: Vec<_> = (0..=MAX_OPERATIONS)
            .map(|i| json!({"name": format!("n{i}"), "global": quota}))
            .collect();
        let policy = |items: &[Value]| {
            json!({
                "apiVersion": "toolgate.dev/v1alpha1",
                "kind": "RateLimitPolicy",
                "metadata": {"name": "research"},
                "spec": {kind: items},
            })
        };
        let read =
            |policy: &Value| read_text(Path::new("many.yaml"), &policy.to_string()).diagnostics;

        let errors = read(&policy(&items));
        let error = errors.errors().next().expect("error");
        assert_eq!(
            error.message(),
            format!("spec.{kind} must have at most 4096 items, not 4097")
        );
        let refusals = judge.refusals(policy(&items));
        let fields: Vec<_> = refusals
            .into_iter()
            .filter_map(|refusal| refusal.field)
            .collect();
        assert_eq!(fields, [format!("spec.{kind}")]);

        items.pop();
        let errors = read(&policy(&items));
        assert!(errors.is_empty(), "{errors}");
        assert_eq!(judge.structural_refusals(&policy(&items)).0.len(), 0);
    }
}

#[test]
fn the_definition_in_deploy_is_the_one_that_toolgate_crd_prints() {
    let path = "deploy/crds/toolgate.dev_ratelimitpolicies.yaml";
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path);
    let written = fs::read_to_string(file).unwrap_or_default();
    assert!(
        written == toolgate_kube::definition_yaml().expect("definition"),
        "{path} is out of date; write it anew: cargo run -p toolgate -- crd >{path}"
    );
}
