//! Flask's tagged JSON (`flask.json.tag.TaggedJSONSerializer`): objects with one key that stand
//! for what JSON has not.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::auth::session::plain;

/// Puts plain data where tags stand, from the inside outwards. Objects with two keys and tags
/// that Flask does not know are left alone.
///
/// # Errors
///
/// A tag whose value Flask fails on.
pub(crate) fn untag(value: Value) -> Result<Value, &'static str> {
    match value {
        Value::Array(items) => items
            .into_iter()
            .map(untag)
            .collect::<Result<_, _>>()
            .map(Value::Array),
        Value::Object(members) => {
            let inner = members
                .into_iter()
                .map(|(name, member)| Ok((name, untag(member)?)));
            untag_one(inner.collect::<Result<_, &'static str>>()?)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(value),
    }
}

fn untag_one(mut members: Map<String, Value>) -> Result<Value, &'static str> {
    let tag = match members.keys().next() {
        Some(name) if members.len() == 1 => name.clone(),
        Some(_) | None => return Ok(Value::Object(members)),
    };
    let wrong = "one of Flask's tags holds what it cannot";
    let held = members.get_mut(&tag).map(Value::take).unwrap_or_default();
    match (tag.as_str(), held) {
        (" t", Value::Array(items)) => Ok(Value::Array(items)),
        (" m", Value::String(text)) => Ok(Value::String(text)),
        (" b", Value::String(text)) => {
            let bytes = STANDARD.decode(text).map_err(|_why| wrong)?;
            Ok(plain::bytes(&bytes))
        }
        (" u", Value::String(hex)) => {
            let id = Uuid::try_parse(&hex).map_err(|_why| wrong)?;
            Ok(Value::String(id.to_string()))
        }
        (" d", Value::String(date)) => Ok(date_of(&date)),
        (" di", Value::Object(escaped)) => unescape(escaped).ok_or(wrong),
        (" t" | " m" | " b" | " u" | " d" | " di", _) => Err(wrong),
        (_, held) => {
            members.insert(tag, held);
            Ok(Value::Object(members))
        }
    }
}

/// A date as Flask writes it; one that cannot be read is `None` in Flask.
fn date_of(date: &str) -> Value {
    let read = httpdate::parse_http_date(date).ok();
    let at = read.and_then(|at| jiff::Timestamp::try_from(at).ok());
    at.map_or(Value::Null, |at| Value::String(plain::iso_utc(at)))
}

/// An app's own object that looks like a tag: its one name carries two more underscores.
fn unescape(escaped: Map<String, Value>) -> Option<Value> {
    let (name, held) = escaped.into_iter().next()?;
    let mut name: Vec<char> = name.chars().collect();
    name.truncate(name.len().saturating_sub(2));
    let name = name.into_iter().collect();
    Some(Value::Object(Map::from_iter([(name, held)])))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tags_become_plain_data() {
        for (tagged, wanted) in [
            (json!({ " t": [1, { " t": [] }] }), json!([1, []])),
            (json!({ " b": "AP8Q" }), json!("AP8Q")),
            (json!({ " m": "<b>" }), json!("<b>")),
            (
                json!({ " u": "12345678123456781234567812345678" }),
                json!("12345678-1234-5678-1234-567812345678"),
            ),
            (
                json!({ " d": "Wed, 06 May 2026 07:08:09 GMT" }),
                json!("2026-05-06T07:08:09+00:00"),
            ),
            (json!({ " d": "not a date" }), Value::Null),
            (json!({ " di": { " t__": [1] } }), json!({ " t": [1] })),
            (json!({ " t": [1], "x": 1 }), json!({ " t": [1], "x": 1 })),
            (json!({ " zz": 5 }), json!({ " zz": 5 })),
        ] {
            assert_eq!(untag(tagged.clone()), Ok(wanted), "{tagged}");
        }
    }

    #[test]
    fn a_tag_that_flask_fails_on_is_refused() {
        for tagged in [
            json!({ " b": "A" }),
            json!({ " u": "zzz" }),
            json!({ " t": 1 }),
            json!({ " d": 1 }),
            json!({ "x": [{ " b": 1 }] }),
            json!({ " di": {} }),
        ] {
            assert!(untag(tagged.clone()).is_err(), "{tagged}");
        }
    }
}
