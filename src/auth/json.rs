//! JSON as a token must have it: one reading, or none.
//!
//! `serde_json` refuses trailing bytes, a BOM, invalid UTF-8, lone surrogates, numbers that no
//! `f64` can hold, and nesting beyond 128. What it lets pass is a member that stands twice in one
//! object: two readers may take different ones (CVE-2026-48042). Here a member that stands twice
//! is refused, but for the top of the object, where the caller is told the names and decides.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// A JSON object and the names that stand more than once at its top; the last of each counts.
#[derive(Debug)]
pub(crate) struct Object {
    /// The members.
    pub(crate) members: Map<String, Value>,
    /// Names that stand more than once at the top.
    pub(crate) repeated: Vec<String>,
}

/// Reads one JSON object and nothing else.
///
/// # Errors
///
/// Anything that is not exactly one object with unrepeated members below its top. The message
/// holds no part of the text but may tell a position.
pub(crate) fn object(text: &[u8]) -> Result<Object, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let object = reader.deserialize_map(Top)?;
    reader.end()?;
    Ok(object)
}

struct Top;

impl<'de> Visitor<'de> for Top {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
        let mut object = Object {
            members: Map::new(),
            repeated: Vec::new(),
        };
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value_seed(Strict)?;
            if object.members.contains_key(&name) {
                object.repeated.push(name.clone());
            }
            object.members.insert(name, value);
        }
        Ok(object)
    }
}

/// Any JSON value without a repeated member anywhere in it.
struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(Self)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value_seed(Self)?;
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("a member stands twice in one object"));
            }
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_member_that_stands_twice_at_the_top_is_told_and_the_last_counts() {
        let object = object(br#"{"a":1,"b":2,"a":3}"#).unwrap();
        assert_eq!(object.repeated, ["a"]);
        assert_eq!(object.members.get("a"), Some(&Value::from(3)));
    }

    #[test]
    fn what_has_two_readings_is_refused() {
        let deep = format!("{}{}", "[".repeat(4000), "]".repeat(4000));
        for text in [
            r#"{"a":{"b":1,"b":2}}"#,
            r#"{"a":[{"b":1,"b":2}]}"#,
            r#"{"a":{"b":1,"\u0062":2}}"#,
            "{}{}",
            "{} x",
            r#"{"a":1,}"#,
            "\u{feff}{}",
            "[]",
            "null",
            "",
            r#"{"a":1e400}"#,
            r#"{"a":NaN}"#,
            r#"{"a":Infinity}"#,
            r#"{"a":"\ud800"}"#,
            &format!(r#"{{"a":{deep}}}"#),
        ] {
            assert!(object(text.as_bytes()).is_err(), "{text:.40}");
        }
        assert!(object(b"{\"a\":\"\xff\"}").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_get_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = object(&bytes);
        }

        #[test]
        fn what_is_read_is_what_serde_json_reads(
            text in r#"\{("[ab]":(1|"x"|null|true|\[1,2\]|\{"c":0\})(,"[cd]":(0\.5|-3|1e3))?)?\}"#,
        ) {
            let ours = object(text.as_bytes()).map(|object| Value::Object(object.members)).ok();
            let theirs: Option<Value> = serde_json::from_str(&text).ok();
            prop_assert_eq!(ours, theirs);
        }
    }
}
