//! PURE: takes tokens out of an app's JSON answer, and leaves the rest as it was written.
//!
//! Numbers keep their digits and members their order: what the gateway does not take out, it does
//! not read either.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::config::settings::{Pointer, TokenHandler};
use crate::secret::Secret;

/// Longest token that is taken, in bytes.
const MOST_TOKEN: usize = 16 * 1024;

/// What an answer held.
#[derive(Debug)]
pub struct Cut {
    /// The access token.
    pub access: Secret<String>,
    /// The refresh token, where there was one.
    pub refresh: Option<Secret<String>>,
    /// The answer without them.
    pub rest: Vec<u8>,
}

/// Why nothing was taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoTokens {
    /// It is not one JSON value.
    #[error("the answer is not JSON")]
    NotJson,
    /// There is no access token where one was looked for.
    #[error("the answer has no access token at `access`")]
    NoAccess,
    /// There is one, and it is too long.
    #[error("the answer has a token of more than 16 KiB")]
    TooLong,
}

/// Takes the tokens of a handler's app out of its answer.
///
/// # Errors
///
/// [`NoTokens`].
pub(super) fn cut(json: &[u8], handler: &TokenHandler) -> Result<Cut, NoTokens> {
    let text = std::str::from_utf8(json).map_err(|_why| NoTokens::NotJson)?;
    let (access, rest) = take(text, &handler.access)?;
    let access = access.ok_or(NoTokens::NoAccess)?;
    let (refresh, rest) = take(rest.expose(), &handler.refresh_token)?;
    Ok(Cut {
        access,
        refresh,
        rest: rest.expose().as_bytes().to_vec(),
    })
}

/// The tokens of an answer to a renewal. An app may write them at the top there, whatever it does
/// when someone signs in.
pub(super) fn find(
    json: &[u8],
    handler: &TokenHandler,
) -> Result<(Secret<String>, Option<Secret<String>>), NoTokens> {
    let text = std::str::from_utf8(json).map_err(|_why| NoTokens::NotJson)?;
    let at = |pointer: &Pointer| match take(text, pointer)?.0 {
        Some(token) => Ok(Some(token)),
        None => take(text, &Pointer(vec![pointer.member().into()])).map(|(token, _)| token),
    };
    let access = at(&handler.access)?.ok_or(NoTokens::NoAccess)?;
    Ok((access, at(&handler.refresh_token)?))
}

/// The string at a pointer, and the text without it.
fn take(
    text: &str,
    pointer: &Pointer,
) -> Result<(Option<Secret<String>>, Secret<String>), NoTokens> {
    let raw: &RawValue = serde_json::from_str(text).map_err(|_why| NoTokens::NotJson)?;
    let mut found = None;
    let rest = without(raw, &pointer.0, &mut found);
    let too_long =
        (found.as_ref()).is_some_and(|token: &Secret<String>| token.expose().len() > MOST_TOKEN);
    if too_long {
        return Err(NoTokens::TooLong);
    }
    Ok((found, Secret::new(rest.unwrap_or_else(|| text.to_owned()))))
}

/// The text of a value without what stands at `path` in it; `None` where nothing does.
fn without(
    raw: &RawValue,
    path: &[Box<str>],
    found: &mut Option<Secret<String>>,
) -> Option<String> {
    let (first, deeper) = path.split_first()?;
    if let Ok(list) = serde_json::from_str::<Vec<&RawValue>>(raw.get()) {
        let place: usize = first.parse().ok()?;
        let changed = match deeper {
            // What comes behind it keeps its place.
            [] => string(list.get(place)?, found).then(|| "null".to_owned())?,
            deeper => without(list.get(place)?, deeper, found)?,
        };
        let written = list.iter().enumerate().map(|(at, value)| {
            if at == place {
                changed.as_str()
            } else {
                value.get()
            }
        });
        return Some(format!("[{}]", written.collect::<Vec<_>>().join(",")));
    }
    let members: Members<'_> = serde_json::from_str(raw.get()).ok()?;
    let mut written = Vec::with_capacity(members.0.len());
    let mut is_changed = false;
    for (name, value) in &members.0 {
        let mut kept = value.get().to_owned();
        if **name == **first {
            // The last of a name counts, as in JavaScript; all of them go.
            match deeper {
                [] if string(value, found) => {
                    is_changed = true;
                    continue;
                }
                [] => {}
                deeper => {
                    if let Some(changed) = without(value, deeper, found) {
                        is_changed = true;
                        kept = changed;
                    }
                }
            }
        }
        let name = serde_json::to_string(name).ok()?;
        written.push(format!("{name}:{kept}"));
    }
    is_changed.then(|| format!("{{{}}}", written.join(",")))
}

/// Notes a string that is a token; nothing else is.
fn string(raw: &RawValue, found: &mut Option<Secret<String>>) -> bool {
    match serde_json::from_str::<String>(raw.get()) {
        Ok(text) if !text.is_empty() => {
            *found = Some(Secret::new(text));
            true
        }
        Ok(_) | Err(_) => false,
    }
}

/// The members of an object, in their order, the repeated ones too.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

#[cfg(test)]
mod unit {
    use proptest::prelude::*;

    use super::*;
    use crate::signin::tests::handler;

    fn pointer(text: &str) -> Pointer {
        Pointer(text.split('/').skip(1).map(Box::from).collect())
    }

    fn cut_at(
        json: &str,
        access: &str,
        refresh: &str,
    ) -> Result<(String, Option<String>, String), NoTokens> {
        let handler = TokenHandler {
            access: pointer(access),
            refresh_token: pointer(refresh),
            ..handler()
        };
        cut(json.as_bytes(), &handler).map(|cut| {
            (
                cut.access.expose().clone(),
                cut.refresh.map(|token| token.expose().clone()),
                String::from_utf8(cut.rest).unwrap(),
            )
        })
    }

    fn plain(json: &str) -> Result<(String, Option<String>, String), NoTokens> {
        cut_at(json, "/access", "/refresh")
    }

    #[test]
    fn tokens_are_cut_out_and_the_rest_stays_as_it_was_written() {
        let json = r#"{"refresh":"R", "user":{"b":1.50,"a":12345678901234567890123},"access":"A"}"#;
        let rest = r#"{"user":{"b":1.50,"a":12345678901234567890123}}"#;
        assert_eq!(plain(json), Ok(("A".into(), Some("R".into()), rest.into())));
    }

    #[test]
    fn tokens_may_stand_deeper_and_in_lists() {
        let json = r#"{"data":{"tokens":["A","R"],"x":1}}"#;
        let rest = r#"{"data":{"tokens":[null,null],"x":1}}"#;
        let found = cut_at(json, "/data/tokens/0", "/data/tokens/1");
        assert_eq!(found, Ok(("A".into(), Some("R".into()), rest.into())));
    }

    #[test]
    fn an_answer_without_a_refresh_token_is_taken_all_the_same() {
        assert_eq!(
            plain(r#"{"access":"A"}"#),
            Ok(("A".into(), None, "{}".into()))
        );
    }

    #[test]
    fn every_repetition_of_a_token_goes_and_the_last_one_counts() {
        let json = r#"{"access":"A","x":0,"access":"B"}"#;
        assert_eq!(plain(json), Ok(("B".into(), None, r#"{"x":0}"#.into())));
    }

    #[test]
    fn what_holds_no_token_is_left_alone() {
        for json in [
            r#"{"access":7}"#,
            r#"{"access":""}"#,
            r#"{"a":"b"}"#,
            "[]",
            "7",
            "null",
        ] {
            assert_eq!(plain(json), Err(NoTokens::NoAccess), "{json}");
        }
        for json in ["", "{", "<html>", r#"{"access":"A"} x"#] {
            assert_eq!(plain(json), Err(NoTokens::NotJson), "{json}");
        }
        let long = format!(r#"{{"access":"{}"}}"#, "a".repeat(MOST_TOKEN + 1));
        assert_eq!(plain(&long), Err(NoTokens::TooLong));
    }

    #[test]
    fn a_renewal_may_write_its_tokens_at_the_top() {
        let handler = TokenHandler {
            access: pointer("/data/access"),
            ..handler()
        };
        let (access, refresh) = find(br#"{"access":"A"}"#, &handler).unwrap();
        assert_eq!((access.expose().as_str(), refresh), ("A", None));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_and_no_token_is_left_behind(json in r#"[\[\]{}":,a-c0-9 \\u]{0,60}"#) {
            let _ = plain(&json);
            let _ = cut_at(&json, "/a/0/b", "/c");
        }

        #[test]
        fn a_token_that_was_found_stands_nowhere_in_the_rest(
            before in "[a-z]{0,8}", token in "TOKEN[A-Z]{4}", times in 1_usize..4,
        ) {
            let members = vec![format!(r#""access":"{token}""#); times].join(",");
            let json = format!(r#"{{"{before}x":[1,{{}}],{members}}}"#);
            let (found, _, rest) = plain(&json).unwrap();
            prop_assert_eq!(found, token);
            prop_assert!(!rest.contains("TOKEN"));
        }
    }
}
