//! `[auth.NAME]`: the authenticators, and where credentials sit.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use serde_json::Value;

use super::{DirectoryId, DjangoSession, FlaskCookie, FlaskSession, Forward, GatewaySession, Oidc};
use crate::policy::denial::Code;
use crate::secret::Secret;

/// `[auth.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Authenticator {
    /// NAME.
    pub name: Arc<str>,
    /// What it reads.
    pub kind: AuthenticatorKind,
    /// Where the user's roles and state are looked up.
    pub directory: Option<DirectoryId>,
}

impl Authenticator {
    /// Where it looks for a token or key; none for one that reads a session, a certificate or what
    /// belongs to another scheme.
    #[must_use]
    pub fn sources(&self) -> &[Source] {
        match &self.kind {
            AuthenticatorKind::Jwt(jwt) => &jwt.sources,
            AuthenticatorKind::ApiKey(keys) => &keys.sources,
            AuthenticatorKind::Basic(_)
            | AuthenticatorKind::ClientCertificate(_)
            | AuthenticatorKind::DjangoSession(_)
            | AuthenticatorKind::FlaskSession(_)
            | AuthenticatorKind::FlaskCookie(_)
            | AuthenticatorKind::GatewaySession(_)
            | AuthenticatorKind::Oidc(_)
            | AuthenticatorKind::Forward(_) => &[],
        }
    }

    /// The OpenID provider, where it is one.
    #[must_use]
    pub fn provider(&self) -> Option<&Oidc> {
        if let AuthenticatorKind::Oidc(provider) = &self.kind {
            Some(provider)
        } else {
            None
        }
    }

    /// What is said of an identity that it made when that ends.
    #[must_use]
    pub const fn expired(&self) -> Code {
        match &self.kind {
            AuthenticatorKind::DjangoSession(_)
            | AuthenticatorKind::FlaskSession(_)
            | AuthenticatorKind::FlaskCookie(_)
            | AuthenticatorKind::GatewaySession(_)
            | AuthenticatorKind::Oidc(_) => Code::SessionExpired,
            AuthenticatorKind::Jwt(_)
            | AuthenticatorKind::ApiKey(_)
            | AuthenticatorKind::Basic(_)
            | AuthenticatorKind::ClientCertificate(_)
            | AuthenticatorKind::Forward(_) => Code::TokenExpired,
        }
    }
}

/// The types of authenticators in this version.
#[derive(Clone, Debug, PartialEq)]
pub enum AuthenticatorKind {
    /// `type = "jwt"`.
    Jwt(Box<Jwt>),
    /// `type = "api-key"`.
    ApiKey(ApiKey),
    /// `type = "basic"`.
    Basic(Basic),
    /// `type = "client-certificate"`.
    ClientCertificate(ClientCertificate),
    /// `type = "django-session"`.
    DjangoSession(Box<DjangoSession>),
    /// `type = "flask-session"`.
    FlaskSession(Box<FlaskSession>),
    /// `type = "flask-cookie"`.
    FlaskCookie(Box<FlaskCookie>),
    /// `type = "forward"`.
    Forward(Box<Forward>),
    /// `type = "gateway-session"`.
    GatewaySession(GatewaySession),
    /// `type = "oidc"`.
    Oidc(Box<Oidc>),
}

impl AuthenticatorKind {
    /// How it verifies tokens: its own, or the ID tokens of its provider.
    #[must_use]
    pub fn tokens(&self) -> Option<&Jwt> {
        match self {
            Self::Jwt(jwt) => Some(jwt),
            Self::Oidc(oidc) => Some(&oidc.id_token),
            Self::ApiKey(_)
            | Self::Basic(_)
            | Self::ClientCertificate(_)
            | Self::DjangoSession(_)
            | Self::FlaskSession(_)
            | Self::FlaskCookie(_)
            | Self::GatewaySession(_)
            | Self::Forward(_) => None,
        }
    }
}

/// `type = "jwt"`, with its preset applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Jwt {
    /// Algorithms accepted; at least one.
    pub algorithms: Vec<Algorithm>,
    /// Where the keys come from.
    pub keys: KeySource,
    /// Issuers accepted; empty accepts any or none.
    pub issuer: Vec<String>,
    /// Audiences accepted; empty accepts any or none.
    pub audience: Vec<String>,
    /// For `exp` and `nbf`.
    pub leeway: Duration,
    /// Claims (dotted paths) that must equal a value; with [`Value::Null`], which no file can
    /// say, they must only be there.
    pub require: Vec<(String, Value)>,
    /// Where tokens are looked for, in order; at least one.
    pub sources: Vec<Source>,
    /// Which claims make the identity.
    pub identity: IdentityMap,
    /// Whether an unsafe request with the token in a cookie must repeat the token's `csrf` claim
    /// in `X-CSRF-TOKEN` (Flask-JWT-Extended's double submit).
    pub csrf_double_submit: bool,
    /// The claim that must equal the upper-case hex MD5 of the user's stored password, where the
    /// app sets `CHECK_REVOKE_TOKEN` (SimpleJWT's `utils.py: get_md5_hash_password`). Wants a
    /// directory of type `django`.
    pub revoke_claim: Option<String>,
    /// Whether a token may be revoked: by its `jti`, or itself where it has none.
    pub revocable: bool,
}

/// A signature algorithm of RFC 7518 or RFC 8037.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(
    missing_docs,
    reason = "the names are those of RFC 7518 §3.1 and RFC 8037 §3.1"
)]
pub enum Algorithm {
    HS256,
    HS384,
    HS512,
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

/// Where a JWT's keys come from.
#[derive(Clone, Debug, PartialEq)]
pub enum KeySource {
    /// HMAC secrets; all of them verify.
    Secrets(Vec<Secret<Vec<u8>>>),
    /// PEM public keys or certificates.
    PublicKeys(Vec<PathBuf>),
    /// A JWKS file.
    JwksFile(PathBuf),
    /// A JWKS by URL.
    JwksUrl(JwksUrl),
}

/// A JWKS by URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwksUrl {
    /// The JWKS itself, or with `discovery` the issuer's URL, whose
    /// `/.well-known/openid-configuration` names it.
    pub url: url::Url,
    /// Whether `url` is an issuer to ask for its `jwks_uri` (OpenID Connect Discovery 1.0 §4).
    pub discovery: bool,
    /// Time between two refreshes.
    pub refresh: Duration,
    /// How long the last good set serves when refreshes fail.
    pub stale: Duration,
}

/// Where one credential may sit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A header; `authorization` wants the scheme `Bearer`, others hold the bare credential.
    Header(HeaderName),
    /// A cookie.
    Cookie(Box<str>),
    /// A query parameter.
    Query(Box<str>),
    /// A query parameter of WebSocket handshakes alone.
    WebSocketQuery(Box<str>),
    /// `Sec-WebSocket-Protocol: bearer, TOKEN`.
    WebSocketProtocol,
}

/// `identity`: which claims (dotted paths) make the identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityMap {
    /// The user; must be a non-blank string or a whole number.
    pub user: String,
    /// Roles: each claim a string, a list, or (`scope`, `scp`) a space-separated string.
    pub roles: Vec<String>,
    /// E-mail address.
    pub email: Option<String>,
    /// Name to show.
    pub name: Option<String>,
}

/// `type = "api-key"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Where keys are looked for, in order.
    pub sources: Vec<Source>,
    /// The keys, the `file`'s included.
    pub keys: Vec<ApiKeyEntry>,
}

/// One known api key.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKeyEntry {
    /// SHA-256 of the key.
    pub sha256: [u8; 32],
    /// Who bears it.
    pub user: String,
    /// Their roles.
    pub roles: Vec<String>,
}

impl std::fmt::Debug for ApiKeyEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiKeyEntry")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// `type = "basic"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Basic {
    /// htpasswd file with bcrypt (`$2y$`) or argon2 (`$argon2id$`) hashes.
    pub htpasswd: PathBuf,
}

/// `type = "client-certificate"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Which name is the user.
    pub user: CertificateUser,
    /// Roles by subject: `CN=ci`, or a whole subject.
    pub roles: Vec<(String, Vec<String>)>,
}

/// Which name of a client certificate is the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateUser {
    /// The first e-mail address among the subject alternative names.
    SanEmail,
    /// The first DNS name.
    SanDns,
    /// The first URI.
    SanUri,
    /// The subject's common name.
    CommonName,
}
