//! Every way to be turned away, as one closed list.
//!
//! A [`Code`] is an interface: it stands in the answer's body, the log, the metrics' `code` label
//! and the text of a close frame. It fixes the status; no other file picks one.
//!
//! A [`Denial`] is a code with what an honest developer may read (`detail`) and what only the
//! operator reads (`note`): never a secret, a token, or whether a user exists.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use http::{HeaderValue, StatusCode};

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $status:ident, $title:literal;)+) => {
        /// The stable name of a reason to refuse.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code {
            $($(#[$doc])* $variant,)+
        }

        impl Code {
            /// Every code there is, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The code as it stands in bodies, logs and labels.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// The status of the answer.
            #[must_use]
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)+ }
            }

            /// A short sentence, the same for every answer with this code (RFC 9457 `title`).
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)+ }
            }
        }
    };
}

codes! {
    /// None of the route's sources held a credential.
    CredentialsMissing = "credentials_missing", UNAUTHORIZED, "Sign-in is required";
    /// The token cannot be read as one.
    TokenMalformed = "token_malformed", UNAUTHORIZED, "The token is malformed";
    /// The token's algorithm is not one that is accepted here.
    TokenAlgorithm = "token_algorithm", UNAUTHORIZED, "The token's algorithm is not accepted";
    /// No key is known under the token's `kid`.
    TokenKeyUnknown = "token_key_unknown", UNAUTHORIZED, "The token's key is not known";
    /// The signature does not verify.
    TokenSignature = "token_signature", UNAUTHORIZED, "The token's signature does not verify";
    /// The token's time is over.
    TokenExpired = "token_expired", UNAUTHORIZED, "The token has expired";
    /// The token's time has not come.
    TokenNotYetValid = "token_not_yet_valid", UNAUTHORIZED, "The token is not valid yet";
    /// The token comes from another issuer.
    TokenIssuer = "token_issuer", UNAUTHORIZED, "The token comes from another issuer";
    /// The token is meant for someone else.
    TokenAudience = "token_audience", UNAUTHORIZED, "The token is meant for another audience";
    /// A claim that must have a certain value has not (a refresh token used as access).
    TokenClaim = "token_claim", UNAUTHORIZED, "The token is not of the kind wanted here";
    /// The token was revoked.
    TokenRevoked = "token_revoked", UNAUTHORIZED, "The token was revoked";
    /// The session cookie cannot be read.
    SessionMalformed = "session_malformed", UNAUTHORIZED, "The session cookie is malformed";
    /// The session's signature does not verify.
    SessionSignature = "session_signature", UNAUTHORIZED, "The session's signature does not verify";
    /// No such session is stored.
    SessionUnknown = "session_unknown", UNAUTHORIZED, "The session is not known";
    /// The session's time is over.
    SessionExpired = "session_expired", UNAUTHORIZED, "The session has expired";
    /// The user's password changed since the session began.
    SessionUserChanged = "session_user_changed", UNAUTHORIZED, "The session is no longer valid";
    /// Nobody is signed in to the session.
    SessionAnonymous = "session_anonymous", UNAUTHORIZED, "Nobody is signed in";
    /// The user is not active.
    UserInactive = "user_inactive", UNAUTHORIZED, "The account cannot be used";
    /// The user is not in the directory.
    UserUnknown = "user_unknown", UNAUTHORIZED, "The account cannot be used";
    /// The api key or password is not known.
    KeyUnknown = "key_unknown", UNAUTHORIZED, "The credential is not known";
    /// No client certificate came with the connection.
    CertificateMissing = "certificate_missing", UNAUTHORIZED, "A client certificate is required";
    /// The caller has none of the roles wanted.
    RoleMissing = "role_missing", FORBIDDEN, "A role is missing";
    /// The caller is not one of the users allowed.
    UserNotAllowed = "user_not_allowed", FORBIDDEN, "This user is not allowed here";
    /// A claim has not the value wanted.
    ClaimMismatch = "claim_mismatch", FORBIDDEN, "A claim does not fit";
    /// An unsafe request with a cookie came from another site.
    CsrfFailed = "csrf_failed", FORBIDDEN, "The request came from another site";
    /// The origin is not one that is allowed.
    OriginNotAllowed = "origin_not_allowed", FORBIDDEN, "The origin is not allowed";
    /// Too many requests.
    RateLimited = "rate_limited", TOO_MANY_REQUESTS, "Too many requests";
    /// An authenticator or a directory could not be asked.
    AuthUnavailable = "auth_unavailable", SERVICE_UNAVAILABLE, "Sign-in cannot be checked right now";
    /// The path could be read in two ways.
    AmbiguousPath = "ambiguous_path", BAD_REQUEST, "The path can be read in two ways";
    /// The request is not well formed.
    BadRequest = "bad_request", BAD_REQUEST, "The request is not well formed";
    /// No route matches.
    NoRoute = "no_route", NOT_FOUND, "Nothing is here";
    /// The route does not take this method.
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, "The method is not allowed";
    /// The host is not served on this connection.
    Misdirected = "misdirected", MISDIRECTED_REQUEST, "The host is not served on this connection";
    /// The body is larger than allowed.
    BodyTooLarge = "body_too_large", PAYLOAD_TOO_LARGE, "The body is too large";
    /// The head is larger than allowed.
    HeadersTooLarge = "headers_too_large", REQUEST_HEADER_FIELDS_TOO_LARGE, "The headers are too large";
    /// The request line is longer than allowed.
    TargetTooLong = "target_too_long", URI_TOO_LONG, "The address is too long";
    /// The request did not come in time.
    RequestTimeout = "request_timeout", REQUEST_TIMEOUT, "The request took too long";
    /// The app refused or reset the connection.
    UpstreamUnreachable = "upstream_unreachable", BAD_GATEWAY, "The app cannot be reached";
    /// The app's answer is not HTTP.
    UpstreamInvalid = "upstream_invalid", BAD_GATEWAY, "The app's answer cannot be read";
    /// The app did not answer in time.
    UpstreamTimeout = "upstream_timeout", GATEWAY_TIMEOUT, "The app did not answer in time";
    /// Every server of the app is out.
    UpstreamDown = "upstream_down", SERVICE_UNAVAILABLE, "The app is down";
    /// Every connection to the app is in use and the queue's time is over.
    UpstreamBusy = "upstream_busy", SERVICE_UNAVAILABLE, "The app is busy";
    /// The gateway is stopping.
    Draining = "draining", SERVICE_UNAVAILABLE, "The gateway is stopping";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What `WWW-Authenticate` says beside the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// `Bearer` alone: no token was sent (RFC 6750 §3).
    Bearer,
    /// `Bearer error="invalid_token"`: a token was sent and refused (RFC 6750 §3.1).
    InvalidToken,
    /// `Basic realm=…` (RFC 7617).
    Basic,
}

/// One refusal: the code, and the words for it.
#[derive(Clone, Debug)]
pub struct Denial(Box<Parts>);

#[derive(Clone, Debug)]
struct Parts {
    code: Code,
    detail: Cow<'static, str>,
    note: Option<Cow<'static, str>>,
    challenge: Option<Challenge>,
    allow: Option<HeaderValue>,
    retry_after: Option<Duration>,
    closes: bool,
}

impl Denial {
    /// A refusal with what the client may read of it.
    ///
    /// `detail` never repeats a secret, a token, or whether a user exists.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Parts {
            code,
            detail: detail.into(),
            note: None,
            challenge: None,
            allow: None,
            retry_after: None,
            closes: false,
        }))
    }

    /// Adds what only the operator reads, in the log, `explain` and `why`.
    #[must_use]
    pub fn note(mut self, note: impl Into<Cow<'static, str>>) -> Self {
        self.0.note = Some(note.into());
        self
    }

    /// Sets what `WWW-Authenticate` says.
    #[must_use]
    pub fn challenge(mut self, challenge: Challenge) -> Self {
        self.0.challenge = Some(challenge);
        self
    }

    /// Sets the `Allow` header (405).
    #[must_use]
    pub fn allow(mut self, methods: HeaderValue) -> Self {
        self.0.allow = Some(methods);
        self
    }

    /// Sets `Retry-After`.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// The connection cannot be used after this answer: what follows on it cannot be told apart.
    #[must_use]
    pub fn closing(mut self) -> Self {
        self.0.closes = true;
        self
    }

    /// The refusal among an error's causes, where a lower layer put one there.
    #[must_use]
    pub fn among_causes<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e Self> {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(denial) = error.downcast_ref::<Self>() {
                return Some(denial);
            }
            let within = error
                .downcast_ref::<std::io::Error>()
                .and_then(std::io::Error::get_ref);
            if let Some(denial) = within.and_then(|inner| inner.downcast_ref::<Self>()) {
                return Some(denial);
            }
            cause = error.source();
        }
        None
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The status that goes with the code.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.code.status()
    }

    /// What the client may read.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// What only the operator reads.
    #[must_use]
    pub fn operator_note(&self) -> Option<&str> {
        self.0.note.as_deref()
    }

    /// What `WWW-Authenticate` says.
    #[must_use]
    pub fn www_authenticate(&self) -> Option<Challenge> {
        self.0.challenge
    }

    /// The methods for `Allow`.
    #[must_use]
    pub fn allowed_methods(&self) -> Option<&HeaderValue> {
        self.0.allow.as_ref()
    }

    /// The wait for `Retry-After`.
    #[must_use]
    pub fn retry_wait(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Whether the connection must be closed after the answer.
    #[must_use]
    pub fn closes_connection(&self) -> bool {
        self.0.closes
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code, self.0.detail)
    }
}

impl std::error::Error for Denial {}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_codes_share_a_name() {
        let names: HashSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(names.len(), Code::ALL.len());
    }

    #[test]
    fn could_not_find_out_is_our_fault_and_not_a_refusal_of_the_caller() {
        assert_eq!(
            Code::AuthUnavailable.status(),
            StatusCode::SERVICE_UNAVAILABLE
        );
    }
}
