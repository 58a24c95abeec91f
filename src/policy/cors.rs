//! Cross-origin rules (Fetch standard §3.2): who may read answers, and what preflights say.
//!
//! A rule owns the `Access-Control-*` headers of its routes. Everything that does not depend on the
//! request is made when the rule is compiled.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use http::header::Entry;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, CONTENT_TYPE,
    ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use smallvec::SmallVec;

use crate::policy::denial::{Code, Denial};
use crate::policy::headers::is_reserved;
use crate::policy::origin::Origins;
pub use crate::policy::origin::{OriginError, OriginPattern};

const REQUEST_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-allow-private-network");
const TRUE: HeaderValue = HeaderValue::from_static("true");

/// What `[cors.NAME]` says, each value read.
#[derive(Clone, Debug)]
pub struct CorsTerms {
    /// NAME.
    pub name: Arc<str>,
    /// At least one.
    pub origins: Vec<OriginPattern>,
    /// Whether requests may bear cookies and the like.
    pub credentials: bool,
    /// The methods allowed; the route's where `None`.
    pub methods: Option<Vec<Method>>,
    /// The request headers allowed.
    pub headers: AllowedHeaders,
    /// The answer's headers that scripts may read.
    pub expose: Vec<HeaderName>,
    /// How long a browser may remember the answer to a preflight; whole seconds count.
    pub max_age: Duration,
    /// Whether public sites may call into a private network (Private Network Access).
    pub private_network: bool,
}

/// The request headers that a rule allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedHeaders {
    /// What the preflight asks for is echoed, but for names that no client may send.
    Any,
    /// These.
    Listed(Vec<HeaderName>),
}

impl Default for AllowedHeaders {
    fn default() -> Self {
        let csrf = HeaderName::from_static("x-csrftoken");
        let requested_with = HeaderName::from_static("x-requested-with");
        Self::Listed(vec![AUTHORIZATION, CONTENT_TYPE, csrf, requested_with])
    }
}

/// Why terms make no rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CorsError {
    /// Nobody is allowed.
    #[error("`origins` is empty: name the origins that may call, or `\"*\"` for everyone")]
    NoOrigins,
    /// `*` and others.
    #[error("`origins` has `\"*\"` beside others: `\"*\"` allows them all")]
    AnyBesideOthers,
    /// Everyone with the user's cookies.
    #[error(
        "`origins = [\"*\"]` cannot go with `credentials = true`: every site could act for the \
         user; name the origins"
    )]
    AnyWithCredentials,
}

/// `[cors.NAME]`, compiled.
#[derive(Clone, Debug)]
pub struct CorsRule {
    /// NAME.
    pub name: Arc<str>,
    origins: Origins,
    credentials: bool,
    /// `None`: the route's.
    methods: Option<HeaderValue>,
    headers: HeaderGrant,
    expose: Option<HeaderValue>,
    max_age: HeaderValue,
    private_network: bool,
}

#[derive(Clone, Debug)]
enum HeaderGrant {
    Any,
    Listed(Option<HeaderValue>),
}

/// Whether a request asks what it may ask (Fetch standard §4.8).
#[must_use]
pub fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// The origin that a request names. One that names two has none (RFC 6454 §7.3).
#[must_use]
pub fn sole_origin(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut origins = headers.get_all(ORIGIN).iter();
    origins.next().filter(|_| origins.next().is_none())
}

impl CorsRule {
    /// Compiles a rule.
    ///
    /// # Errors
    ///
    /// [`CorsError`]: why its parts do not go together.
    pub fn new(terms: CorsTerms) -> Result<Self, CorsError> {
        let any = terms.origins.contains(&OriginPattern::Any);
        if terms.origins.is_empty() {
            return Err(CorsError::NoOrigins);
        }
        if any && terms.credentials {
            return Err(CorsError::AnyWithCredentials);
        }
        if any && terms.origins.len() > 1 {
            return Err(CorsError::AnyBesideOthers);
        }
        let headers = match &terms.headers {
            AllowedHeaders::Any => HeaderGrant::Any,
            AllowedHeaders::Listed(names) => HeaderGrant::Listed(list(names)),
        };
        Ok(Self {
            name: terms.name,
            origins: Origins::new(terms.origins),
            credentials: terms.credentials,
            methods: terms.methods.as_deref().and_then(list),
            headers,
            expose: list(&terms.expose),
            max_age: HeaderValue::from(terms.max_age.as_secs()),
            private_network: terms.private_network,
        })
    }

    /// The origins, as they are listed.
    #[must_use]
    pub fn origins(&self) -> &[OriginPattern] {
        self.origins.listed()
    }

    /// Whether scripts of an origin may read answers.
    #[must_use]
    pub fn allows(&self, origin: &HeaderValue) -> bool {
        self.origins.any() || self.names(origin)
    }

    /// Whether the rule names an origin, exactly or by a wildcard. `*` names none: it allows no
    /// one to act with the user's cookies.
    #[must_use]
    pub fn names(&self, origin: &HeaderValue) -> bool {
        self.origins.name(origin.as_bytes())
    }

    /// The headers of a preflight's answer. `route_methods` are those of the route that was found
    /// for the method asked for; `None` takes all.
    ///
    /// # Errors
    ///
    /// `origin_not_allowed`, with a note that names what is missing in which rule.
    pub fn preflight(
        &self,
        route_methods: Option<&[Method]>,
        headers: &HeaderMap,
    ) -> Result<HeaderMap, Denial> {
        let origin = headers.get(ORIGIN).filter(|origin| self.allows(origin));
        let Some(origin) = origin else {
            return Err(self.refusal(headers.get(ORIGIN)));
        };
        let mut answer = HeaderMap::with_capacity(8);
        self.admit(origin, &mut answer);
        let asked = headers.get(ACCESS_CONTROL_REQUEST_METHOD);
        let methods = self.methods.clone();
        let methods = methods.or_else(|| match route_methods {
            Some(methods) => list(methods),
            None => asked.cloned(),
        });
        if let Some(methods) = methods {
            answer.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
        }
        if let Some(names) = self.granted_headers(headers) {
            answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, names);
        }
        answer.insert(ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
        let private = headers.get(REQUEST_PRIVATE_NETWORK);
        if self.private_network && private == Some(&TRUE) {
            answer.insert(ALLOW_PRIVATE_NETWORK, TRUE);
        }
        let varies = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";
        answer.insert(VARY, HeaderValue::from_static(varies));
        Ok(answer)
    }

    /// Makes an answer readable for an allowed origin, and for no one else.
    ///
    /// The app's own `Access-Control-*` go; `Vary` gets `Origin` in any case. Not for the answer to
    /// a preflight, which [`CorsRule::preflight`] made whole.
    pub fn decorate(&self, origin: Option<&HeaderValue>, answer: &mut HeaderMap) {
        let theirs: SmallVec<[HeaderName; 4]> = answer
            .keys()
            .filter(|name| name.as_str().starts_with("access-control-"))
            .cloned()
            .collect();
        for name in theirs {
            answer.remove(name);
        }
        vary_by_origin(answer);
        if let Some(origin) = origin.filter(|origin| self.allows(origin)) {
            self.admit(origin, answer);
            if let Some(names) = &self.expose {
                answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, names.clone());
            }
        }
    }

    /// The refusal of an origin, in words that mend it.
    #[must_use]
    pub fn refusal(&self, origin: Option<&HeaderValue>) -> Denial {
        let told = origin.map_or_else(String::new, shown);
        let mut note = format!("add {told} to [cors.{}] origins; it has ", self.name);
        for (index, pattern) in self.origins.listed().iter().enumerate() {
            if index == SHOWN_ORIGINS {
                note.push_str(", …");
                break;
            }
            let comma = if index == 0 { "" } else { ", " };
            // Writing to a String does not fail.
            let _ = write!(note, "{comma}{pattern}");
        }
        Denial::new(
            Code::OriginNotAllowed,
            "this origin is not allowed to call here",
        )
        .note(note)
    }

    fn admit(&self, origin: &HeaderValue, answer: &mut HeaderMap) {
        if self.origins.any() {
            answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            return;
        }
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        if self.credentials {
            answer.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
        }
    }

    fn granted_headers(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        match &self.headers {
            HeaderGrant::Listed(names) => names.clone(),
            HeaderGrant::Any => {
                let lines = headers.get_all(ACCESS_CONTROL_REQUEST_HEADERS).iter();
                let names: Vec<HeaderName> = lines
                    .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
                    .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
                    .filter(|name| !is_reserved(name.as_str()))
                    .collect();
                list(&names)
            }
        }
    }
}

/// Origins that a note lists.
const SHOWN_ORIGINS: usize = 10;

/// Bytes of a client's origin that a note repeats.
const SHOWN_BYTES: usize = 200;

/// What a client sent, fit for a line of a log.
pub(super) fn shown(value: &HeaderValue) -> String {
    let start = value.as_bytes().iter().take(SHOWN_BYTES).copied();
    start
        .flat_map(std::ascii::escape_default)
        .map(char::from)
        .collect()
}

/// Names with commas between; `None` for none.
fn list<T: AsRef<str>>(names: &[T]) -> Option<HeaderValue> {
    let mut text = String::with_capacity(names.len() * 8);
    for name in names {
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(name.as_ref());
    }
    (!text.is_empty())
        .then(|| HeaderValue::try_from(text).ok())
        .flatten()
}

/// Adds `Origin` to `Vary`, unless it is there.
fn vary_by_origin(answer: &mut HeaderMap) {
    if let Entry::Vacant(place) = answer.entry(VARY) {
        place.insert(HeaderValue::from_static("Origin"));
        return;
    }
    let says = |value: &HeaderValue| {
        let mut names = value.as_bytes().split(|byte| *byte == b',');
        names.any(|name| {
            let name = name.trim_ascii();
            name == b"*" || name.eq_ignore_ascii_case(b"origin")
        })
    };
    if answer.get_all(VARY).iter().any(says) {
        return;
    }
    let mut merged = Vec::new();
    for value in answer.get_all(VARY) {
        merged.extend_from_slice(value.as_bytes());
        merged.extend_from_slice(b", ");
    }
    merged.extend_from_slice(b"Origin");
    let merged = HeaderValue::from_maybe_shared(bytes::Bytes::from(merged));
    answer.insert(
        VARY,
        merged.unwrap_or_else(|_| HeaderValue::from_static("*")),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(origins: &[&str]) -> CorsTerms {
        CorsTerms {
            name: "web".into(),
            origins: origins
                .iter()
                .map(|text| OriginPattern::parse(text).unwrap())
                .collect(),
            credentials: false,
            methods: None,
            headers: AllowedHeaders::default(),
            expose: vec![HeaderName::from_static("x-request-id")],
            max_age: Duration::from_hours(2),
            private_network: false,
        }
    }

    fn rule() -> CorsRule {
        let named = terms(&["https://tiktrue.com", "https://*.tiktrue.com"]);
        CorsRule::new(CorsTerms {
            credentials: true,
            ..named
        })
        .unwrap()
    }

    fn asking(origin: &str, method: &str, more: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let lines = [
            ("origin", origin),
            ("access-control-request-method", method),
        ];
        for (name, value) in lines.iter().chain(more) {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn origin(text: &'static str) -> HeaderValue {
        HeaderValue::from_static(text)
    }

    #[test]
    fn a_preflight_is_options_with_origin_and_the_method_asked_for() {
        let headers = asking("https://a", "PUT", &[]);
        assert!(is_preflight(&Method::OPTIONS, &headers));
        assert!(!is_preflight(&Method::GET, &headers));
        assert!(!is_preflight(&Method::POST, &headers));
        for missing in ["origin", "access-control-request-method"] {
            let mut headers = headers.clone();
            headers.remove(missing);
            assert!(!is_preflight(&Method::OPTIONS, &headers));
        }
    }

    #[test]
    fn a_preflight_of_an_allowed_origin_gets_what_the_rule_allows() {
        let headers = asking(
            "https://tiktrue.com",
            "PUT",
            &[("access-control-request-headers", "x-evil")],
        );
        let methods = [Method::GET, Method::PUT];
        let answer = rule().preflight(Some(&methods), &headers).unwrap();
        assert_eq!(answer["access-control-allow-origin"], "https://tiktrue.com");
        assert_eq!(answer["access-control-allow-credentials"], "true");
        assert_eq!(answer["access-control-allow-methods"], "GET, PUT");
        assert_eq!(
            answer["access-control-allow-headers"],
            "authorization, content-type, x-csrftoken, x-requested-with"
        );
        assert_eq!(answer["access-control-max-age"], "7200");
        assert!(answer["vary"].to_str().unwrap().starts_with("Origin"));
        assert!(!answer.contains_key("access-control-allow-private-network"));
    }

    #[test]
    fn methods_are_the_rules_before_the_routes() {
        let named = terms(&["https://a.example"]);
        let rule = CorsRule::new(CorsTerms {
            methods: Some(vec![Method::GET]),
            ..named
        })
        .unwrap();
        let headers = asking("https://a.example", "PUT", &[]);
        let answer = rule.preflight(Some(&[Method::PUT]), &headers).unwrap();
        assert_eq!(answer["access-control-allow-methods"], "GET");
        let rule = CorsRule::new(terms(&["https://a.example"])).unwrap();
        let answer = rule.preflight(None, &headers).unwrap();
        assert_eq!(answer["access-control-allow-methods"], "PUT");
    }

    #[test]
    fn a_refused_origin_is_told_what_to_add_where() {
        let headers = asking("https://www.tiktrue.org", "PUT", &[]);
        let denial = rule().preflight(None, &headers).unwrap_err();
        assert_eq!(denial.code(), Code::OriginNotAllowed);
        assert_eq!(
            denial.operator_note().unwrap(),
            "add https://www.tiktrue.org to [cors.web] origins; it has https://tiktrue.com, https://*.tiktrue.com"
        );
    }

    #[test]
    fn any_header_is_echoed_but_for_those_that_no_client_may_send() {
        let named = terms(&["https://a.example"]);
        let rule = CorsRule::new(CorsTerms {
            headers: AllowedHeaders::Any,
            ..named
        })
        .unwrap();
        let more = [(
            "access-control-request-headers",
            "X-One,x-auth-user , x-forwarded-for,, b\tad, x-two",
        )];
        let answer = rule
            .preflight(None, &asking("https://a.example", "PUT", &more))
            .unwrap();
        assert_eq!(answer["access-control-allow-headers"], "x-one, x-two");
    }

    #[test]
    fn a_private_network_is_granted_only_where_asked_for_and_allowed() {
        let more = [("access-control-request-private-network", "true")];
        let headers = asking("https://a.example", "PUT", &more);
        for allowed in [false, true] {
            let named = terms(&["https://a.example"]);
            let rule = CorsRule::new(CorsTerms {
                private_network: allowed,
                ..named
            })
            .unwrap();
            let answer = rule.preflight(None, &headers).unwrap();
            assert_eq!(
                answer.contains_key("access-control-allow-private-network"),
                allowed
            );
        }
    }

    #[test]
    fn everyone_is_told_with_a_star_and_never_with_credentials() {
        let rule = CorsRule::new(terms(&["*"])).unwrap();
        let mut answer = HeaderMap::new();
        rule.decorate(Some(&origin("https://evil.example")), &mut answer);
        assert_eq!(answer["access-control-allow-origin"], "*");
        assert!(!answer.contains_key("access-control-allow-credentials"));
        assert!(!rule.names(&origin("https://evil.example")));
        let with = CorsTerms {
            credentials: true,
            ..terms(&["*"])
        };
        assert_eq!(
            CorsRule::new(with).unwrap_err(),
            CorsError::AnyWithCredentials
        );
        assert_eq!(CorsRule::new(terms(&[])).unwrap_err(), CorsError::NoOrigins);
        assert_eq!(
            CorsRule::new(terms(&["*", "https://a.example"])).unwrap_err(),
            CorsError::AnyBesideOthers
        );
    }

    #[test]
    fn the_apps_own_headers_are_overruled_and_never_doubled() {
        for who in [
            Some(origin("https://tiktrue.com")),
            Some(origin("https://evil.com")),
            None,
        ] {
            let mut answer = HeaderMap::new();
            for value in ["*", "https://evil.com"] {
                answer.append(
                    "access-control-allow-origin",
                    HeaderValue::from_static(value),
                );
            }
            answer.insert(
                "access-control-allow-credentials",
                HeaderValue::from_static("true"),
            );
            answer.insert(
                "access-control-allow-headers",
                HeaderValue::from_static("*"),
            );
            answer.insert("access-control-max-age", HeaderValue::from_static("9"));
            answer.insert(
                "access-control-allow-private-network",
                HeaderValue::from_static("true"),
            );
            rule().decorate(who.as_ref(), &mut answer);
            let allowed: Vec<_> = answer
                .get_all("access-control-allow-origin")
                .iter()
                .collect();
            if who == Some(origin("https://tiktrue.com")) {
                assert_eq!(allowed, ["https://tiktrue.com"]);
                assert_eq!(answer["access-control-expose-headers"], "x-request-id");
                assert_eq!(answer.len(), 4);
            } else {
                assert_eq!(answer.len(), 1, "Vary alone: {answer:?}");
            }
            assert_eq!(answer["vary"], "Origin");
        }
    }

    #[test]
    fn vary_is_merged_with_the_apps_own() {
        let varied = |lines: &[&'static str]| {
            let mut answer = HeaderMap::new();
            for line in lines {
                answer.append(VARY, HeaderValue::from_static(line));
            }
            rule().decorate(None, &mut answer);
            let lines = answer
                .get_all(VARY)
                .iter()
                .map(|value| value.to_str().unwrap().to_owned());
            lines.collect::<Vec<_>>()
        };
        assert_eq!(varied(&[]), ["Origin"]);
        assert_eq!(varied(&["Accept, Cookie"]), ["Accept, Cookie, Origin"]);
        assert_eq!(varied(&["Accept", "Cookie"]), ["Accept, Cookie, Origin"]);
        assert_eq!(varied(&["Accept, origin"]), ["Accept, origin"]);
        assert_eq!(varied(&["*"]), ["*"]);
        assert_eq!(varied(&["X-Origin"]), ["X-Origin, Origin"]);
    }

    #[test]
    fn a_hostile_origin_is_escaped_in_the_note() {
        let mut headers = asking("x", "PUT", &[]);
        headers.insert(
            ORIGIN,
            HeaderValue::from_bytes(b"\x1b[31m\xff".trim_ascii_start())
                .unwrap_or_else(|_| HeaderValue::from_bytes(b"a\tb\xff").unwrap()),
        );
        let denial = rule().preflight(None, &headers).unwrap_err();
        assert!(
            denial
                .operator_note()
                .unwrap()
                .starts_with("add a\\tb\\xff to")
        );
    }
}
