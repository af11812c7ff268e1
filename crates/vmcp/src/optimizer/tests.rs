use rmcp::model::Tool;
use serde_json::Value;

use super::*;
use crate::testing::Recorder;

fn tool(name: &'static str, description: &'static str, parameters: &[&str]) -> Tool {
    let properties: serde_json::Map<String, Value> = parameters
        .iter()
        .map(|name| ((*name).to_owned(), json!({"type": "string"})))
        .collect();
    let schema = json!({"type": "object", "properties": properties});
    let schema = serde_json::from_value(schema).unwrap();
    Tool::new(name, description, Arc::new(schema))
}

fn tools() -> Vec<Tool> {
    vec![
        tool(
            "github_search_code",
            "Search for code across repositories",
            &["query"],
        ),
        tool(
            "github_createPullRequest",
            "Open a new pull request",
            &["title", "base"],
        ),
        tool(
            "mail_send",
            "Sends an e-mail message to a recipient",
            &["to", "body"],
        ),
        tool("weather_forecast", "Weather of the coming days", &["city"]),
        tool("db_query", "Runs a SQL statement", &["statement"]),
    ]
}

fn optimizer(tools: Vec<Tool>, max: usize) -> (Optimizer, Arc<Recorder>) {
    let recorder = Arc::new(Recorder::with_tools(tools));
    (Optimizer::new(recorder.clone(), max), recorder)
}

async fn call(
    optimizer: &Optimizer,
    name: &'static str,
    arguments: Value,
) -> Result<CallToolResult, VmcpError> {
    let arguments = serde_json::from_value(arguments).unwrap();
    let call = CallToolRequestParams::new(name).with_arguments(arguments);
    let alice = Identity::new("alice").unwrap();
    match optimizer.call_tool(&alice, call).await? {
        CallToolResponse::Complete(result) => Ok(result),
        other => panic!("{other:?}"),
    }
}

async fn found(optimizer: &Optimizer, description: &str, keywords: &[&str]) -> Vec<String> {
    let arguments = json!({"tool_description": description, "tool_keywords": keywords});
    let result = call(optimizer, FIND_TOOL, arguments).await.unwrap();
    let structured = result.structured_content.unwrap();
    let tools = structured["tools"].as_array().unwrap();
    let names = tools
        .iter()
        .map(|tool| tool["name"].as_str().unwrap().to_owned());
    names.collect()
}

#[tokio::test]
async fn two_tools_stand_for_all() {
    let (optimizer, _) = optimizer(tools(), 8);
    let listed = optimizer
        .list_tools(&Identity::anonymous(), None)
        .await
        .unwrap();
    let names: Vec<_> = listed.tools.iter().map(|tool| tool.name.as_ref()).collect();
    assert_eq!(names, [FIND_TOOL, CALL_TOOL]);
}

#[tokio::test]
async fn a_search_finds_tools_by_name_description_parameters_and_stems() {
    let (optimizer, _) = optimizer(tools(), 8);
    for (description, keywords, best) in [
        ("searching code", &[][..], "github_search_code"),
        ("open pull requests", &[], "github_createPullRequest"),
        ("create", &[], "github_createPullRequest"),
        ("sending messages", &["email"], "mail_send"),
        ("something about a city", &[], "weather_forecast"),
        ("I need", &["sql"], "db_query"),
        ("WEATHER", &[], "weather_forecast"),
    ] {
        let found = found(&optimizer, description, keywords).await;
        assert_eq!(
            found.first().map(String::as_str),
            Some(best),
            "{description}: {found:?}"
        );
    }
    assert!(found(&optimizer, "xyzzy \"AND (NOT", &[]).await.is_empty());
}

#[tokio::test]
async fn a_search_returns_no_more_than_it_may_and_says_what_it_saves() {
    let names: Vec<&'static str> = (0..120).map(|n| &*format!("x_{n}").leak()).collect();
    let many: Vec<_> = names
        .into_iter()
        .map(|name| tool(name, "Counts sheep", &[]))
        .collect();
    for (max, expected) in [(8, 8), (0, 1), (500, 50)] {
        let (optimizer, _) = optimizer(many.clone(), max);
        assert_eq!(found(&optimizer, "sheep", &[]).await.len(), expected);
    }
    let (optimizer, _) = optimizer(many, 8);
    let result = call(&optimizer, FIND_TOOL, json!({"tool_description": "sheep"}))
        .await
        .unwrap();
    let metrics = &result.structured_content.as_ref().unwrap()["token_metrics"];
    let tokens = |field: &str| metrics[field].as_u64().unwrap();
    assert!(
        tokens("baseline_tokens") > 10 * tokens("returned_tokens"),
        "{metrics}"
    );
    assert!(
        metrics["savings_percent"].as_f64().unwrap() > 90.0,
        "{metrics}"
    );
    let text = &result.content[0].as_text().unwrap().text;
    assert_eq!(
        serde_json::from_str::<Value>(text).unwrap(),
        result.structured_content.unwrap()
    );
}

#[tokio::test]
async fn a_call_reaches_the_tool_under_its_own_name() {
    let (optimizer, recorder) = optimizer(tools(), 8);
    let arguments = json!({"tool_name": "mail_send", "parameters": {"to": "bob"}});
    call(&optimizer, CALL_TOOL, arguments).await.unwrap();

    let seen = recorder.seen.lock().unwrap();
    let (method, subject, params) = seen.last().unwrap();
    assert_eq!((*method, subject.as_deref()), ("call_tool", Some("alice")));
    assert_eq!(
        *params,
        json!({"name": "mail_send", "arguments": {"to": "bob"}})
    );
}

#[tokio::test]
async fn a_tool_that_does_not_exist_is_not_called() {
    let (optimizer, recorder) = optimizer(tools(), 8);
    let unknown = call(
        &optimizer,
        CALL_TOOL,
        json!({"tool_name": "nothing", "parameters": {}}),
    );
    assert!(matches!(unknown.await, Err(VmcpError::Unknown { .. })));
    let hidden = call(&optimizer, "mail_send", json!({"to": "bob"})).await;
    assert!(matches!(hidden, Err(VmcpError::Unknown { .. })));
    assert_eq!(recorder.methods(), [""; 0]);
}

#[tokio::test]
async fn a_model_is_told_what_is_wrong_with_its_arguments() {
    let (optimizer, recorder) = optimizer(tools(), 8);
    for (name, arguments, expected) in [
        (FIND_TOOL, json!({}), "tool_description is missing"),
        (CALL_TOOL, json!({}), "tool_name is missing"),
    ] {
        let result = call(&optimizer, name, arguments).await.unwrap();
        assert_eq!(result.is_error, Some(true));
        assert_eq!(result.content[0].as_text().unwrap().text, expected);
    }
    assert_eq!(recorder.methods(), [""; 0]);
}

#[tokio::test]
async fn a_search_sees_the_tools_of_its_moment() {
    let (optimizer, _) = optimizer(tools(), 8);
    assert!(!found(&optimizer, "weather", &[]).await.is_empty());
    let (_, fewer) = self::optimizer(tools()[..2].to_vec(), 8);
    let optimizer = Optimizer {
        inner: fewer,
        ..optimizer
    };
    assert!(found(&optimizer, "weather", &[]).await.is_empty());
}
