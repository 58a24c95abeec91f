//! Where a credential may sit in a request, and taking it from there in one reading only.
//!
//! What two servers could read in two ways is refused: the same header twice, the same cookie or
//! parameter twice with different values, quotes around a token, a cookie that Django and
//! Werkzeug would not both see. A place that is empty is no credential.

use std::borrow::Cow;

use http::header::{AUTHORIZATION, COOKIE, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;

use crate::auth::Request;
use crate::auth::claims::refuse;
use crate::auth::jwt::{MAX_TOKEN, malformed};
use crate::auth::words::quoted;
use crate::config::settings::Source;
use crate::policy::denial::{Code, Denial};

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
        Source::Cookie(name) => cookie(request.headers, name),
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
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
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
            token if token.contains(',') => Err(list()),
            token => Ok(Some(Cow::Borrowed(token))),
        };
    }
    if starts_with_word(scheme, "bearer") || scheme.eq_ignore_ascii_case("bearer:") {
        return Err(malformed(
            "one blank belongs between `Bearer` and the token",
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

/// The cookie of a name, when every server would read the same one.
///
/// Django splits at every `;` and takes the last of a name, Werkzeug lets quotes protect a `;`
/// and takes the first: what they would read differently is refused.
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Found<'a> {
    let mut held: Option<&'a str> = None;
    for line in headers.get_all(COOKIE) {
        let bytes = line.as_bytes();
        if memchr::memmem::find(bytes, name.as_bytes()).is_none() {
            continue;
        }
        if let Some(value) = only(bytes.split(|byte| *byte == b';'), name, held)? {
            held = Some(value);
        }
        if bytes.contains(&b'"') && only(QuotedPairs(bytes), name, held)? != held {
            return Err(malformed(
                "quotes among the cookies hide or show the credential, depending on the server",
            ));
        }
    }
    Ok(held.map(Cow::Borrowed))
}

/// The one value that a name has among `name=value` pairs, if `before` agrees with it.
fn only<'a>(
    pairs: impl Iterator<Item = &'a [u8]>,
    name: &str,
    before: Option<&'a str>,
) -> Result<Option<&'a str>, Denial> {
    let mut held = before;
    let mut found = None;
    for pair in pairs {
        let Some(value) = named(pair, name)? else {
            continue;
        };
        if held.is_some_and(|before| before != value) {
            let detail = format!("the cookie `{name}` stands twice with different values");
            return Err(refuse(Code::TokenMalformed, detail)
                .note("set under two paths or domains, or planted by another site of the domain"));
        }
        held = Some(value);
        found = held;
    }
    Ok(found)
}

/// The pairs of a cookie line as Werkzeug reads them: a quoted value may hold `;`.
struct QuotedPairs<'a>(&'a [u8]);

impl<'a> Iterator for QuotedPairs<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let line = self.0;
        let end_from = |start: usize| {
            let rest = line.get(start..).unwrap_or_default();
            start + memchr::memchr(b';', rest).unwrap_or(rest.len())
        };
        let end = match opening_quote(line) {
            Some(open) => end_from(closing_quote(line, open).unwrap_or(open)),
            None => end_from(0),
        };
        self.0 = line.get(end + 1..).unwrap_or_default();
        line.get(..end)
    }
}

/// Where the quote stands that a pair's value begins with.
fn opening_quote(line: &[u8]) -> Option<usize> {
    let equals = line.iter().position(|byte| matches!(byte, b'=' | b';'))?;
    let rest = line.get(equals + 1..)?;
    let blanks = rest
        .iter()
        .take_while(|byte| matches!(byte, b' ' | b'\t'))
        .count();
    let is_value = line.get(equals) == Some(&b'=') && rest.get(blanks) == Some(&b'"');
    is_value.then_some(equals + 1 + blanks)
}

/// Where the quote stands that ends the value, a backslash taking the next byte along.
fn closing_quote(line: &[u8], open: usize) -> Option<usize> {
    let mut at = open + 1;
    loop {
        match line.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// The value of one `name=value`, if the name is the one wanted.
fn named<'a>(pair: &'a [u8], name: &str) -> Result<Option<&'a str>, Denial> {
    let split = pair.iter().position(|byte| *byte == b'=');
    let (key, value) = match split {
        Some(at) => (pair.get(..at), pair.get(at + 1..)),
        None => (Some(pair), Some(&[][..])),
    };
    let key = key.unwrap_or_default();
    let wanted = name.as_bytes();
    if trim_blanks(key) == wanted {
        return std::str::from_utf8(trim_blanks(value.unwrap_or_default()))
            .map(Some)
            .map_err(|_why| malformed("the cookie has characters outside ASCII"));
    }
    // `\xa0name` or `\x0bname` is `name` after Python's `str.strip()`.
    let odd = |byte: &u8| !byte.is_ascii_graphic();
    let start = key.iter().take_while(|byte| odd(byte)).count();
    let rest = key.get(start..).unwrap_or_default();
    let end = rest.len() - rest.iter().rev().take_while(|byte| odd(byte)).count();
    if rest.get(..end) == Some(wanted) {
        return Err(malformed(
            "the cookie's name has characters around it that some servers drop",
        ));
    }
    Ok(None)
}

fn trim_blanks(bytes: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = bytes.iter().take_while(|byte| blank(byte)).count();
    let bytes = bytes.get(start..).unwrap_or_default();
    let end = bytes.len() - bytes.iter().rev().take_while(|byte| blank(byte)).count();
    bytes.get(..end).unwrap_or_default()
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
