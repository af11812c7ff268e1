//! What passes through the gateway as it came, from the client to a backend and back.

use base64::{Engine as _, prelude::BASE64_STANDARD};

use crate::{backend::url, modern::ModernBackend, raw::RawBackend, replica::Replica, wait::until};

const NUMBERS: &str = "[18446744073709551616,123456789012345678901234567890,\
    3.14159265358979323846,-0,1e400,1.10,7]";

struct Gateway {
    backend: RawBackend,
    replica: Replica,
}

impl Gateway {
    async fn start(rest: &str) -> Self {
        let backend = RawBackend::start().await;
        let yaml = format!(
            "incomingAuth: {{type: anonymous}}\nbackends: [{{name: a, url: 'http://{}/mcp'}}]\n{rest}",
            backend.address
        );
        let replica = Replica::start(&yaml).await;
        Self { backend, replica }
    }

    /// The status and the body of the answer to a call of `name`.
    async fn call(&self, name: &str, arguments: &str) -> (u16, String) {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{name}","arguments":{arguments}}}}}"#
        );
        let answer = reqwest::Client::new()
            .post(format!("http://{}/mcp", self.replica.address))
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2025-06-18")
            .body(body)
            .send()
            .await
            .unwrap();
        let status = answer.status().as_u16();
        (status, answer.text().await.unwrap())
    }

    fn last_call(&self) -> String {
        self.backend.calls.lock().unwrap().last().unwrap().clone()
    }
}

/// 2⁶⁴ became 18446744073709552000, and 1e400 was no JSON-RPC.
#[tokio::test]
async fn numbers_pass_unchanged_in_arguments_and_in_results() {
    let gateway = Gateway::start("").await;
    let result = format!(
        r#"{{"content":[{{"type":"text","text":"{{\"n\":1e400}}","_meta":{{"n":{NUMBERS}}}}}],"structuredContent":{{"deep":[{NUMBERS}]}}}}"#
    );
    gateway.backend.result("tools/call", &result);
    for as_events in [false, true] {
        *gateway.backend.as_events.lock().unwrap() = as_events;
        let arguments = format!(r#"{{"deep":[{{"x":{NUMBERS}}}]}}"#);
        let (status, body) = gateway.call("a_echo", &arguments).await;
        assert_eq!(status, 200, "{body}");
        assert!(
            gateway.last_call().contains(&arguments),
            "{}",
            gateway.last_call()
        );
        let structured = format!(r#""structuredContent":{{"deep":[{NUMBERS}]}}"#);
        assert!(body.contains(&structured), "{body}");
        assert!(
            body.contains(&format!(r#""_meta":{{"n":{NUMBERS}}}"#)),
            "{body}"
        );
        assert!(body.contains(r#""text":"{\"n\":1e400}""#), "{body}");
    }
}

#[tokio::test]
async fn numbers_pass_unchanged_through_the_optimizer() {
    let gateway = Gateway::start("optimizer: {}\n").await;
    let list = format!(
        r#"{{"tools":[{{"name":"echo","description":"echo","inputSchema":{{"type":"object","enum":{NUMBERS}}}}}]}}"#
    );
    gateway.backend.result("tools/list", &list);
    let arguments = format!(r#"{{"tool_name":"a_echo","parameters":{{"x":{NUMBERS}}}}}"#);
    let (_, body) = gateway.call("call_tool", &arguments).await;
    assert!(body.contains("done"), "{body}");
    let sent = format!(r#""arguments":{{"x":{NUMBERS}}}"#);
    assert!(
        gateway.last_call().contains(&sent),
        "{}",
        gateway.last_call()
    );
}

/// Each of them lost a result after its tool had run.
#[tokio::test]
async fn a_result_that_is_odd_in_part_keeps_the_rest() {
    let gateway = Gateway::start("").await;
    for odd in [
        r#"{"type":"hologram"}"#,
        r#"{"type":"text","text":"a","annotations":{"audience":["robot"],"priority":2}}"#,
        r#"{"type":"text","text":"a \ud83d"}"#,
        r#"{"type":"text","text":"a","_meta":{"n":NaN}}"#,
        r#"{"type":"image","data":1e400,"mimeType":"image/png"}"#,
    ] {
        let kept = r#"{"type":"text","text":"kept"}"#;
        let result = format!(r#"{{"content":[{odd},{kept}]}}"#);
        gateway.backend.result("tools/call", &result);
        for as_events in [false, true] {
            *gateway.backend.as_events.lock().unwrap() = as_events;
            let (status, body) = gateway.call("a_echo", "{}").await;
            assert_eq!(status, 200, "{body}");
            assert!(
                body.contains(kept) && !body.contains("error"),
                "{odd}: {body}"
            );
        }
    }
}

#[tokio::test]
async fn what_is_wrong_with_arguments_that_are_no_text_is_said_and_nothing_runs() {
    let gateway = Gateway::start("").await;
    for arguments in [r#"{"x":"\ud83d"}"#, r#"{"\udc00":1}"#] {
        let (status, body) = gateway.call("a_echo", arguments).await;
        assert_eq!(status, 400, "{body}");
        assert!(
            body.contains("not JSON") && body.contains("hex escape"),
            "{body}"
        );
    }
    assert_eq!(gateway.backend.ran(), 0);
    gateway.call("a_echo", r#"{"x":"\ud83d\ude00"}"#).await;
    assert!(gateway.last_call().contains('😀'));
}

/// The header had the mark of the number, and strict backends refused the call: a header that does not match.
#[tokio::test]
async fn a_parameter_that_goes_into_a_header_is_there_as_in_the_body() {
    let backend = ModernBackend::start("private").await;
    let yaml = format!(
        "incomingAuth: {{type: anonymous}}\nbackends: [{{name: a, url: '{}'}}]",
        url(backend.address)
    );
    let replica = Replica::start(&yaml).await;
    let client = replica.client().await;
    until("its tools are listed", async || {
        !client.list_all_tools().await.unwrap().is_empty()
    })
    .await;
    let encoded = |text: &str| format!("=?base64?{}?=", BASE64_STANDARD.encode(text));
    for (name, given, header) in [
        ("n", "7", "7".to_owned()),
        (
            "n",
            "18446744073709551616",
            "18446744073709551616".to_owned(),
        ),
        ("n", "-0", "-0".to_owned()),
        (
            "n",
            "-99999999999999999999",
            "-99999999999999999999".to_owned(),
        ),
        ("s", r#""x""#, "x".to_owned()),
        ("s", "\"\u{10fffe}n5\"", encoded("\u{10fffe}n5")),
        ("s", r#""ü""#, encoded("ü")),
    ] {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"a_strict","arguments":{{"{name}":{given}}}}}}}"#
        );
        let answer = reqwest::Client::new()
            .post(url(replica.address))
            .header("content-type", "application/json")
            .header("mcp-protocol-version", "2025-06-18")
            .body(body)
            .send();
        assert_eq!(answer.await.unwrap().status(), 200, "{given}");
        let (headers, body) = backend.last_call();
        assert!(body.contains(&format!(r#""{name}":{given}"#)), "{body}");
        assert_eq!(headers[&format!("mcp-param-{name}")], header, "{given}");
    }
}
