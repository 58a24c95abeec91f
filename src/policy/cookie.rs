//! A request's `Cookie` header without the cookies that are the gateway's own.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

/// Takes one cookie out of the `Cookie` header and gives its value. Works on bytes: another
/// cookie's odd ones must not keep this one in.
pub fn take_cookie(headers: &mut HeaderMap, name: &str) -> Option<Box<str>> {
    let line = headers.get(COOKIE)?.as_bytes();
    memchr::memmem::find(line, name.as_bytes())?;
    let is_it = |pair: &&[u8]| {
        let equals = pair.iter().position(|byte| *byte == b'=');
        let have = equals.and_then(|at| pair.get(..at)).unwrap_or(pair);
        have.trim_ascii() == name.as_bytes()
    };
    let pairs = || line.split(|byte| *byte == b';');
    let held = pairs().find(is_it)?;
    let value = held
        .splitn(2, |byte| *byte == b'=')
        .nth(1)
        .unwrap_or_default();
    let value = std::str::from_utf8(value.trim_ascii()).unwrap_or_default();
    let value = Box::from(value);
    let rest: Vec<_> = pairs()
        .filter(|pair| !is_it(pair))
        .map(<[u8]>::trim_ascii)
        .collect();
    match HeaderValue::from_bytes(&rest.join(&b"; "[..])) {
        Ok(rest) if !rest.is_empty() => drop(headers.insert(COOKIE, rest)),
        Ok(_) | Err(_) => drop(headers.remove(COOKIE)),
    }
    Some(value)
}

/// Takes all cookies out whose names begin so; every other pair stays as it was.
pub fn drop_cookies(headers: &mut HeaderMap, prefix: &str) {
    let Some(line) = headers.get(COOKIE).map(HeaderValue::as_bytes) else {
        return;
    };
    if memchr::memmem::find(line, prefix.as_bytes()).is_none() {
        return;
    }
    let kept = line
        .split(|byte| *byte == b';')
        .map(<[u8]>::trim_ascii)
        .filter(|pair| !pair.starts_with(prefix.as_bytes()));
    let rest = kept.collect::<Vec<_>>().join(&b"; "[..]);
    match HeaderValue::from_bytes(&rest) {
        Ok(rest) if !rest.is_empty() => drop(headers.insert(COOKIE, rest)),
        Ok(_) | Err(_) => drop(headers.remove(COOKIE)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STICKY: &str = "portcullis-server";

    #[test]
    fn cookies_of_a_family_do_not_reach_the_app_and_others_stay() {
        let kept = |line: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(COOKIE, HeaderValue::from_static(line));
            drop_cookies(&mut headers, "__Host-x-");
            let rest = headers.get(COOKIE);
            rest.map(|rest| rest.to_str().unwrap().to_owned())
        };
        assert_eq!(
            kept("a=1; __Host-x-b=2;__Host-x-c=3; d=4").as_deref(),
            Some("a=1; d=4")
        );
        assert_eq!(kept("a=__Host-x-b=2").as_deref(), Some("a=__Host-x-b=2"));
        assert_eq!(kept("__Host-x-b=2"), None);
    }

    #[test]
    fn the_gateways_own_cookie_does_not_reach_the_app() {
        let mut headers = HeaderMap::new();
        headers.insert(
            COOKIE,
            HeaderValue::from_static("a=1; portcullis-server=s2; b=2"),
        );
        assert_eq!(take_cookie(&mut headers, STICKY).as_deref(), Some("s2"));
        assert_eq!(headers.get(COOKIE).unwrap(), "a=1; b=2");
        headers.insert(COOKIE, HeaderValue::from_static("portcullis-server=s2"));
        take_cookie(&mut headers, STICKY);
        assert!(headers.get(COOKIE).is_none());
    }

    #[test]
    fn odd_bytes_of_another_cookie_do_not_keep_it_in() {
        let mut headers = HeaderMap::new();
        let line = HeaderValue::from_bytes(b"a=\xe9; portcullis-server=s2").unwrap();
        headers.insert(COOKIE, line);
        take_cookie(&mut headers, STICKY);
        assert_eq!(headers.get(COOKIE).unwrap().as_bytes(), b"a=\xe9");
    }
}
