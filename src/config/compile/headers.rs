//! Header names that the file may not use as it likes, and edits of headers.

use http::{HeaderName, HeaderValue};

use super::context::{Context, header_name};
use crate::config::node::quote;
use crate::config::problem::Problem;
use crate::config::raw::decode::At;
use crate::config::raw::route;
use crate::config::raw::shapes::Named;
use crate::policy::identity::IdentityNames;
use crate::policy::route::HeaderEdits;

/// Framing, routing and hop-by-hop fields (RFC 9110 §7.6.1), and those that tell where a request
/// came from: the gateway alone sets them. Compared as an app under WSGI reads names.
const RESERVED: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "proxy",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-real-ip",
];

/// Headers that an identity may not use either: the app's own credentials.
const CREDENTIALS: &[&str] = &["authorization", "cookie"];

/// A name as WSGI and CGI read it: `_`, `.` and case folded.
pub(super) fn fold(name: &HeaderName) -> String {
    name.as_str().replace(['_', '.'], "-")
}

/// Whether the gateway alone sets this header.
pub(super) fn is_reserved(name: &HeaderName) -> bool {
    RESERVED.contains(&fold(name).as_str())
}

/// Whether this header may tell the app who is calling.
pub(super) fn may_tell_identity(name: &HeaderName) -> bool {
    !is_reserved(name) && !CREDENTIALS.contains(&fold(name).as_str())
}

/// Which message's headers are edited.
#[derive(Clone, Copy)]
pub(super) enum Side<'a> {
    /// The request's: identity headers must not be set by hand.
    Request(&'a Owned),
    /// The answer's: a `cors` rule owns `Access-Control-*`.
    Answer {
        /// Whether the route has one.
        has_cors: bool,
        /// The header of the request's id.
        owned: &'a Owned,
    },
}

/// The names that the gateway fills in.
pub(super) struct Owned {
    identity: Vec<String>,
    request_id: String,
}

impl Owned {
    pub(super) fn new(names: &IdentityNames, request_id: &HeaderName) -> Self {
        Self {
            identity: names.owned().map(fold).collect(),
            request_id: fold(request_id),
        }
    }

    /// Whether a header tells the app who is calling.
    pub(super) fn tells_identity(&self, name: &HeaderName) -> bool {
        self.identity.contains(&fold(name))
    }
}

impl Side<'_> {
    /// Why this header may not be set.
    fn refuses_to_set(self, name: &HeaderName) -> Option<&'static str> {
        let folded = fold(name);
        let (owned, answer) = match self {
            Self::Request(owned) => (owned, None),
            Self::Answer { has_cors, owned } => (owned, Some(has_cors)),
        };
        if let Some(why) = self.refuses_to_remove(name) {
            return Some(why);
        }
        if is_reserved(name) || folded == owned.request_id {
            return Some("is set by the gateway alone");
        }
        match answer {
            None if owned.identity.contains(&folded) => {
                Some("tells the app who is calling, and must not be set by hand")
            }
            Some(true) if folded.starts_with("access-control-") => {
                Some("belongs to the route's `cors`")
            }
            Some(_) if folded == "x-refused-by" => Some("is set by the gateway alone"),
            None | Some(_) => None,
        }
    }

    /// Why this header may not be removed.
    fn refuses_to_remove(self, name: &HeaderName) -> Option<&'static str> {
        const FRAMING: &[&str] = &["host", "content-length", "transfer-encoding", "connection"];
        let owned = match self {
            Self::Request(owned) | Self::Answer { owned, .. } => owned,
        };
        let folded = fold(name);
        (FRAMING.contains(&folded.as_str()) || folded == owned.request_id)
            .then_some("is set by the gateway alone")
    }
}

/// `request_headers` and `response_headers`.
pub(super) fn edits(
    raw: Option<At<route::HeaderEdits>>,
    side: Side<'_>,
    cx: &mut Context<'_>,
) -> HeaderEdits {
    let Some(At { value: raw, .. }) = raw else {
        return HeaderEdits::default();
    };
    let refuses = |name: &HeaderName| side.refuses_to_set(name);
    let set = raw.set.map(|set| set.value).unwrap_or_default();
    let mut edits = HeaderEdits {
        set: values(set, refuses, cx),
        remove: Vec::new(),
    };
    for text in cx
        .strings(raw.remove)
        .map(|list| list.value)
        .unwrap_or_default()
    {
        let Some(name) = cx.header_name(&text) else {
            continue;
        };
        if let Some(why) = side.refuses_to_remove(&name) {
            cx.error(text.wrong(why));
        }
        edits.remove.push(name);
    }
    edits
}

/// A table of headers and their values.
pub(super) fn values(
    raw: Named<String>,
    refuses: impl Fn(&HeaderName) -> Option<&'static str>,
    cx: &mut Context<'_>,
) -> Vec<(HeaderName, HeaderValue)> {
    let mut list: Vec<(HeaderName, HeaderValue)> = Vec::new();
    for (name, text) in raw.0 {
        let value = cx.header_value(&text);
        let Some(name) = named(&name, &text.key, cx) else {
            continue;
        };
        if let Some(why) = refuses(&name) {
            cx.error(text.problem(why).of_the_key());
        }
        if list.iter().any(|(other, _)| *other == name) {
            cx.error(text.problem("is set twice").of_the_key());
        }
        if let Some(value) = value {
            list.push((name, value));
        }
    }
    list
}

/// A header's name that is a key of a table.
pub(super) fn named(name: &str, key: &str, cx: &mut Context<'_>) -> Option<HeaderName> {
    let header = header_name(name);
    if header.is_none() {
        let problem = Problem::new(key, "is not a header name").found(quote(name));
        cx.error(
            problem
                .allowed("letters, digits and -, such as X-Auth-User")
                .of_the_key(),
        );
    }
    header
}
