use std::{collections::HashMap, fmt, sync::Mutex, time::Duration};

use rmcp::model::{ArgumentInfo, Reference};
use serde_json::{Value, json};
use toolgate_client::OnUnavailable;
use toolgate_limit::{
    Answer, Check, Decision, Denial, Limit, Limiter, LimiterError, Quota, Scope, StoreError,
};
use tracing::{
    Instrument, Subscriber, field,
    span::{Id, Record},
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
};

use super::*;
use crate::testing::Recorder;

/// Answers each check the same, and notes it.
#[derive(Debug)]
struct Fixed {
    decision: Option<Decision>,
    asked: Mutex<Vec<Check>>,
}

#[async_trait]
impl Limiter for Fixed {
    async fn check(&self, check: Check) -> Result<Answer, LimiterError> {
        self.asked.lock().unwrap().push(check);
        let decision = self.decision.clone().ok_or(StoreError::Timeout {
            after: Duration::from_millis(50),
        })?;
        Ok(Answer {
            decision,
            ..Answer::unlimited()
        })
    }

    async fn peek(&self, _: Check) -> Result<Answer, LimiterError> {
        unreachable!("nothing here peeks")
    }
}

fn denied() -> Decision {
    let quota = Quota::new(1, Duration::from_mins(1)).unwrap();
    let server = "default/research".parse().unwrap();
    Decision::Denied(Denial {
        limit: Arc::new(Limit::new(server, None, Scope::PerUser, quota)),
        retry_after: Some(Duration::from_mins(1)),
        cost: 1,
    })
}

fn behind(
    decision: Option<Decision>,
    otherwise: OnUnavailable,
) -> (RateLimited<Recorder>, Arc<Fixed>) {
    let limiter = Arc::new(Fixed {
        decision,
        asked: Mutex::default(),
    });
    let server = "default/research".parse().unwrap();
    let gate = Gate::new(server, limiter.clone(), otherwise);
    (RateLimited::new(Recorder::default(), gate), limiter)
}

fn alice() -> Identity {
    Identity::new("alice")
        .unwrap()
        .of_issuer("https://issuer")
        .unwrap()
}

fn a_call() -> CallToolRequestParams {
    let call = json!({"name": "github_search", "arguments": {"q": "x"}, "_meta": {"trace": "t"}});
    serde_json::from_value(call).unwrap()
}

async fn ask_all_three(vmcp: &dyn Vmcp) -> [Option<VmcpError>; 3] {
    let alice = alice();
    [
        vmcp.call_tool(&alice, a_call()).await.err(),
        vmcp.get_prompt(&alice, GetPromptRequestParams::new("weekly"))
            .await
            .err(),
        vmcp.read_resource(&alice, ReadResourceRequestParams::new("file:///a"))
            .await
            .err(),
    ]
}

#[tokio::test]
async fn calls_prompts_and_reads_ask_for_one_token_of_their_operation() {
    let (vmcp, limiter) = behind(Some(Decision::Allowed), OnUnavailable::Deny);
    assert!(ask_all_three(&vmcp).await.iter().all(Option::is_none));

    let asked = limiter.asked.lock().unwrap();
    let operations: Vec<_> = asked
        .iter()
        .map(|check| check.operation.as_ref().unwrap().to_string())
        .collect();
    assert_eq!(
        operations,
        ["tool github_search", "prompt weekly", "resource file:///a"]
    );
    for check in asked.iter() {
        assert_eq!(check.server.as_str(), "default/research");
        assert_eq!(check.identity, alice());
        assert_eq!(check.cost, Check::COST_OF_ONE);
    }
}

#[tokio::test]
async fn identity_name_arguments_and_meta_reach_the_inner_value_unchanged() {
    let (vmcp, _) = behind(Some(Decision::Allowed), OnUnavailable::Deny);
    vmcp.call_tool(&alice(), a_call()).await.unwrap();

    let seen = vmcp.inner.seen.lock().unwrap();
    let expected = serde_json::to_value(a_call()).unwrap();
    assert_eq!(expected["_meta"], json!({"trace": "t"}));
    let alice = Some("alice".to_owned());
    assert_eq!(*seen, [("call_tool", alice, expected)]);
}

/// Else a caller could spend everybody's tokens on names that do not exist.
#[tokio::test]
async fn a_tool_that_does_not_exist_costs_no_token() {
    let (vmcp, limiter) = behind(Some(Decision::Allowed), OnUnavailable::Deny);
    let call = CallToolRequestParams::new("nothing");
    let unknown = vmcp.call_tool(&alice(), call).await;
    assert!(matches!(unknown, Err(VmcpError::Unknown { .. })));
    assert_eq!(vmcp.inner.methods(), [""; 0]);
    assert!(limiter.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_is_denied_does_not_reach_the_inner_value() {
    let (vmcp, _) = behind(Some(denied()), OnUnavailable::Allow);
    for error in ask_all_three(&vmcp).await {
        assert!(matches!(error, Some(VmcpError::Denied(_))), "{error:?}");
    }
    assert_eq!(vmcp.inner.methods(), [""; 0]);
}

#[tokio::test]
async fn a_limiter_that_makes_no_decision_lets_calls_through_unless_told_otherwise() {
    let (vmcp, _) = behind(None, OnUnavailable::Allow);
    assert!(ask_all_three(&vmcp).await.iter().all(Option::is_none));
    let expected = ["call_tool", "get_prompt", "read_resource"];
    assert_eq!(vmcp.inner.methods(), expected);

    let (vmcp, _) = behind(None, OnUnavailable::Deny);
    for error in ask_all_three(&vmcp).await {
        assert!(matches!(error, Some(VmcpError::Undecided)), "{error:?}");
    }
    assert_eq!(vmcp.inner.methods(), [""; 0]);
}

#[tokio::test]
async fn everything_else_passes_without_asking() {
    let (vmcp, limiter) = behind(Some(denied()), OnUnavailable::Deny);
    let alice = alice();
    let prompt = Reference::for_prompt("weekly");
    let complete = CompleteRequestParams::new(prompt, ArgumentInfo::new("a", "b"));

    vmcp.list_tools(&alice, None).await.unwrap();
    vmcp.list_resources(&alice, None).await.unwrap();
    vmcp.list_resource_templates(&alice, None).await.unwrap();
    vmcp.list_prompts(&alice, None).await.unwrap();
    vmcp.complete(&alice, complete).await.unwrap();
    assert_eq!(vmcp.inner.methods().len(), 5);
    assert!(limiter.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_name_that_no_policy_can_hold_still_asks_for_the_servers_own_limits() {
    let (vmcp, limiter) = behind(Some(Decision::Allowed), OnUnavailable::Deny);
    let call = CallToolRequestParams::new("x".repeat(10_000));
    vmcp.call_tool(&alice(), call).await.unwrap();
    assert_eq!(limiter.asked.lock().unwrap()[0].operation, None);
}

#[tokio::test]
async fn without_a_limiter_the_inner_value_is_used_as_it_is() {
    let inner = rate_limited(Recorder::default(), None);
    assert!(format!("{inner:?}").starts_with("Recorder"));
}

#[test]
fn the_callers_span_tells_what_was_decided() {
    let fields_of = |decision| {
        let noted = Noted::default();
        tracing::subscriber::with_default(
            tracing_subscriber::registry().with(noted.clone()),
            || {
                let (vmcp, _) = behind(decision, OnUnavailable::Allow);
                let span = tracing::info_span!(
                    "call",
                    rate_limit.decision = field::Empty,
                    rate_limit.rejected_by = field::Empty,
                    rate_limit.fail_open = field::Empty,
                );
                let call = async { vmcp.call_tool(&alice(), a_call()).await.is_ok() };
                futures::executor::block_on(call.instrument(span));
            },
        );
        let fields = noted.0.lock().unwrap();
        json!(*fields)
    };
    assert_eq!(
        fields_of(Some(Decision::Allowed)),
        json!({"rate_limit.decision": "unlimited", "rate_limit.fail_open": false})
    );
    assert_eq!(
        fields_of(Some(denied())),
        json!({
            "rate_limit.decision": "denied",
            "rate_limit.rejected_by": "per_user_server",
            "rate_limit.fail_open": false,
        })
    );
    assert_eq!(
        fields_of(None),
        json!({"rate_limit.decision": "fail_open", "rate_limit.fail_open": true})
    );
}

/// Keeps what is recorded on spans.
#[derive(Clone, Default)]
struct Noted(Arc<Mutex<HashMap<&'static str, Value>>>);

impl field::Visit for Noted {
    fn record_debug(&mut self, _: &field::Field, _: &dyn fmt::Debug) {}

    fn record_str(&mut self, field: &field::Field, value: &str) {
        self.0.lock().unwrap().insert(field.name(), json!(value));
    }

    fn record_bool(&mut self, field: &field::Field, value: bool) {
        self.0.lock().unwrap().insert(field.name(), json!(value));
    }
}

impl<S: Subscriber> Layer<S> for Noted {
    fn on_record(&self, _: &Id, values: &Record<'_>, _: Context<'_, S>) {
        values.record(&mut self.clone());
    }
}
