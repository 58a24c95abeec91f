//! Names and addresses of an app that the gateway can take over, and algorithms that it knows. Pure.

/// The algorithms of the gateway that take a secret, and those that take a public key.
pub(super) const HMAC: &[&str] = &["HS256", "HS384", "HS512"];

pub(super) const SIGNED: &[&str] = &[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
];

/// The longest leeway that the gateway takes, in seconds.
pub(super) const LEEWAY: u64 = 600;

/// A name as cookies and headers have them (RFC 9110 §5.6.2).
pub(super) fn is_token(name: &str) -> bool {
    http::HeaderName::from_bytes(name.as_bytes()).is_ok()
}

/// Whether a name is one that the gateway takes for a table: letters, digits, `_` and `$`, or `schema.table`.
pub(super) fn is_table(name: &str) -> bool {
    let parts: Vec<_> = name.split('.').collect();
    parts.len() <= 2 && name.len() <= 63 && parts.iter().all(|part| is_column(part))
}

pub(super) fn is_column(name: &str) -> bool {
    let starts = |letter: char| letter.is_ascii_alphabetic() || letter == '_';
    let goes_on = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '$');
    name.len() <= 63 && name.starts_with(starts) && name.chars().all(goes_on)
}

pub(super) fn is_web(text: &str) -> bool {
    let parsed = url::Url::parse(text).ok();
    parsed.is_some_and(|url| {
        let plain = url.username().is_empty() && url.password().is_none();
        matches!(url.scheme(), "https" | "http") && url.has_host() && plain
    })
}

/// Whether an address is one that the gateway reads, as far as can be told here.
pub(super) fn is_address(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("sqlite:///") else {
        let schemes = ["postgres", "mysql"];
        let parsed = url::Url::parse(text).ok();
        return parsed.is_some_and(|url| {
            schemes.contains(&url.scheme()) && url.has_host() && url.path().len() > 1
        });
    };
    rest.len() > 1 && rest.is_ascii() && !rest.contains(char::is_control)
}

/// Whether an address is one of Redis that the gateway reads.
pub(super) fn is_redis(text: &str) -> bool {
    let parsed = url::Url::parse(text).ok();
    parsed.is_some_and(|url| match url.scheme() {
        "redis" | "rediss" => url.has_host(),
        "redis+unix" => url.path().len() > 1,
        _ => false,
    })
}

/// A dotted path of Python, as the gateway takes them for backends.
pub(super) fn is_dotted_path(text: &str) -> bool {
    let name = |part: &str| {
        let word = |one: char| one.is_alphanumeric() || one == '_';
        !part.is_empty() && part.chars().all(word)
    };
    text.contains('.') && text.split('.').all(name)
}

/// The absolute path of a folder, without anything that a file cannot hold in quotes.
pub(super) fn is_plain_path(path: Option<&str>) -> bool {
    path.is_some_and(|path| path.starts_with('/') && !path.contains(char::is_control))
}
