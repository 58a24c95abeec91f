//! Reads one `Set-Cookie` line as a browser does (RFC 6265bis §5.6), and keeps every byte of it.

use smallvec::SmallVec;

use super::date;
use crate::clock::Timestamp;

/// What an attribute is, by its name in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attribute {
    Domain,
    Expires,
    HttpOnly,
    MaxAge,
    Partitioned,
    SameSite,
    Secure,
    /// `Path`, and whatever else there is or will be.
    Other,
}

/// One attribute of a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'a> {
    /// All that stands between two `;`.
    pub(super) raw: &'a [u8],
    pub(super) attribute: Attribute,
    value: &'a [u8],
}

/// One cookie that is set.
#[derive(Clone, Debug)]
pub(super) struct Line<'a> {
    /// All that stands before the first `;`.
    pub(super) pair: &'a [u8],
    pub(super) name: &'a [u8],
    value: &'a [u8],
    pub(super) pieces: SmallVec<[Piece<'a>; 8]>,
}

impl<'a> Line<'a> {
    /// `None` where a browser would not set the cookie, or would set one without a name.
    pub(super) fn read(line: &'a [u8]) -> Option<Self> {
        if line
            .iter()
            .any(|byte| byte.is_ascii_control() && *byte != b'\t')
        {
            return None;
        }
        let mut parts = line.split(|byte| *byte == b';');
        let pair = parts.next()?;
        let (name, value) = halves(pair);
        let (name, value) = (name, value?);
        if name.is_empty() {
            return None;
        }
        Some(Self {
            pair,
            name,
            value,
            pieces: parts.map(Piece::read).collect(),
        })
    }

    /// Bytes of the line.
    pub(super) fn len(&self) -> usize {
        let pieces = self.pieces.iter().map(|piece| piece.raw.len() + 1);
        self.pair.len() + pieces.sum::<usize>()
    }

    /// The values of an attribute, in order.
    fn values(&self, attribute: Attribute) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        let pieces = self.pieces.iter();
        pieces
            .filter(move |piece| piece.attribute == attribute)
            .map(|piece| piece.value)
    }

    pub(super) fn has(&self, attribute: Attribute) -> bool {
        self.values(attribute).next().is_some()
    }

    /// The value that holds where an attribute is there more than once.
    pub(super) fn last(&self, attribute: Attribute) -> Option<&'a [u8]> {
        self.values(attribute).next_back()
    }

    /// Whether an attribute is there once, with this value in any case.
    pub(super) fn says_only(&self, attribute: Attribute, value: &[u8]) -> bool {
        let mut values = self.values(attribute);
        let first = values.next();
        first.is_some_and(|first| first.eq_ignore_ascii_case(value)) && values.next().is_none()
    }

    /// Whether the line takes a cookie away: its lifetime is over, or it sets nothing for a time.
    pub(super) fn deletes(&self, now: Timestamp) -> bool {
        let by_age = self.values(Attribute::MaxAge).rev().find_map(is_over);
        let by_date = || {
            let mut dates = self.values(Attribute::Expires).rev();
            let date = dates.find_map(date::parse)?;
            Some(date <= now)
        };
        // `Max-Age` counts before `Expires` (RFC 6265bis §5.7).
        if by_age.or_else(by_date) == Some(true) {
            return true;
        }
        // Python's `http.cookies` writes the empty value as two quotes.
        let empty = matches!(self.value, b"" | b"\"\"");
        empty && (self.has(Attribute::MaxAge) || self.has(Attribute::Expires))
    }

    /// Whether browsers take the cookie with `Secure` alone: for its prefix (RFC 6265bis §4.1.3, in
    /// any case), or as a partitioned one.
    pub(super) fn must_be_secure(&self) -> bool {
        let prefixes = ["__Secure-", "__Host-", "__Http-"];
        prefixes.iter().any(|prefix| self.begins(prefix)) || self.has(Attribute::Partitioned)
    }

    /// Whether browsers take the cookie with `HttpOnly` alone.
    pub(super) fn must_be_http_only(&self) -> bool {
        self.begins("__Http-") || self.begins("__Host-Http-")
    }

    /// Whether browsers take the cookie without `Domain` alone.
    pub(super) fn is_bound_to_host(&self) -> bool {
        self.begins("__Host-")
    }

    fn begins(&self, prefix: &str) -> bool {
        let front = self.name.get(..prefix.len());
        front.is_some_and(|front| front.eq_ignore_ascii_case(prefix.as_bytes()))
    }
}

impl<'a> Piece<'a> {
    fn read(raw: &'a [u8]) -> Self {
        let known = [
            ("Domain", Attribute::Domain),
            ("Expires", Attribute::Expires),
            ("HttpOnly", Attribute::HttpOnly),
            ("Max-Age", Attribute::MaxAge),
            ("Partitioned", Attribute::Partitioned),
            ("SameSite", Attribute::SameSite),
            ("Secure", Attribute::Secure),
        ];
        let (name, value) = halves(raw);
        let mut known = known.into_iter();
        let attribute = known
            .find(|(text, _)| name.eq_ignore_ascii_case(text.as_bytes()))
            .map_or(Attribute::Other, |(_, attribute)| attribute);
        Self {
            raw,
            attribute,
            value: value.unwrap_or_default(),
        }
    }
}

/// What stands before the first `=` and after it, without the blanks around; no value without a `=`.
fn halves(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    let mut halves = text.splitn(2, |byte| *byte == b'=');
    let name = halves.next().unwrap_or_default().trim_ascii();
    (name, halves.next().map(<[u8]>::trim_ascii))
}

/// Whether a `Max-Age` ends the cookie at once; `None` where browsers do not read it
/// (RFC 6265bis §5.6.2).
fn is_over(text: &[u8]) -> Option<bool> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(negative || digits.iter().all(|digit| *digit == b'0'))
}
