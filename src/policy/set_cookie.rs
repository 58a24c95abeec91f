//! Repairs the attributes of the app's cookies on the way out: `cookies` of an upstream, compiled.
//!
//! Only the attributes that a repair names are touched. The name, the value and every other attribute
//! stay byte for byte and in their order; a line that cannot be read stays whole. A cookie that the
//! app deletes keeps its lifetime, so that signing out works. No repair makes a cookie that browsers
//! would refuse for its name's prefix, for `Partitioned` or for `SameSite=None`.

mod date;
mod line;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use http::header::{Entry, SET_COOKIE};
use http::{HeaderMap, HeaderValue};
use smallvec::SmallVec;

use self::line::{Attribute, Line};
use crate::clock::Timestamp;

/// What the attributes of a cookie should have been. What is `None` stays as the app set it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The one cookie it holds for, compared as browsers do, byte for byte; every cookie where `None`.
    pub name: Option<Box<str>>,
    /// Whether `Secure` is there.
    pub secure: Option<bool>,
    /// Whether `HttpOnly` is there.
    pub http_only: Option<bool>,
    /// `SameSite`: `Strict`, `Lax` or `None`.
    pub same_site: Option<&'static str>,
    /// `Max-Age` in whole seconds; `Expires` goes with the old one.
    pub max_age: Option<u64>,
    /// `Domain`; the empty one takes it off.
    pub domain: Option<Box<str>>,
}

/// Every repair of one upstream, in the order written; the first that fits a cookie's name holds.
#[derive(Clone, Debug, Default)]
pub struct Repairs(Box<[Repair]>);

/// One repair, with what it writes.
#[derive(Clone, Debug)]
struct Repair {
    name: Option<Box<str>>,
    secure: Option<bool>,
    http_only: Option<bool>,
    same_site: Option<Written>,
    max_age: Option<Written>,
    domain: Option<Written>,
}

/// An attribute's value, and the whole as it is appended to a line.
#[derive(Clone, Debug)]
struct Written {
    value: Box<str>,
    text: Box<str>,
}

impl Written {
    fn new(attribute: &str, value: &str) -> Self {
        Self {
            value: value.into(),
            text: format!("; {attribute}={value}").into(),
        }
    }
}

impl Repairs {
    /// Compiles the repairs of an upstream.
    pub fn compile(wanted: impl IntoIterator<Item = Wanted>) -> Self {
        let compile = |wanted: Wanted| Repair {
            name: wanted.name,
            secure: wanted.secure,
            http_only: wanted.http_only,
            same_site: wanted
                .same_site
                .map(|value| Written::new("SameSite", value)),
            max_age: wanted
                .max_age
                .map(|seconds| Written::new("Max-Age", &seconds.to_string())),
            domain: wanted.domain.map(|value| Written::new("Domain", &value)),
        };
        Self(wanted.into_iter().map(compile).collect())
    }

    /// Repairs every `Set-Cookie` line of an answer in place. `now` tells which lines delete.
    pub fn apply(&self, answer: &mut HeaderMap, now: Timestamp) {
        if self.0.is_empty() {
            return;
        }
        let Ok(Entry::Occupied(mut lines)) = answer.try_entry(SET_COOKIE) else {
            return;
        };
        for line in lines.iter_mut() {
            let Some(repaired) = self.repair(line.as_bytes(), now) else {
                continue;
            };
            // A domain that no header can hold leaves the line as it was.
            if let Ok(mut value) = HeaderValue::from_maybe_shared(Bytes::from(repaired)) {
                value.set_sensitive(line.is_sensitive());
                *line = value;
            }
        }
    }

    /// One line as it should have been; `None` where it stays as it is.
    #[must_use]
    pub fn repair(&self, line: &[u8], now: Timestamp) -> Option<Vec<u8>> {
        let line = Line::read(line)?;
        let fits = |repair: &&Repair| match &repair.name {
            Some(name) => name.as_bytes() == line.name,
            None => true,
        };
        let repair = self.0.iter().find(fits)?;
        repair.changes(&line, now).made_to(&line)
    }
}

/// What is taken out of a line, and what is put at its end.
#[derive(Default)]
struct Changes<'r> {
    gone: SmallVec<[Attribute; 6]>,
    added: SmallVec<[&'r str; 5]>,
}

impl Repair {
    fn changes(&self, line: &Line<'_>, now: Timestamp) -> Changes<'_> {
        let mut changes = Changes::default();
        match &self.domain {
            Some(none) if none.value.is_empty() => changes.gone.push(Attribute::Domain),
            // Browsers refuse a cookie of this name with any domain (RFC 6265bis §4.1.3.2).
            Some(wanted) if !line.is_bound_to_host() => {
                changes.set(line, Attribute::Domain, wanted);
            }
            Some(_) | None => {}
        }
        if let Some(wanted) = &self.max_age
            && !line.deletes(now)
        {
            // An `Expires` beside it would be one more truth about the same thing.
            if line.has(Attribute::Expires) {
                changes.gone.push(Attribute::Expires);
            }
            changes.set(line, Attribute::MaxAge, wanted);
        }
        let must_be = line.must_be_http_only();
        changes.flag(
            line,
            (Attribute::HttpOnly, "; HttpOnly"),
            self.http_only,
            must_be,
        );
        let none = |value: &[u8]| value.eq_ignore_ascii_case(b"None");
        let wants_none = (self.same_site.as_ref()).is_some_and(|own| none(own.value.as_bytes()));
        let has_none = self.same_site.is_none() && line.last(Attribute::SameSite).is_some_and(none);
        // `SameSite=None` is refused without `Secure`, so the one brings the other.
        let secure = if wants_none { Some(true) } else { self.secure };
        let must_be = has_none || line.must_be_secure();
        changes.flag(line, (Attribute::Secure, "; Secure"), secure, must_be);
        if let Some(wanted) = &self.same_site {
            changes.set(line, Attribute::SameSite, wanted);
        }
        changes
    }
}

impl<'r> Changes<'r> {
    /// An attribute with exactly this value, once.
    fn set(&mut self, line: &Line<'_>, attribute: Attribute, wanted: &'r Written) {
        if !line.says_only(attribute, wanted.value.as_bytes()) {
            self.gone.push(attribute);
            self.added.push(&wanted.text);
        }
    }

    /// An attribute without a value: there or not. One that must be there is not taken off.
    fn flag(
        &mut self,
        line: &Line<'_>,
        (attribute, text): (Attribute, &'static str),
        wanted: Option<bool>,
        must_be: bool,
    ) {
        match wanted {
            Some(true) if !line.has(attribute) => self.added.push(text),
            Some(false) if !must_be => self.gone.push(attribute),
            Some(true | false) | None => {}
        }
    }

    /// The line with the changes made; `None` where there is nothing to change.
    fn made_to(&self, line: &Line<'_>) -> Option<Vec<u8>> {
        if self.added.is_empty() && !self.gone.iter().any(|gone| line.has(*gone)) {
            return None;
        }
        let room = self.added.iter().map(|text| text.len()).sum::<usize>();
        let mut made = Vec::with_capacity(line.len() + room);
        made.extend_from_slice(line.pair);
        for piece in &line.pieces {
            if !self.gone.contains(&piece.attribute) {
                made.push(b';');
                made.extend_from_slice(piece.raw);
            }
        }
        for text in &self.added {
            made.extend_from_slice(text.as_bytes());
        }
        Some(made)
    }
}
