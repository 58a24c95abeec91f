//! What is removed from requests and answers: hop-by-hop fields, forged identity, aliases.
//!
//! WSGI, CGI and their kin turn `X-Auth-User`, `x_auth_user` and `X.Auth.User` into one variable
//! (PEP 3333, RFC 3875 §4.1.18), so names are compared as such a server would read them. Removing
//! comes first and the gateway's own headers after, so nothing that a client names in `Connection`
//! can take those away. A clean request is looked over once, and nothing is copied.

use http::header::{CONNECTION, COOKIE, TE, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

pub use crate::policy::framing::check_framing;
use crate::policy::identity::IdentityNames;
use crate::policy::names::Names;
use crate::policy::reserved::{
    ANSWERED_BY, BELIEVED, BELIEVED_OTHER, BELIEVED_X, HOP_BY_HOP, JUDGED_BY, NEVER_TRAILING,
    NEVER_TRAILING_PREFIXES,
};

/// Names to remove. Seldom more than `Connection` and one other.
type Doomed = SmallVec<[HeaderName; 4]>;

/// What is removed from every request before forwarding, compiled.
#[derive(Clone, Debug)]
pub struct Hygiene {
    /// Folded names that never pass, the hop-by-hop ones included.
    removed: Names,
    /// Names that pass although they begin like one that is believed.
    admitted: Names,
    /// Folded names of which no other spelling passes.
    one_spelling: Names,
    /// The identity names, as they are configured.
    owned: Box<[HeaderName]>,
    /// The same, to be looked up.
    owned_names: Names,
    /// Whether names with `_` or `.` pass at all.
    keep_odd: bool,
}

impl Default for Hygiene {
    fn default() -> Self {
        let request_id = HeaderName::from_static("x-request-id");
        Self::compile(&IdentityNames::default(), false, &request_id)
    }
}

impl Hygiene {
    /// Compiles what is removed. `underscore_keep` is `underscore_headers = "keep"`; `request_id`
    /// is the header of which only the gateway's spelling passes.
    #[must_use]
    pub fn compile(
        identity: &IdentityNames,
        underscore_keep: bool,
        request_id: &HeaderName,
    ) -> Self {
        let owned: Box<[HeaderName]> = identity.owned().cloned().collect();
        let mut removed = Names::new(HOP_BY_HOP.iter().chain(BELIEVED).copied());
        for name in &owned {
            removed.insert(&fold(name.as_str()));
        }
        let mut one_spelling = Names::new(JUDGED_BY.iter().copied());
        one_spelling.insert(&fold(request_id.as_str()));
        Self {
            removed,
            admitted: Names::new([]),
            one_spelling,
            owned_names: Names::new(owned.iter().map(HeaderName::as_str)),
            owned,
            keep_odd: underscore_keep,
        }
    }

    /// Lets headers pass that hold credentials, such as `X-Auth-Token`, although their names begin
    /// like those of identity headers. Names that are configured as identity headers still go.
    #[must_use]
    pub fn admitting<'a>(mut self, credentials: impl IntoIterator<Item = &'a HeaderName>) -> Self {
        for name in credentials {
            self.admitted.insert(name.as_str());
            self.one_spelling.insert(&fold(name.as_str()));
        }
        self
    }

    /// Cleanses a request's headers in place.
    ///
    /// Hop-by-hop fields go (RFC 9110 §7.6.1) with what `Connection` names, and every field that
    /// an app's server could read as an identity, forwarding or override header. Several `Cookie`
    /// lines become one (RFC 9113 §8.2.3). With `upgrade` exactly `Connection: Upgrade` and
    /// `Upgrade: websocket` are there afterwards. Whether there are cookies.
    pub fn cleanse(&self, headers: &mut HeaderMap, upgrade: bool) -> bool {
        let mut doomed = Doomed::new();
        let (mut connection, mut te, mut cookies) = (false, false, false);
        for name in headers.keys() {
            connection |= *name == CONNECTION;
            te |= *name == TE;
            cookies |= *name == COOKIE;
            if !self.passes(name.as_str(), headers) {
                doomed.push(name.clone());
            }
        }
        if connection {
            nominated(headers, JUDGED_BY, &mut doomed);
        }
        for name in doomed {
            headers.remove(name);
        }
        if te && !asks_for_trailers(headers) {
            headers.remove(TE);
        }
        if cookies {
            merge_cookies(headers);
        }
        if upgrade {
            headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        }
        cookies
    }

    /// Removes the names that tell who is calling from an app's answer.
    pub fn hide_identity(&self, answer: &mut HeaderMap) {
        // Nearly every answer has none: that shows in one look at each name.
        let mut names = answer.keys();
        if names.any(|name| self.owned_names.contains(name.as_str())) {
            for name in &self.owned {
                answer.remove(name);
            }
        }
    }

    /// Whether a field of this name may go on.
    fn passes(&self, name: &str, present: &HeaderMap) -> bool {
        if is_plain(name) {
            return !self.removed.contains(name)
                && (!is_believed(name) || self.admitted.contains(name));
        }
        if !self.keep_odd {
            return false;
        }
        // A second spelling of a header that is there as well could be the one that the app reads.
        let folded = fold(name);
        !self.removed.contains(&folded)
            && !is_believed(&folded)
            && !self.one_spelling.contains(&folded)
            && !present.contains_key(&*folded)
    }

    /// Whether a trailer of this name may go on.
    fn passes_trailing(&self, name: &str) -> bool {
        is_plain(name)
            && !self.removed.contains(name)
            && !self.one_spelling.contains(name)
            && !is_believed(name)
            && !NEVER_TRAILING.contains(&name)
            && !NEVER_TRAILING_PREFIXES
                .iter()
                .any(|prefix| name.starts_with(prefix))
    }
}

/// Removes from an app's answer what is meant for the gateway's own connection to it, and what
/// `Connection` names (RFC 9110 §7.6.1). `Content-Length` and its like cannot be named away.
pub fn cleanse_answer(headers: &mut HeaderMap) {
    let mut doomed = Doomed::new();
    let mut connection = false;
    for name in headers.keys() {
        connection |= *name == CONNECTION;
        if is_hop_by_hop(name.as_str()) || *name == TE {
            doomed.push(name.clone());
        }
    }
    if connection {
        nominated(headers, ANSWERED_BY, &mut doomed);
    }
    for name in doomed {
        headers.remove(name);
    }
}

/// Removes from trailers, of a request or an answer, everything that says more than a fact about
/// the body: framing, routing, authentication, identity (RFC 9110 §6.5.1).
pub fn cleanse_trailers(hygiene: &Hygiene, trailers: &mut HeaderMap) {
    let doomed: Doomed = trailers
        .keys()
        .filter(|name| !hygiene.passes_trailing(name.as_str()))
        .cloned()
        .collect();
    for name in doomed {
        trailers.remove(name);
    }
}

/// The names that `Connection` lists, but for those that it cannot take away.
fn nominated(headers: &HeaderMap, kept: &[&str], doomed: &mut Doomed) {
    for value in headers.get_all(CONNECTION) {
        for token in value.as_bytes().split(|byte| *byte == b',') {
            let token = token.trim_ascii();
            // What nearly every connection says names no field beyond the hop-by-hop ones.
            let usual = [b"keep-alive".as_slice(), b"close", b"upgrade"];
            if token.is_empty() || usual.iter().any(|word| token.eq_ignore_ascii_case(word)) {
                continue;
            }
            if let Ok(name) = HeaderName::from_bytes(token)
                && !kept.contains(&name.as_str())
            {
                doomed.push(name);
            }
        }
    }
}

/// Whether `TE` says `trailers` and nothing else.
fn asks_for_trailers(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(TE).iter();
    let first = values.next();
    values.next().is_none()
        && first.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"trailers"))
}

/// Makes one `Cookie` line of several, as HTTP/2 clients send them.
fn merge_cookies(headers: &mut HeaderMap) {
    let mut lines = headers.get_all(COOKIE).iter();
    let (Some(first), Some(second)) = (lines.next(), lines.next()) else {
        return;
    };
    let mut merged = first.as_bytes().to_vec();
    for line in std::iter::once(second).chain(lines) {
        if !merged.is_empty() && !line.is_empty() {
            merged.extend_from_slice(b"; ");
        }
        merged.extend_from_slice(line.as_bytes());
    }
    match HeaderValue::from_maybe_shared(bytes::Bytes::from(merged)) {
        Ok(value) => headers.insert(COOKIE, value),
        Err(_) => headers.remove(COOKIE),
    };
}

/// Whether the name is of one connection alone; its first byte tells for most that it is not.
fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name.as_bytes().first(),
        Some(b'c' | b'h' | b'k' | b'p' | b't' | b'u')
    ) && HOP_BY_HOP.contains(&name)
}

/// Whether every server reads the name as it stands. Header names are lower case by their type.
fn is_plain(name: &str) -> bool {
    // Without a way out in the middle, so that the compiler looks at many bytes at once.
    name.bytes().fold(true, |so_far, byte| {
        so_far & matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-')
    })
}

/// The name with everything but letters and digits as `-`, as CGI would confuse it.
fn fold(name: &str) -> Box<str> {
    let letter = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    name.chars().map(letter).collect::<String>().into()
}

/// Whether no client may send a header of this name, whatever the configuration.
pub(super) fn is_reserved(name: &str) -> bool {
    let folded = fold(name);
    is_believed(&folded) || BELIEVED.contains(&&*folded) || HOP_BY_HOP.contains(&&*folded)
}

/// Whether the name begins like one that some server believes.
fn is_believed(name: &str) -> bool {
    let beginnings = match name.as_bytes().first() {
        Some(b'x') => BELIEVED_X,
        Some(b'c' | b'r' | b's' | b't') => BELIEVED_OTHER,
        Some(_) | None => return false,
    };
    beginnings.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn map(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name = HeaderName::from_bytes(name.as_bytes()).expect(name);
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn cleansed(hygiene: &Hygiene, lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = map(lines);
        hygiene.cleanse(&mut headers, false);
        headers
    }

    fn keeping() -> Hygiene {
        let request_id = HeaderName::from_static("x-request-id");
        Hygiene::compile(&IdentityNames::default(), true, &request_id)
    }

    #[test]
    fn an_ordinary_request_keeps_every_header() {
        let lines = [
            ("host", "a.example"),
            ("accept", "*/*"),
            ("accept-encoding", "gzip"),
            ("authorization", "Bearer x"),
            ("content-type", "text/plain"),
            ("content-length", "3"),
            ("cookie", "a=b"),
            ("origin", "https://a.example"),
            ("sec-fetch-site", "same-origin"),
            ("x-csrftoken", "x"),
            ("x-requested-with", "XMLHttpRequest"),
            ("x-api-key", "k"),
            ("traceparent", "00-x"),
            ("te", "trailers"),
        ];
        assert_eq!(cleansed(&Hygiene::default(), &lines), map(&lines));
    }

    #[test]
    fn no_spelling_of_an_identity_header_passes() {
        for name in [
            "X-Auth-User",
            "x-auth-user",
            "X_Auth_User",
            "X-Auth_User",
            "x.auth.user",
            "X_AUTH-USER",
            "x~auth!user",
            "X-Auth-Roles",
            "x_auth_roles",
            "Remote-User",
            "remote_user",
            "REMOTE.USER",
            "X-Auth-Anything",
            "X-Remote-User",
            "X-Forwarded-User",
            "X-SSL-Client-DN",
            "x_ssl_client_cn",
        ] {
            let lines = [(name, "admin"), (name, "root")];
            assert!(cleansed(&Hygiene::default(), &lines).is_empty(), "{name}");
            assert!(cleansed(&keeping(), &lines).is_empty(), "{name}");
        }
    }

    #[test]
    fn an_identity_name_with_an_underscore_is_owned_in_every_spelling_too() {
        let identity = IdentityNames {
            user: Some(HeaderName::from_static("my_user")),
            ..IdentityNames::default()
        };
        let request_id = HeaderName::from_static("x-request-id");
        for keep in [false, true] {
            let hygiene = Hygiene::compile(&identity, keep, &request_id);
            for name in ["my_user", "My-User", "my.user"] {
                assert!(cleansed(&hygiene, &[(name, "x")]).is_empty(), "{name}");
            }
        }
    }

    #[test]
    fn forwarding_and_override_headers_of_a_client_do_not_pass() {
        for name in [
            "X-Forwarded-For",
            "X_Forwarded_For",
            "X-Forwarded-Proto",
            "X-Forwarded-Host",
            "X-Forwarded-Port",
            "X-Forwarded-Prefix",
            "X-Forwarded-Uri",
            "X-Forwarded-Method",
            "X-Forwarded-Ssl",
            "X-Real-IP",
            "Forwarded",
            "Proxy",
            "X-Original-URL",
            "X-Rewrite-URL",
            "X-HTTP-Method-Override",
            "X-HTTP-Method",
            "X-Method-Override",
            "Script-Name",
            "True-Client-IP",
            "x_original_url",
            "Path-Info",
            "Https",
        ] {
            assert!(
                cleansed(&Hygiene::default(), &[(name, "x")]).is_empty(),
                "{name}"
            );
            assert!(cleansed(&keeping(), &[(name, "x")]).is_empty(), "{name}");
        }
    }

    #[test]
    fn names_with_underscores_pass_only_when_kept_and_never_as_aliases() {
        let lines = [("my_header", "1"), ("my.other", "2")];
        assert!(cleansed(&Hygiene::default(), &lines).is_empty());
        assert_eq!(cleansed(&keeping(), &lines), map(&lines));
        for alias in [
            "Content_Length",
            "content.length",
            "Transfer_Encoding",
            "X_Request_Id",
            "X_CSRFToken",
            "content_type",
            "Sec_Fetch_Site",
        ] {
            let headers = cleansed(&keeping(), &[(alias, "x")]);
            assert!(headers.is_empty(), "{alias}");
        }
        let twice = cleansed(&keeping(), &[("X-Api-Key", "good"), ("X_Api_Key", "bad")]);
        assert_eq!(twice, map(&[("x-api-key", "good")]));
    }

    #[test]
    fn a_credential_header_may_be_admitted_but_never_an_identity_header() {
        let token = HeaderName::from_static("x-auth-token");
        let user = HeaderName::from_static("x-auth-user");
        let hygiene = Hygiene::default().admitting([&token, &user]);
        let left = cleansed(
            &hygiene,
            &[
                ("X-Auth-Token", "t"),
                ("X-Auth-User", "u"),
                ("x_auth_token", "f"),
            ],
        );
        assert_eq!(left, map(&[("x-auth-token", "t")]));
    }

    #[test]
    fn hop_by_hop_fields_go_with_what_connection_names() {
        let left = cleansed(
            &Hygiene::default(),
            &[
                ("Connection", "keep-alive, X-Trace ,, x-other"),
                ("Connection", "\tX-Third\t"),
                ("X-Trace", "1"),
                ("X-Other", "2"),
                ("X-Third", "3"),
                ("Keep-Alive", "5"),
                ("Proxy-Connection", "x"),
                ("Proxy-Authorization", "x"),
                ("Transfer-Encoding", "chunked"),
                ("Upgrade", "h2c"),
                ("HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA"),
                ("TE", "gzip, trailers"),
                ("Accept", "*/*"),
            ],
        );
        assert_eq!(left, map(&[("accept", "*/*")]));
    }

    #[test]
    fn connection_cannot_name_away_what_was_judged_by() {
        let lines = [
            ("host", "a"),
            ("content-length", "3"),
            ("authorization", "x"),
            ("cookie", "a=b"),
            ("origin", "https://a"),
            ("content-type", "x/y"),
            ("sec-fetch-site", "none"),
        ];
        let mut sent = lines.to_vec();
        let all =
            "Host, content-length,AUTHORIZATION, cookie, origin, content-type, sec-fetch-site";
        sent.push(("connection", all));
        assert_eq!(cleansed(&Hygiene::default(), &sent), map(&lines));
    }

    #[test]
    fn an_upgrade_goes_on_with_exactly_its_two_fields() {
        let mut headers = map(&[
            ("Connection", "Upgrade, X-Auth-User, X-A"),
            ("Upgrade", "websocket, h2c"),
            ("X-A", "1"),
        ]);
        Hygiene::default().cleanse(&mut headers, true);
        assert_eq!(
            headers,
            map(&[("connection", "Upgrade"), ("upgrade", "websocket")])
        );
    }

    #[test]
    fn cookie_lines_become_one() {
        let left = cleansed(
            &Hygiene::default(),
            &[("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")],
        );
        assert_eq!(left, map(&[("cookie", "a=1; b=2; c=3")]));
    }

    #[test]
    fn an_answer_loses_its_hop_by_hop_fields_and_keeps_the_rest() {
        let mut headers = map(&[
            ("Connection", "close, X-Inner, Set-Cookie, Content-Length"),
            ("X-Inner", "1"),
            ("Set-Cookie", "a=b"),
            ("Content-Length", "3"),
            ("Keep-Alive", "5"),
            ("Upgrade", "h2c"),
            ("Transfer-Encoding", "chunked"),
            ("ETag", "x"),
        ]);
        cleanse_answer(&mut headers);
        assert_eq!(
            headers,
            map(&[
                ("set-cookie", "a=b"),
                ("content-length", "3"),
                ("etag", "x")
            ])
        );
        let mut headers = map(&[("X-Auth-User", "7"), ("etag", "x")]);
        Hygiene::default().hide_identity(&mut headers);
        assert_eq!(headers, map(&[("etag", "x")]));
    }

    #[test]
    fn no_first_byte_hides_a_field_of_one_connection() {
        for name in HOP_BY_HOP.iter().chain(&["te"]) {
            let mut headers = map(&[(name, "x"), ("etag", "x")]);
            cleanse_answer(&mut headers);
            assert_eq!(headers, map(&[("etag", "x")]), "{name}");
        }
    }

    #[test]
    fn every_identity_name_is_hidden_in_answers() {
        let hygiene = Hygiene::default();
        for name in IdentityNames::default().owned() {
            let mut headers = map(&[(name.as_str(), "7"), (name.as_str(), "8"), ("etag", "x")]);
            hygiene.hide_identity(&mut headers);
            assert_eq!(headers, map(&[("etag", "x")]), "{name}");
        }
    }

    #[test]
    fn only_harmless_trailers_pass() {
        let harmless = [
            ("grpc-status", "0"),
            ("server-timing", "x"),
            ("x-checksum", "y"),
            ("etag", "z"),
        ];
        let mut sent = harmless.to_vec();
        for name in [
            "X-Auth-User",
            "X_Auth_User",
            "x_checksum",
            "Host",
            "Cookie",
            "Set-Cookie",
            "Authorization",
            "Content-Length",
            "Transfer-Encoding",
            "Content-Type",
            "X-Forwarded-For",
            "Forwarded",
            "Connection",
            "TE",
            "Trailer",
            "X-Request-Id",
            "Access-Control-Allow-Origin",
            "If-Match",
            "Sec-Fetch-Site",
            "Content-Encoding",
            "X-HTTP-Method-Override",
            "Proxy",
            "Cache-Control",
        ] {
            sent.push((name, "x"));
        }
        let mut trailers = map(&sent);
        cleanse_trailers(&Hygiene::default(), &mut trailers);
        assert_eq!(trailers, map(&harmless));
        let mut trailers = map(&sent);
        cleanse_trailers(&keeping(), &mut trailers);
        assert_eq!(trailers, map(&harmless));
    }

    /// How WSGI servers name a header's variable (PEP 3333), and CGI any other odd byte.
    fn variable(name: &str) -> String {
        let letter = |c: char| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_uppercase()
            } else {
                '_'
            }
        };
        name.chars().map(letter).collect()
    }

    proptest! {
        #[test]
        fn after_cleansing_no_name_folds_onto_an_owned_one(
            names in proptest::collection::vec(
                "([xX][-_.!~])?([aA]uth|[fF]orwarded|[rR]emote|host|content|a)([-_.~](user|for|roles|length|b)){0,2}",
                0..12,
            ),
            connection in proptest::collection::vec("x-auth-user|x-a|host|close|,|upgrade", 0..3),
            keep: bool,
            upgrade: bool,
        ) {
            let request_id = HeaderName::from_static("x-request-id");
            let identity = IdentityNames::default();
            let hygiene = Hygiene::compile(&identity, keep, &request_id);
            let mut headers = HeaderMap::new();
            for name in &names {
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                headers.append(name, HeaderValue::from_static("forged"));
            }
            for value in &connection {
                headers.append(CONNECTION, HeaderValue::from_str(value).unwrap());
            }
            hygiene.cleanse(&mut headers, upgrade);
            for name in headers.keys() {
                let read = variable(name.as_str());
                for owned in identity.owned() {
                    prop_assert_ne!(&read, &variable(owned.as_str()));
                }
                prop_assert!(!read.starts_with("X_FORWARDED_"));
                prop_assert!(name == "content-length" || read != "CONTENT_LENGTH");
                prop_assert!(name == "host" || read != "HOST");
            }
            prop_assert_eq!(headers.contains_key(UPGRADE), upgrade);
            // Cleansing twice changes nothing.
            let once = headers.clone();
            hygiene.cleanse(&mut headers, upgrade);
            prop_assert_eq!(once, headers);
        }
    }
}
