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
    /// It is no JSON: a page, a text, nothing at all.
    #[error("the answer is not JSON")]
    NotJson,
    /// There is no token where one was looked for.
    #[error("the answer has no access token at `access`")]
    NoAccess,
    /// It begins as JSON, and cannot be read: a page's script may be less strict.
    #[error("the answer begins as JSON, and is not to be read as such")]
    Unreadable,
    /// There is a refresh token, and no access token.
    #[error("the answer has a refresh token at `refresh_token`, but no access token at `access`")]
    RefreshAlone,
    /// There is a token, and it is too long.
    #[error("the answer has a token of more than 16 KiB")]
    TooLong,
    /// A token stands where nothing takes it out, too.
    #[error("the answer repeats a token outside of `access` and `refresh_token`")]
    Repeated,
}

impl NoTokens {
    /// Whether the browser may see the answer as far as its form goes: no token stands where one is
    /// looked for.
    #[must_use]
    pub const fn is_harmless(self) -> bool {
        matches!(self, Self::NotJson | Self::NoAccess)
    }
}

/// Takes the tokens of a handler's app out of its answer.
///
/// # Errors
///
/// [`NoTokens`].
pub(super) fn cut(json: &[u8], handler: &TokenHandler) -> Result<Cut, NoTokens> {
    let (access, rest) = take(text(json)?, &handler.access)?;
    let (refresh, rest) = take(rest.expose(), &handler.refresh_token)?;
    let access = access.ok_or(match refresh {
        Some(_) => NoTokens::RefreshAlone,
        None => NoTokens::NoAccess,
    })?;
    let mut tokens = std::iter::once(&access).chain(&refresh);
    // With `keep_body` the browser sees them all the same.
    if !handler.keep_body && tokens.any(|token| rest.expose().contains(token.expose())) {
        return Err(NoTokens::Repeated);
    }
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
    let text = text(json)?;
    let at = |pointer: &Pointer| match take(text, pointer)?.0 {
        Some(token) => Ok(Some(token)),
        None => take(text, &Pointer(vec![pointer.member().into()])).map(|(token, _)| token),
    };
    let access = at(&handler.access)?.ok_or(NoTokens::NoAccess)?;
    Ok((access, at(&handler.refresh_token)?))
}

/// What has the form of a JWT in an answer, whatever the answer is (RFC 7515 §3.1: three parts in
/// base64url, the first of a JSON object).
pub(crate) fn look_like_jwts(answer: &[u8]) -> impl Iterator<Item = &str> {
    let is_of_jwt = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    answer
        .split(move |byte| !is_of_jwt(byte))
        .filter_map(|piece| std::str::from_utf8(piece).ok())
        .map(|piece| piece.trim_matches('.'))
        .filter(|piece| piece.starts_with("ey") && piece.split('.').count() == 3)
}

/// The text of an answer.
fn text(json: &[u8]) -> Result<&str, NoTokens> {
    std::str::from_utf8(json).map_err(|_why| not_json(json))
}

/// What an answer is that does not read as JSON. A script takes some for JSON nevertheless: it
/// drops a byte order mark, and puts a character in place of bytes that are none.
fn not_json(answer: &[u8]) -> NoTokens {
    let text = answer.strip_prefix(b"\xef\xbb\xbf").unwrap_or(answer);
    match text.trim_ascii_start().first() {
        Some(b'{' | b'[') => NoTokens::Unreadable,
        Some(_) | None => NoTokens::NotJson,
    }
}

/// The string at a pointer, and the text without it.
fn take(
    text: &str,
    pointer: &Pointer,
) -> Result<(Option<Secret<String>>, Secret<String>), NoTokens> {
    let raw: &RawValue = serde_json::from_str(text).map_err(|_why| not_json(text.as_bytes()))?;
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
        let is_named = |name: &RawValue| {
            serde_json::from_str::<String>(name.get()).is_ok_and(|name| *name == **first)
        };
        if is_named(name) {
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
        written.push(format!("{}:{kept}", name.get()));
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

/// The members of an object, in their order, the repeated ones too. Names stay as they were written:
/// one that is no text, such as half a surrogate pair, is none that is looked for.
struct Members<'a>(Vec<(&'a RawValue, &'a RawValue)>);

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
        for json in ["", "<html>", "\u{feff}<html>"] {
            assert_eq!(plain(json), Err(NoTokens::NotJson), "{json}");
        }
    }

    #[test]
    fn what_may_hold_a_token_and_cannot_be_cut_is_not_harmless() {
        let cases = [
            ("{", NoTokens::Unreadable),
            (r#"{"access":"A"} x"#, NoTokens::Unreadable),
            ("\u{feff} {\"access\":\"A\"}", NoTokens::Unreadable),
            (r#"{"refresh":"R"}"#, NoTokens::RefreshAlone),
            (r#"{"access":"A","b":["A"]}"#, NoTokens::Repeated),
            (
                r#"{"access":"A","refresh":"R","b":"xRx"}"#,
                NoTokens::Repeated,
            ),
        ];
        for (json, why) in cases {
            assert_eq!(plain(json), Err(why), "{json}");
            assert!(!why.is_harmless());
        }
        let no_text = cut(b"{\"access\":\"A\",\"b\":\"\xff\"}", &handler());
        assert_eq!(no_text.unwrap_err(), NoTokens::Unreadable);
    }

    #[test]
    fn what_has_the_form_of_a_jwt_is_found_in_any_text() {
        let jwt = "eyJh.eyJz.s-_1";
        for text in [
            jwt.to_owned(),
            format!(r#"{{"token":"{jwt}"}}"#),
            format!("a=b&access={jwt}&c=d"),
            format!(")]}}',\n[\"Bearer {jwt}\"]"),
            format!("It is {jwt}."),
        ] {
            let found: Vec<_> = look_like_jwts(text.as_bytes()).collect();
            assert_eq!(found, [jwt], "{text}");
        }
        for text in [
            "",
            "eyes",
            "eye.example",
            "a.b.c",
            "eyJh.eyJz.s.t",
            "\u{fc}",
        ] {
            assert_eq!(look_like_jwts(text.as_bytes()).count(), 0, "{text}");
        }
    }

    #[test]
    fn a_name_that_is_half_a_character_hides_no_token() {
        let json = r#"{"\ud800":1,"access":"A"}"#;
        assert_eq!(
            plain(json),
            Ok(("A".into(), None, r#"{"\ud800":1}"#.into()))
        );
    }

    #[test]
    fn a_token_has_a_greatest_length() {
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
