use serde_json::{Value, json};

use super::*;

/// What comes out of a `Value` in between.
fn through(text: &str, writer: Writer) -> String {
    let value: Value = serde_json::from_str(&marked(text, writer)).unwrap();
    unmarked(&value.to_string()).into_owned()
}

const NUMBERS: &str = "[18446744073709551616,123456789012345678901234567890,\
    3.14159265358979323846,-0,1e400,-1E-400,1.10,0,-7,12.5,999999999999999999,\
    1000000000000000000,18446744073709551615,-9223372036854775809]";

#[test]
fn numbers_come_out_as_they_went_in() {
    for member in FREE {
        for writer in [Writer::Caller, Writer::Backend] {
            let text = format!(r#"{{"{member}":{{"deep":[{{"x":{NUMBERS}}}]}}}}"#);
            assert_eq!(through(&text, writer), text);
        }
    }
    // The model itself loses most of them.
    let lossy: Value = serde_json::from_str(&NUMBERS.replace("1e400,", "")).unwrap();
    assert_ne!(lossy.to_string(), NUMBERS.replace("1e400,", ""));
}

#[test]
fn numbers_of_mcp_itself_are_left_alone() {
    for text in [
        r#"{"id":18446744073709551616,"params":{"n":1.10}}"#,
        r#"{"arguments":{},"after":1.10}"#,
        r#"{"arguments":"text","after":[1.10]}"#,
    ] {
        assert!(
            matches!(marked(text, Writer::Caller), Cow::Borrowed(_)),
            "{text}"
        );
    }
}

#[test]
fn a_text_is_never_taken_for_a_number() {
    let texts = [
        format!("{MARK}{NUMBER}5"),
        format!("{MARK}{TEXT}"),
        format!("{MARK}"),
        format!("a {MARK}{NUMBER}5"),
        format!("\"{MARK}{NUMBER}5\""),
        format!("\\\"{MARK}{NUMBER}5\\"),
    ];
    for text in texts {
        let object = json!({"arguments": {"x": text, &text: 1}, &text: [text]});
        for writer in [Writer::Caller, Writer::Backend] {
            assert_eq!(through(&object.to_string(), writer), object.to_string());
        }
        let escaped = object.to_string().replace(MARK, r"\uDBFF\udffe");
        assert_eq!(through(&escaped, Writer::Caller), object.to_string());
    }
}

#[test]
fn what_a_backend_writes_is_made_json() {
    for (written, read) in [
        (r#"["a \ud83d b"]"#, r#"["a � b"]"#),
        (r#"["\udc00\ud83d\ud83d\ude00"]"#, r#"["��😀"]"#),
        ("[\"a\tb\"]", r#"["a\tb"]"#),
        (r#"["\\ud83d"]"#, r#"["\\ud83d"]"#),
        ("[NaN,Infinity,-Infinity,1]", "[null,null,null,1]"),
        (r#"{"priority":1e400}"#, r#"{"priority":null}"#),
        (r#"{"data":1e400}"#, r#"{"data":1e400}"#),
    ] {
        assert_eq!(through(written, Writer::Backend), read);
        // A caller is told instead.
        let kept = marked(written, Writer::Caller);
        assert_eq!(kept, written);
    }
}

#[test]
fn what_is_no_json_stays_none_and_harms_nobody() {
    for text in [
        r#"{"arguments":{"x":"#,
        r#"{"arguments":{"x":00.1}}"#,
        r#"{"arguments":{"x":1.}}"#,
        r#"{"a":""#,
        r#"["\u12"]"#,
        r#"["\ud83d\u"]"#,
        "]]]]",
        r#""\"#,
    ] {
        for writer in [Writer::Caller, Writer::Backend] {
            let read = serde_json::from_str::<Value>(&marked(text, writer));
            assert!(read.is_err(), "{text}");
        }
        unmarked(text);
        unmarked(&format!("{text}\"{MARK}"));
    }
}

#[test]
fn it_grows_by_no_more_than_it_says() {
    for part in ["-0", "1.0e1", "\"\u{10fffe}\""] {
        let text = format!("{{\"arguments\":[{}]}}", vec![part; 100].join(","));
        let length = marked(&text, Writer::Caller).len();
        assert!(
            length > text.len() && length <= text.len() * MOST_GROWTH,
            "{length}"
        );
    }
}
