//! One cookie out of a `Cookie` header, in one reading only.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::COOKIE;

use crate::auth::claims::refuse;
use crate::auth::credential::Found;
use crate::auth::jwt::malformed;
use crate::policy::denial::{Code, Denial};

/// The cookie of a name, when every server would read the same one.
///
/// Django splits at every `;` and takes the last of a name, Werkzeug lets quotes protect a `;`
/// and takes the first: what they would read differently is refused.
///
/// # Errors
///
/// `token_malformed` for a cookie that servers could read in two ways.
pub(crate) fn find<'a>(headers: &'a HeaderMap, name: &str) -> Found<'a> {
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
        None => (Some(pair), None),
    };
    let key = key.unwrap_or_default();
    let wanted = name.as_bytes();
    if trim_blanks(key) == wanted {
        let value = value.ok_or_else(|| malformed("the cookie has a name and no `=`"))?;
        return std::str::from_utf8(trim_blanks(value))
            .ok()
            .filter(|value| value.is_ascii())
            .ok_or_else(|| malformed("the cookie has characters outside ASCII"))
            .map(Some);
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
