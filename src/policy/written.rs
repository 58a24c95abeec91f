//! Header fields that many requests have alike, with their lines written out once.

use std::fmt;

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue};

use crate::policy::names::length_bit;

/// Fields, and how they stand on the wire.
#[derive(Clone)]
pub struct Written {
    fields: Box<[(HeaderName, HeaderValue)]>,
    lines: Box<[u8]>,
    /// Which lengths the names have: by [`length_bit`].
    lengths: u64,
}

impl Written {
    /// Writes fields out. Those that say how a request is framed, and for which host, are never
    /// among them: whoever sends the request writes these.
    #[must_use]
    pub fn new(fields: Vec<(HeaderName, HeaderValue)>) -> Self {
        let mut fields = fields;
        fields.retain(|(name, _)| ![CONTENT_LENGTH, TRANSFER_ENCODING, HOST].contains(name));
        let (mut lines, mut lengths) = (Vec::new(), 0);
        for (name, value) in &fields {
            line(&mut lines, name.as_str().as_bytes(), value.as_bytes());
            lengths |= length_bit(name.as_str());
        }
        Self {
            fields: fields.into_boxed_slice(),
            lines: lines.into_boxed_slice(),
            lengths,
        }
    }

    /// Whether a field has this name. For most names the length alone says no.
    #[must_use]
    pub fn has(&self, name: &HeaderName) -> bool {
        self.lengths & length_bit(name.as_str()) != 0
            && self.fields.iter().any(|(have, _)| have == name)
    }

    /// The fields.
    #[must_use]
    pub fn fields(&self) -> &[(HeaderName, HeaderValue)] {
        &self.fields
    }

    /// Their lines, each with its end (RFC 9112 §5).
    #[must_use]
    pub fn lines(&self) -> &[u8] {
        &self.lines
    }
}

// A line shows what a sensitive value hides.
impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.fields).finish()
    }
}

/// Writes one header line. A `HeaderValue` holds no CR, LF or NUL.
pub fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use http::header::AUTHORIZATION;

    use super::*;

    #[test]
    fn lines_say_what_the_fields_say_and_nothing_of_the_framing() {
        let field = |name, value| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        };
        let written = Written::new(vec![
            field("x-auth-user", "7"),
            field("content-length", "5"),
            field("transfer-encoding", "chunked"),
            field("host", "other.example"),
            field("x-auth-roles", "a,b"),
        ]);
        assert_eq!(written.lines(), b"x-auth-user: 7\r\nx-auth-roles: a,b\r\n");
        let names: Vec<_> = written.fields().iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["x-auth-user", "x-auth-roles"]);
        let has = |name| written.has(&HeaderName::from_static(name));
        assert!(has("x-auth-user") && has("x-auth-roles"));
        assert!(!has("x-auth-name") && !has("x-auth-rolex") && !has("host"));
    }

    #[test]
    fn a_secret_is_not_shown() {
        let mut value = HeaderValue::from_static("Bearer secret");
        value.set_sensitive(true);
        let written = Written::new(vec![(AUTHORIZATION, value)]);
        assert!(!format!("{written:?}").contains("secret"));
        assert!(written.lines().ends_with(b"Bearer secret\r\n"));
    }
}
