use serde_json::json;

use super::*;

fn read_value(text: &str) -> Option<Value> {
    let (message, shown) = read(text.as_bytes())?;
    // Both are the same message.
    let again: ServerJsonRpcMessage = serde_json::from_str(&shown).unwrap();
    let text = serde_json::to_string(&message).unwrap();
    assert_eq!(serde_json::to_string(&again).unwrap(), text);
    Some(serde_json::from_str(&crate::json::unmarked(&text)).unwrap())
}

/// The result that is left of `result`.
fn mended(result: &str) -> Value {
    let text = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#);
    let mut read = read_value(&text).unwrap();
    read["result"].take()
}

#[test]
fn an_odd_block_is_replaced_and_the_rest_of_a_result_is_kept() {
    let text = json!({"type": "text", "text": "kept"});
    let odd = |kind: &str| {
        let said =
            format!("[content of the type {kind:?} that the gateway cannot read was left out]");
        json!({"type": "text", "text": said})
    };
    for (block, expected) in [
        (
            r#"{"type":"text","text":"a","annotations":{"audience":["robot"]}}"#,
            json!({"type": "text", "text": "a"}),
        ),
        (
            r#"{"type":"text","text":"a","annotations":{"priority":"high"}}"#,
            json!({"type": "text", "text": "a"}),
        ),
        (
            r#"{"type":"text","text":"a","_meta":5}"#,
            json!({"type": "text", "text": "a"}),
        ),
        (r#"{"type":"hologram","text":"a"}"#, odd("hologram")),
        (
            r#"{"type":"image","data":5,"mimeType":"image/png"}"#,
            odd("image"),
        ),
        (r#""bare""#, odd("unknown")),
        ("null", odd("unknown")),
        (
            r#"{"type":"text","text":"a \ud83d"}"#,
            json!({"type": "text", "text": "a \u{fffd}"}),
        ),
    ] {
        let result = mended(&format!(r#"{{"content":[{block},{text}],"isError":true}}"#));
        assert_eq!(result["content"], json!([expected, text]), "{block}");
        assert_eq!(result["isError"], json!(true));
    }
    for (said, meant) in [
        (r#""True""#, true),
        ("1", true),
        (r#""yes""#, true),
        ("{}", true),
        (r#""False""#, false),
        ("0", false),
        ("null", false),
    ] {
        let result = mended(&format!(r#"{{"content":"bare","isError":{said}}}"#));
        assert_eq!(result["isError"], json!(meant), "{said}");
    }
    let all_odd = r#"{"content":"bare","isError":"true","structuredContent":{"n":18446744073709551616},"_meta":7,"x":1}"#;
    let result = mended(all_odd).to_string();
    assert!(
        result.contains(r#""content":[{"text":"bare","type":"text"}]"#),
        "{result}"
    );
    assert!(result.contains(r#""isError":true"#), "{result}");
    for nothing in [r#"{"content":null}"#, r#"{"content":null,"isError":false}"#] {
        assert_eq!(mended(nothing)["content"], json!([]));
    }
}

#[test]
fn an_odd_item_is_left_out_of_its_list_by_name() {
    let good = |name: &str| json!({"name": name, "inputSchema": {"type": "object"}});
    for odd in [
        r#"{"name":"odd"}"#,
        r#"{"name":"odd","inputSchema":null}"#,
        r#"{"name":"odd","inputSchema":true}"#,
        r#"{"name":"odd","inputSchema":[]}"#,
        r#"{"name":"odd","inputSchema":"x"}"#,
        r#"{"name":"odd","inputSchema":{},"description":5}"#,
        r#"{"name":"odd","inputSchema":{},"outputSchema":true}"#,
        r#"{"name":"odd","inputSchema":{},"annotations":{"readOnlyHint":"yes"}}"#,
        r#"{"name":"odd","inputSchema":{},"icons":[{"src":"x","sizes":"48x48"}]}"#,
        r#"{"name":null,"inputSchema":{}}"#,
        r#"{"name":5,"inputSchema":{}}"#,
        "null",
    ] {
        let list = format!(
            r#"{{"tools":[{},{odd},{}],"nextCursor":"n"}}"#,
            good("a"),
            good("b")
        );
        let result = mended(&list);
        assert_eq!(result["tools"], json!([good("a"), good("b")]), "{odd}");
        assert_eq!(result["nextCursor"], json!("n"));
        let told = result["_meta"]["toolgate/leftOut"][0].as_str().unwrap();
        let name = if odd.contains(r#""odd""#) {
            "odd ("
        } else {
            "#2 ("
        };
        assert!(told.starts_with(name), "{told}");
    }
    let long = "x".repeat(10_000);
    let list = format!(r#"{{"tools":[{{"name":"{long}","inputSchema":"{long}"}}]}}"#);
    assert!(mended(&list).to_string().len() < 500);
    assert_eq!(mended(r#"{"tools":null}"#)["tools"], json!([]));
    assert_eq!(
        mended(r#"{"tools":[],"nextCursor":7,"ttlMs":"x"}"#),
        json!({"tools": []})
    );
}

#[test]
fn prompts_resources_and_completions_lose_only_what_is_odd() {
    let kept = |list: &str, item: &str, odd: &str| {
        let result = mended(&format!(r#"{{"{list}":[{odd},{item}]}}"#));
        assert_eq!(
            result[list],
            json!([serde_json::from_str::<Value>(item).unwrap()]),
            "{odd}"
        );
    };
    kept(
        "prompts",
        r#"{"name":"p"}"#,
        r#"{"name":"q","arguments":"x"}"#,
    );
    kept(
        "resources",
        r#"{"name":"r","uri":"a://b"}"#,
        r#"{"uri":"a://c"}"#,
    );
    kept(
        "resourceTemplates",
        r#"{"name":"r","uriTemplate":"a://{b}"}"#,
        r#"{"name":"s","uriTemplate":7}"#,
    );
    kept(
        "contents",
        r#"{"text":"t","uri":"a://b"}"#,
        r#"{"uri":"a://b"}"#,
    );
    let completion = mended(r#"{"completion":{"values":["a",5],"total":"x"}}"#);
    assert_eq!(completion["completion"]["values"], json!(["a"]));
    let messages = mended(
        r#"{"messages":[{"role":"user","content":{"type":"new"}},{"role":"robot","content":{"type":"text","text":""}}],"description":"d"}"#,
    );
    assert_eq!(messages["messages"].as_array().unwrap().len(), 1);
    assert_eq!(messages["description"], json!("d"));
}

#[test]
fn errors_are_read_in_whatever_form_they_come() {
    for (text, code) in [
        (
            r#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"No session"}}"#,
            -32000,
        ),
        (
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"No session"}}"#,
            -32000,
        ),
        (r#"{"error":"No session"}"#, -32603),
        (
            r#"{"jsonrpc":"2.0","id":1,"result":null,"error":{"code":"E","message":{}}}"#,
            -32603,
        ),
        (
            r#"[{"jsonrpc":"2.0","id":1,"error":{"code":5,"message":"x"}}]"#,
            5,
        ),
    ] {
        assert_eq!(
            read_value(text).unwrap()["error"]["code"],
            json!(code),
            "{text}"
        );
    }
    for text in ["", "[]", "5", "{}", "<html>", r#"{"jsonrpc":"2.0","id":1}"#] {
        assert!(read(text.as_bytes()).is_none(), "{text}");
    }
    assert!(read(b"\xef\xbb\xbf{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"\xff\"}]}}").is_some());
}

#[test]
fn an_error_where_the_answer_belongs_is_the_answer() {
    let id = RequestId::Number(7);
    let error = |id: Option<RequestId>| {
        ServerJsonRpcMessage::error(ErrorData::internal_error("x", None), id)
    };
    let text = |message: &ServerJsonRpcMessage| serde_json::to_string(message).unwrap();
    let own = text(&error(Some(id.clone())));
    for same in [id.clone(), RequestId::String("7".into())] {
        let answer = Answer::to(&id, error(Some(same)));
        assert!(matches!(&answer, Answer::Own(error) if text(error) == own));
    }
    for other in [
        None,
        Some(RequestId::String("server-error".into())),
        Some(RequestId::Number(8)),
    ] {
        let answer = Answer::to(&id, error(other));
        assert!(matches!(&answer, Answer::Adopted(error) if text(error) == own));
    }
    let (result, _) = read(br#"{"jsonrpc":"2.0","id":8,"result":{"tools":[]}}"#).unwrap();
    assert!(matches!(Answer::to(&id, result), Answer::Other));
}
