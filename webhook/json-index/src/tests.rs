use proptest::prelude::*;
use serde_json::json;

use super::*;

fn same(json: Json<'_>, value: &Value) {
    match value {
        Value::Null => assert!(json.is_null()),
        Value::Bool(value) => assert_eq!(json.as_bool(), Some(*value)),
        Value::Number(value) => {
            assert_eq!(json.as_i64(), value.as_i64());
            assert_eq!(json.raw(), value.to_string());
        }
        Value::String(value) => assert_eq!(json.as_str(), Some(value.as_str())),
        Value::Array(values) => {
            assert_eq!(json.items().count(), values.len());
            json.items().zip(values).for_each(|(json, value)| same(json, value));
        }
        Value::Object(members) => {
            assert_eq!((json.is_object(), json.is_empty()), (true, members.is_empty()));
            members.iter().for_each(|(key, value)| same(json.get(key), value));
        }
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z\"\\\\\\PC\u{0}-\u{1f}]{0,24}".prop_map(Value::from),
    ];
    scalar.prop_recursive(5, 64, 6, |value| {
        prop_oneof![
            proptest::collection::vec(value.clone(), 0..6).prop_map(Value::from),
            proptest::collection::btree_map("[a-c\"\\\\é]{0,9}", value, 0..6)
                .prop_map(|members| members.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn reads_what_was_written(value in any_value()) {
        for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            let document = Document::read(&text).unwrap();
            same(document.root(), &value);
            prop_assert_eq!(document.root().raw(), &*text);
            prop_assert_eq!(to_json(&document.root()), &*text);
        }
    }

    #[test]
    fn texts_are_written_as_serde_json_writes_them(text in "[a-z\"\\\\\\PC\u{0}-\u{1f}]{0,40}") {
        prop_assert_eq!(to_json(&*text), serde_json::to_string(&text).unwrap());
    }

    #[test]
    fn bytes_are_written_as_base64_has_them(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        use base64::Engine;
        let encoded = base64::engine::general_purpose::STANDARD.encode(&bytes);
        prop_assert_eq!(to_json(&Base64(&bytes)), to_json(&*encoded));
    }

    /// What is JSON is what serde_json takes for it.
    #[test]
    fn takes_and_rejects_what_serde_json_does(
        value in any_value(),
        at in any::<proptest::sample::Index>(),
        new in "[\\PC\"\\\\{}\\[\\],:0-9eE.+\\-tfn \u{0}-\u{1f}]{0,3}",
    ) {
        let mut text = value.to_string();
        let places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        let at = places[at.index(places.len())];
        for end in [at, text[at..].chars().next().map_or(at, |c| at + c.len_utf8())] {
            let mut text = text.clone();
            text.replace_range(at..end, &new);
            prop_assert_eq!(Document::read(&text).is_ok(), serde_json::from_str::<Value>(&text).is_ok(), "{}", text);
        }
        text.truncate(at);
        prop_assert_eq!(Document::read(&text).is_ok(), serde_json::from_str::<Value>(&text).is_ok(), "{}", text);
    }
}

#[test]
fn rejects_what_is_no_json_and_says_where() {
    for (text, error) in [
        ("", JsonError::Incomplete),
        ("[1,", JsonError::Incomplete),
        (r#"{"a"#, JsonError::Incomplete),
        (r#""\"#, JsonError::Incomplete),
        (r#""\""#, JsonError::Incomplete),
        ("[1,]", JsonError::Invalid(3)),
        (r#"{"a":1,}"#, JsonError::Invalid(7)),
        (r#"{"a" 1}"#, JsonError::Invalid(5)),
        ("{1:1}", JsonError::Invalid(1)),
        ("[1}", JsonError::Invalid(2)),
        ("1 2", JsonError::Invalid(2)),
        ("nul", JsonError::Invalid(0)),
        ("01", JsonError::Invalid(0)),
        ("[1e]", JsonError::Invalid(1)),
        ("\"a\nb\"", JsonError::Invalid(2)),
        (r#""\é""#, JsonError::Invalid(0)),
        (r#""\ud800""#, JsonError::Invalid(0)),
    ] {
        assert_eq!(Document::read(text).unwrap_err(), error, "{text}");
    }
}

#[test]
fn rejects_what_would_take_all_of_stack_or_memory() {
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(Document::read(&deep(scan::MAX_DEPTH)).is_ok());
    assert!(matches!(Document::read(&deep(scan::MAX_DEPTH + 1)), Err(JsonError::TooDeep(_))));
    assert!(matches!(Document::read(&"[".repeat(1 << 20)), Err(JsonError::TooDeep(_))));
    let wide = |values: usize| format!("[{}1]", "1,".repeat(values - 2));
    assert!(Document::read(&wide(1000)).is_ok());
    assert_eq!(Document::read(&wide(1 << 20)).unwrap_err(), JsonError::TooMany);
}

#[test]
fn the_last_member_of_a_name_counts() {
    let document = Document::read(r#"{"a":1,"b":[{}],"\u0061":2}"#).unwrap();
    assert_eq!(document.root().get("a").as_i64(), Some(2));
}

#[test]
fn what_is_absent_or_of_another_type_reads_as_nothing() {
    let text = json!({"null": null, "text": "x", "list": [1], "number": 1.5}).to_string();
    let document = Document::read(&text).unwrap();
    let root = document.root();
    for key in ["absent", "null", "text", "list", "number"] {
        let value = root.get(key);
        assert!(value.get("x").is_null() && value.as_bool().is_none() && value.as_i64().is_none(), "{key}");
        assert_eq!(value.items().count(), usize::from(key == "list"));
        assert_eq!(value.get("x").get("y").text("z"), "");
    }
    assert_eq!(root.get("absent").raw(), "null");
    assert!(root.get("text").is_empty() && !root.get("list").is_empty());
}

#[test]
fn means_the_same_whatever_the_order_and_the_space() {
    let document = Document::read(r#"{"a": 1, "b": "\u0041"}"#).unwrap();
    assert!(document.root().means(r#"{"b":"A","a":1}"#));
    assert!(!document.root().means(r#"{"b":"A","a":2}"#));
    assert!(document.root().get("none").means("null"));
}

#[test]
fn objects_and_lists_are_written_in_order() {
    let inner = ["a", "\""];
    let mut out = Vec::new();
    object(&mut out, |members| {
        members.add("list", &inner[..]);
        members.add("yes", &true);
        members.add("number", &-7);
        members.add("none", &Vec::<&str>::new()[..]);
        members.object("inner", |members| members.add("last", "x"));
    });
    assert_eq!(out, br#"{"list":["a","\""],"yes":true,"number":-7,"none":[],"inner":{"last":"x"}}"#);
    out.clear();
    object(&mut out, |_| {});
    assert_eq!(out, b"{}");
}
