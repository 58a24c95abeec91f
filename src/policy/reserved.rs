//! Header names with a meaning that no client may give them.
//!
//! Lists only. Names are lower case and in the spelling with `-`; [`crate::policy::headers`] folds
//! what a client sent before it looks here.

/// Fields for one connection alone (RFC 9110 §7.6.1), and those that older servers treat so.
/// `te` is not among them: `TE: trailers` may go on.
pub(super) const HOP_BY_HOP: &[&str] = &[
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
];

/// Names that some server, framework or earlier proxy believes: who the client is, who the user
/// is, what the path or the method "really" was.
pub(super) const BELIEVED: &[&str] = &[
    // Where the request comes from.
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "client-ip",
    "fastly-client-ip",
    "forwarded",
    "forwarded-for",
    "front-end-https",
    "https",
    "true-client-ip",
    "x-arr-ssl",
    "x-azure-clientip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-forwarded",
    "x-host",
    "x-original-forwarded-for",
    "x-original-host",
    "x-originating-ip",
    "x-real-ip",
    "x-scheme",
    "x-true-client-ip",
    "x-url-scheme",
    // What it asks for.
    "path-info",
    "script-name",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-middleware-subrequest",
    "x-original-method",
    "x-original-uri",
    "x-original-url",
    "x-rewrite-uri",
    "x-rewrite-url",
    "x-script-name",
    // What CGI and Rack do with it: httpoxy (CVE-2016-5385), file senders.
    "proxy",
    "x-accel-mapping",
    "x-accel-redirect",
    "x-sendfile-type",
];

/// Beginnings of such names, those that begin with `x`.
pub(super) const BELIEVED_X: &[&str] = &[
    "x-amzn-oidc-",
    "x-auth-",
    "x-authenticated-",
    "x-authentik-",
    "x-client-cert",
    "x-client-verify",
    "x-forwarded-",
    "x-goog-authenticated-",
    "x-goog-iap-",
    "x-ms-client-principal",
    "x-pomerium-",
    "x-remote-",
    "x-ssl-",
    "x-vouch-",
    "x-webauth-",
];

/// Beginnings of such names, the others.
pub(super) const BELIEVED_OTHER: &[&str] = &["cf-access-", "remote-", "ssl-client-", "tailscale-"];

/// What the gateway judged by, or the app frames by. `Connection` cannot take these away, and no
/// other spelling of them passes.
pub(super) const JUDGED_BY: &[&str] = &[
    "access-control-request-headers",
    "access-control-request-method",
    "authorization",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "host",
    "origin",
    "range",
    "referer",
    "sec-fetch-dest",
    "sec-fetch-mode",
    "sec-fetch-site",
    "sec-websocket-key",
    "sec-websocket-protocol",
    "sec-websocket-version",
    "te",
    "traceparent",
    "trailer",
    "x-csrf-token",
    "x-csrftoken",
];

/// Fields of an answer that `Connection` cannot take away.
pub(super) const ANSWERED_BY: &[&str] = &[
    "cache-control",
    "content-encoding",
    "content-length",
    "content-type",
    "location",
    "set-cookie",
    "vary",
    "www-authenticate",
];

/// Fields that mean nothing good behind a body (RFC 9110 §6.5.1): framing, routing, authentication,
/// modifiers, and what a body was processed by.
pub(super) const NEVER_TRAILING: &[&str] = &[
    "accept",
    "accept-encoding",
    "accept-ranges",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "cookie",
    "date",
    "expect",
    "expires",
    "host",
    "location",
    "max-forwards",
    "origin",
    "pragma",
    "range",
    "referer",
    "refresh",
    "retry-after",
    "server",
    "set-cookie",
    "strict-transport-security",
    "te",
    "trailer",
    "vary",
    "warning",
    "www-authenticate",
    "x-csrf-token",
    "x-csrftoken",
];

/// Beginnings of such fields.
pub(super) const NEVER_TRAILING_PREFIXES: &[&str] = &[
    "access-control-",
    "content-",
    "cross-origin-",
    "if-",
    "proxy-",
    "sec-",
];
