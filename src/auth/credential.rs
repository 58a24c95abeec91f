//! Where a credential may sit in a request, and taking it from there in one reading only.
//!
//! What two servers could read in two ways is refused: the same header twice, the same cookie or
//! parameter twice with different values, quotes around a token, a cookie that Django and
//! Werkzeug would not both see. A place that is empty is no credential.

use std::borrow::Cow;

use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;

use crate::auth::claims::refuse;
use crate::auth::jwt::{MAX_TOKEN, malformed};
use crate::auth::words::quoted;
use crate::auth::{Request, cookie, session};
use crate::config::settings::Source;
use crate::policy::denial::{Challenge, Code, Denial};

/// What a place holds: nothing, or a credential, or something that cannot be one.
pub(crate) type Found<'a> = Result<Option<Cow<'a, str>>, Denial>;

/// Takes the credential at a source.
///
/// # Errors
///
/// `token_malformed` for what is there but cannot be read in exactly one way.
pub(crate) fn find<'a>(source: &Source, request: &Request<'a>) -> Found<'a> {
    let found = match source {
        Source::Header(name) if *name == AUTHORIZATION => bearer(request.headers),
        Source::Header(name) => bare_header(request.headers, name),
        Source::Cookie(name) => {
            cookie::find(request.headers, name).map(|found| found.map(Cow::Borrowed))
        }
        Source::Query(name) => query(request.query, name),
        Source::WebSocketQuery(name) if request.websocket => query(request.query, name),
        Source::WebSocketProtocol if request.websocket => protocol(request.headers),
        Source::WebSocketQuery(_) | Source::WebSocketProtocol => Ok(None),
    }?;
    match found {
        Some(token) if token.is_empty() => Ok(None),
        Some(token) => sound(token).map(Some),
        None => Ok(None),
    }
}

/// The session cookie of a name.
///
/// # Errors
///
/// `session_malformed` for what is there but cannot be read in exactly one way.
pub(crate) fn session_cookie<'a>(
    name: &str,
    headers: &'a HeaderMap,
) -> Result<Option<&'a str>, Denial> {
    let refuse =
        |detail: String| Denial::new(Code::SessionMalformed, detail).challenge(Challenge::Bearer);
    let found = cookie::find(headers, name).map_err(|denial| {
        let told = refuse(denial.detail().to_owned());
        match denial.operator_note() {
            Some(note) => told.note(note.to_owned()),
            None => told,
        }
    })?;
    let Some(cookie) = found.filter(|cookie| !cookie.is_empty()) else {
        return Ok(None);
    };
    let cookie = session::unquoted(cookie)?;
    if cookie.len() > MAX_TOKEN {
        return Err(refuse(format!("the cookie `{name}` is longer than 16 KiB")));
    }
    let graphic = |so_far: bool, byte: u8| so_far & byte.is_ascii_graphic();
    if !cookie.bytes().fold(true, graphic) {
        let detail = format!("the cookie `{name}` has characters that no session cookie has");
        return Err(refuse(detail));
    }
    Ok(Some(cookie))
}

/// What no credential is, wherever it sits.
fn sound(token: Cow<'_, str>) -> Result<Cow<'_, str>, Denial> {
    if token.len() > MAX_TOKEN {
        return Err(malformed("the token is longer than 16 KiB"));
    }
    let quote = |c: char| matches!(c, '"' | '\'');
    if token.starts_with(quote) || token.ends_with(quote) {
        return Err(malformed("the token stands in quotes").note(
            "the quotes belong to the JSON the token came in; the front end must not send them",
        ));
    }
    if starts_with_word(&token, "bearer") {
        return Err(
            malformed("the word `Bearer` stands twice, or where only the token belongs")
                .note("`Bearer` twice: a client library adds the word by itself"),
        );
    }
    // Without a way out in the middle, so that the compiler looks at many bytes at once.
    let graphic = |so_far: bool, byte: u8| so_far & byte.is_ascii_graphic();
    if !token.bytes().fold(true, graphic) {
        return Err(malformed(
            "the token has blanks or characters that no token has",
        ));
    }
    Ok(token)
}

/// `Authorization: Bearer TOKEN`, the scheme in any case (RFC 9110 §11.1), any run of blanks.
fn bearer(headers: &HeaderMap) -> Found<'_> {
    let Some(text) = single(headers, &AUTHORIZATION)? else {
        return Ok(None);
    };
    let (scheme, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    let token = rest.trim_matches([' ', '\t']);
    if scheme.eq_ignore_ascii_case("bearer") {
        return match token {
            "" => Err(malformed("there is no token after `Bearer`")
                .note("the front end sent `Bearer` with an empty token: it had none to send")),
            token if memchr::memchr(b',', token.as_bytes()).is_some() => Err(list()),
            "null" | "undefined" | "None" | "[object Object]" => Err(malformed(
                "a word of the programming language stands where the token belongs",
            )
            .note("the front end sent `null`, `undefined` or the like: it had no token to send")),
            token => Ok(Some(Cow::Borrowed(token))),
        };
    }
    if starts_with_word(scheme, "bearer") || scheme.eq_ignore_ascii_case("bearer:") {
        return Err(malformed(
            "one blank belongs between `Bearer` and the token",
        ));
    }
    if text.starts_with(['"', '\'']) {
        return Err(malformed(
            "the whole `Authorization` header stands in quotes",
        ));
    }
    if scheme.starts_with("eyJ") && scheme.contains('.') {
        return Err(malformed("the token stands without `Bearer` before it")
            .note("the header must read `Authorization: Bearer TOKEN`"));
    }
    if starts_with_word(after_comma(text), "bearer") {
        return Err(list());
    }
    // Another scheme is another authenticator's affair, or the app's.
    Ok(None)
}

fn list() -> Denial {
    malformed("the `Authorization` header holds a list; one credential is taken")
}

fn after_comma(text: &str) -> &str {
    text.split_once(',')
        .map_or("", |(_, rest)| rest.trim_start())
}

/// Whether `text` begins with `word` in any case, followed by something that is not a letter of
/// a longer word.
fn starts_with_word(text: &str, word: &str) -> bool {
    let begins = text
        .get(..word.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(word));
    begins
        && text
            .get(word.len()..)
            .is_some_and(|rest| !rest.is_empty() && !rest.starts_with('.'))
}

/// `Authorization: Basic …`, its base64 part.
pub(crate) fn basic(headers: &HeaderMap) -> Found<'_> {
    let Some(text) = single(headers, &AUTHORIZATION)? else {
        return Ok(None);
    };
    let (scheme, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("basic") {
        return Ok(None);
    }
    let credentials = rest.trim_matches([' ', '\t']);
    let good = !credentials.is_empty()
        && credentials.len() <= MAX_TOKEN
        && !credentials.contains([' ', '\t', ',']);
    if good {
        Ok(Some(Cow::Borrowed(credentials)))
    } else {
        Err(malformed("what follows `Basic` is not one base64 text"))
    }
}

fn bare_header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Found<'a> {
    let text = single(headers, name)?;
    Ok(text.map(|text| Cow::Borrowed(text.trim_matches([' ', '\t']))))
}

/// The text of a header that may be there once.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Denial> {
    let mut values = headers.get_all(name).iter();
    let Some(first) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        let detail = format!("the header `{name}` stands twice");
        return Err(refuse(Code::TokenMalformed, detail).note(
            "two credentials in one header: which of them the app reads is its server's choice",
        ));
    }
    visible(first).map(Some)
}

fn visible(value: &HeaderValue) -> Result<&str, Denial> {
    value
        .to_str()
        .map_err(|_why| malformed("the credential has characters outside ASCII"))
}

/// The query parameter of a name, percent-decoded, `+` as a blank, as `urllib.parse.parse_qsl`.
fn query<'a>(query: Option<&'a str>, name: &str) -> Found<'a> {
    let mut held: Option<Cow<'a, str>> = None;
    for pair in query.unwrap_or_default().split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if decoded(key).as_deref() != Some(name) {
            continue;
        }
        let value = decoded(value)
            .ok_or_else(|| malformed("the token in the query is not UTF-8 when decoded"))?;
        if held.as_ref().is_some_and(|before| *before != value) {
            let detail = format!("the query parameter `{name}` stands twice with different values");
            return Err(refuse(Code::TokenMalformed, detail));
        }
        held = Some(value);
    }
    Ok(held)
}

fn decoded(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains(['%', '+']) {
        return Some(Cow::Borrowed(text));
    }
    let text = text.replace('+', " ");
    let plain = percent_decode_str(&text).decode_utf8().ok()?;
    Some(Cow::Owned(plain.into_owned()))
}

/// The token of `Sec-WebSocket-Protocol: bearer, TOKEN`.
fn protocol(headers: &HeaderMap) -> Found<'_> {
    let mut offers = Vec::new();
    for line in headers.get_all(SEC_WEBSOCKET_PROTOCOL) {
        offers.extend(visible(line)?.split(',').map(str::trim));
    }
    let is_bearer = |offer: &&str| offer.eq_ignore_ascii_case("bearer");
    let mut after = offers.iter().copied().skip_while(|offer| !is_bearer(offer));
    if after.next().is_none() {
        return Ok(None);
    }
    let token = after.next();
    if after.any(|offer| is_bearer(&offer)) {
        return Err(malformed("`bearer` stands twice in Sec-WebSocket-Protocol"));
    }
    match token {
        Some(token) => Ok(Some(Cow::Borrowed(token))),
        None => Err(malformed(
            "no token follows `bearer` in Sec-WebSocket-Protocol",
        )),
    }
}

/// Whether a source holds anything at all, good or bad. For telling which credentials must not
/// be passed on unchecked.
pub(crate) fn is_occupied(source: &Source, request: &Request<'_>) -> bool {
    !matches!(find(source, request), Ok(None))
}

/// Names what the request carried instead of what the route takes, where that can be seen.
pub(crate) fn mix_up(sources: &[&Source], request: &Request<'_>) -> Option<String> {
    let takes_header = sources
        .iter()
        .any(|source| matches!(source, Source::Header(name) if *name == AUTHORIZATION));
    let authorization = request.headers.get(AUTHORIZATION);
    let scheme = authorization.map(|value| {
        let text = String::from_utf8_lossy(value.as_bytes());
        text.split([' ', '\t'])
            .next()
            .unwrap_or_default()
            .to_owned()
    });
    match scheme {
        Some(scheme) if takes_header && !scheme.eq_ignore_ascii_case("bearer") => {
            return Some(format!(
                "`Authorization` has the scheme {}; this route takes `Bearer`",
                quoted(&scheme)
            ));
        }
        Some(scheme) if !takes_header && scheme.eq_ignore_ascii_case("bearer") => {
            return Some(
                "a bearer token was sent, but this route takes its credential elsewhere".to_owned(),
            );
        }
        Some(_) | None => {}
    }
    let sent = |source: &Source| {
        let asked = sources.contains(&source);
        !asked && find(source, request).is_ok_and(|found| found.is_some())
    };
    [
        "sessionid",
        "session",
        "access_token_cookie",
        "access_token",
        "access",
    ]
    .into_iter()
    .find(|name| sent(&Source::Cookie((*name).into())))
    .map(|name| format!("the cookie `{name}` was sent, but this route does not take it"))
    .or_else(|| {
        ["token", "access", "jwt", "access_token"]
            .into_iter()
            .find(|name| sent(&Source::Query((*name).into())) && !request.websocket)
            .map(|name| {
                format!("a token stands in the query (`{name}`), where this route does not look")
            })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::auth::testing::{get, headers};

    const AUTH: Source = Source::Header(AUTHORIZATION);

    fn found(source: &Source, pairs: &[(&str, &str)]) -> Result<Option<String>, Code> {
        let headers = headers(pairs);
        find(source, &get(&headers))
            .map(|found| found.map(Cow::into_owned))
            .map_err(|denial| denial.code())
    }

    fn cookie_found(line: &str) -> Result<Option<String>, Code> {
        found(&Source::Cookie("sid".into()), &[("cookie", line)])
    }

    fn query_found(text: &str) -> Result<Option<String>, Code> {
        let headers = HeaderMap::new();
        let request = Request {
            query: Some(text),
            ..get(&headers)
        };
        find(&Source::Query("token".into()), &request)
            .map(|found| found.map(Cow::into_owned))
            .map_err(|denial| denial.code())
    }

    #[test]
    fn bearer_is_taken_in_any_case_and_with_any_run_of_blanks() {
        for value in ["Bearer abc", "bearer abc", "BEARER  abc ", "Bearer\tabc"] {
            assert_eq!(
                found(&AUTH, &[("authorization", value)]),
                Ok(Some("abc".to_owned()))
            );
        }
    }

    #[test]
    fn what_has_two_readings_or_is_mixed_up_is_malformed() {
        for value in [
            "Bearer",
            "Bearer ",
            "Bearer Bearer abc",
            "Bearer \"abc\"",
            "Bearer 'abc'",
            "Bearer abc def",
            "Bearer abc, Bearer def",
            "Bearer abc,",
            "Bearer undefined",
            "Bearer [object Object]",
            "\"Bearer abc\"",
            "Basic x, Bearer abc",
            "Bearer: abc",
            "BearereyJhbGciOi.J9.x",
            "eyJhbGciOiJIUzI1NiJ9.e30.x",
        ] {
            let found = found(&AUTH, &[("authorization", value)]);
            assert_eq!(found, Err(Code::TokenMalformed), "{value}");
        }
        let twice = [
            ("authorization", "Bearer abc"),
            ("authorization", "Bearer abc"),
        ];
        assert_eq!(found(&AUTH, &twice), Err(Code::TokenMalformed));
        let long = format!("Bearer {}", "a".repeat(MAX_TOKEN + 1));
        assert_eq!(
            found(&AUTH, &[("authorization", &long)]),
            Err(Code::TokenMalformed)
        );
    }

    #[test]
    fn another_scheme_is_another_ones_affair() {
        for value in ["Basic dXNlcjpwYXNz", "Token abc", "Digest x=\"y\"", ""] {
            assert_eq!(
                found(&AUTH, &[("authorization", value)]),
                Ok(None),
                "{value}"
            );
        }
    }

    #[test]
    fn another_header_holds_the_bare_token() {
        let source = Source::Header(HeaderName::from_static("x-token"));
        assert_eq!(
            found(&source, &[("x-token", " abc ")]),
            Ok(Some("abc".to_owned()))
        );
        assert_eq!(
            found(&source, &[("x-token", "Bearer abc")]),
            Err(Code::TokenMalformed)
        );
        assert_eq!(found(&source, &[("authorization", "Bearer abc")]), Ok(None));
    }

    #[test]
    fn a_cookie_is_found_by_its_exact_name() {
        assert_eq!(
            cookie_found("a=1; sid=abc; b=2"),
            Ok(Some("abc".to_owned()))
        );
        assert_eq!(cookie_found("sid=abc;sid=abc"), Ok(Some("abc".to_owned())));
        for line in [
            "SID=abc",
            "xsid=abc",
            "sidx=abc",
            "a=sid=abc",
            "sid=",
            "x=\"1\"",
            "a; b",
        ] {
            assert_eq!(cookie_found(line), Ok(None), "{line}");
        }
    }

    #[test]
    fn a_quoted_cookie_beside_it_does_no_harm_but_one_that_hides_or_shows_it_does() {
        assert_eq!(
            cookie_found("messages=\"a, b\"; sid=abc"),
            Ok(Some("abc".to_owned()))
        );
        for line in [
            "x=\"; sid=evil; y=\"",
            "sid=abc; x=\"; sid=abc; y=\"; sid=evil",
            "sid=abc; sid=evil",
            "sid=\"abc\"",
            "sid; sid=abc",
            "sid=abc; \u{b}sid=evil",
        ] {
            let value = HeaderValue::from_bytes(line.as_bytes());
            // A vertical tab never gets as far as a header value.
            if value.is_ok() {
                assert_eq!(cookie_found(line), Err(Code::TokenMalformed), "{line}");
            }
        }
    }

    #[test]
    fn two_cookie_lines_are_read_as_one() {
        let source = Source::Cookie("sid".into());
        let two = [("cookie", "a=1; sid=abc"), ("cookie", "sid=evil")];
        assert_eq!(found(&source, &two), Err(Code::TokenMalformed));
        let one = [("cookie", "a=1"), ("cookie", "sid=abc")];
        assert_eq!(found(&source, &one), Ok(Some("abc".to_owned())));
    }

    #[test]
    fn a_query_value_is_decoded_once_and_may_stand_once() {
        assert_eq!(query_found("a=1&token=a%2Eb"), Ok(Some("a.b".to_owned())));
        assert_eq!(query_found("%74oken=abc"), Ok(Some("abc".to_owned())));
        assert_eq!(
            query_found("token=abc&token=abc"),
            Ok(Some("abc".to_owned()))
        );
        for bad in [
            "token=a&token=b",
            "token=a%FF",
            "token=a+b",
            "token=a%20b",
            "token=%22a%22",
        ] {
            assert_eq!(query_found(bad), Err(Code::TokenMalformed), "{bad}");
        }
        assert_eq!(query_found("Token=a&tokens=b&token="), Ok(None));
    }

    #[test]
    fn a_websocket_source_is_read_on_handshakes_alone() {
        let headers = headers(&[("sec-websocket-protocol", "bearer, abc")]);
        let handshake = |websocket| Request {
            query: Some("token=abc"),
            websocket,
            ..get(&headers)
        };
        for source in [
            Source::WebSocketQuery("token".into()),
            Source::WebSocketProtocol,
        ] {
            assert!(find(&source, &handshake(false)).unwrap().is_none());
            assert_eq!(
                find(&source, &handshake(true)).unwrap().as_deref(),
                Some("abc")
            );
        }
    }

    #[test]
    fn a_subprotocol_without_a_token_or_with_two_is_malformed() {
        for (value, wanted) in [
            ("bearer", Err(Code::TokenMalformed)),
            ("bearer, a, bearer, b", Err(Code::TokenMalformed)),
            ("chat, bearer, abc", Ok(Some("abc".to_owned()))),
            ("chat", Ok(None)),
        ] {
            let headers = headers(&[("sec-websocket-protocol", value)]);
            let request = Request {
                websocket: true,
                ..get(&headers)
            };
            let found = find(&Source::WebSocketProtocol, &request)
                .map(|found| found.map(Cow::into_owned))
                .map_err(|denial| denial.code());
            assert_eq!(found, wanted, "{value}");
        }
    }

    #[test]
    fn mix_ups_are_named() {
        let told = |sources: &[&Source], pairs: &[(&str, &str)]| {
            let headers = headers(pairs);
            mix_up(sources, &get(&headers)).unwrap_or_default()
        };
        let basic = told(&[&AUTH], &[("authorization", "Basic x")]);
        assert!(basic.contains("\"Basic\""), "{basic}");
        let session = told(&[&AUTH], &[("cookie", "sessionid=abcdefgh")]);
        assert!(session.contains("sessionid"), "{session}");
        let cookie = Source::Cookie("sid".into());
        let bearer = told(&[&cookie], &[("authorization", "Bearer abc")]);
        assert!(bearer.contains("bearer token"), "{bearer}");
        assert_eq!(told(&[&AUTH], &[]), "");
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(value in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                let mut headers = HeaderMap::new();
                for name in ["authorization", "cookie", "sec-websocket-protocol"] {
                    headers.insert(name, value.clone());
                }
                let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
                let request = Request { websocket: true, query: Some(&text), ..get(&headers) };
                for source in [AUTH, Source::Cookie("a".into()), Source::Query("a".into()), Source::WebSocketProtocol] {
                    let _ = find(&source, &request);
                }
            }
        }

        #[test]
        fn a_cookie_that_is_found_is_what_django_and_werkzeug_would_take(
            line in r#"((sid|a|b)=("[a;=]{0,3}"|[xy"]{0,2})?; ?){1,4}"#,
        ) {
            if let Ok(Some(value)) = cookie_found(&line) {
                let split = line.split(';').filter_map(|pair| pair.trim().strip_prefix("sid="));
                prop_assert_eq!(split.clone().next_back(), Some(value.as_str()));
            }
        }
    }
}
