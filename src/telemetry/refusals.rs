//! The last refusals, by request id: for `why` and the admin address. Bounded in number and bytes.

use std::collections::VecDeque;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::telemetry::completed::Completed;
use crate::telemetry::trace::Trace;

/// How many refusals are remembered.
const MAX_ENTRIES: usize = 1024;

/// How many bytes of memory all of them together may take.
const MAX_BYTES: usize = 1 << 20;

/// How many bytes of a path, host or user are remembered.
const MAX_TEXT: usize = 512;

/// One request that was refused, or would have been.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The request's id.
    pub request_id: Box<str>,
    /// When it came.
    #[serde(with = "time", rename = "time")]
    pub at: Timestamp,
    /// Who the client was.
    pub client: IpAddr,
    /// Method.
    pub method: Box<str>,
    /// Host, empty where there was none.
    pub host: Box<str>,
    /// Path without the query.
    pub path: Box<str>,
    /// The route's label, where one was found.
    #[serde(with = "label")]
    pub route: Option<Arc<str>>,
    /// Status of the answer, or of the refusal that a close frame told.
    pub status: u16,
    /// The number of the close frame that told the refusal of a WebSocket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub close: Option<u16>,
    /// Code of the refusal.
    pub code: Box<str>,
    /// What the client was told.
    pub detail: Box<str>,
    /// What only the operator is told.
    pub note: Option<Box<str>>,
    /// The user, where one was known.
    pub user: Option<Box<str>>,
    /// Whether the route only observes, and the request passed.
    pub observed: bool,
    /// How the decision came about.
    #[serde(flatten)]
    pub trace: Trace,
}

impl Refusal {
    /// The refusal of a request, if it was refused or would have been.
    pub(super) fn of(
        completed: &Completed<'_>,
        route: Option<&Arc<str>>,
        trace: Option<Trace>,
    ) -> Option<Self> {
        let denial = completed.objection()?;
        Some(Self {
            request_id: cut(completed.request_id),
            at: completed.at,
            client: completed.client,
            method: cut(completed.method.as_str()),
            host: cut(completed.host),
            path: cut(completed.path),
            route: route.map(Arc::clone),
            status: completed.status.as_u16(),
            close: completed.close,
            code: denial.code().as_str().into(),
            detail: denial.detail().into(),
            note: denial.operator_note().map(Into::into),
            user: completed.user.map(cut),
            observed: completed.denial.is_none(),
            trace: trace.unwrap_or_default(),
        })
    }

    /// Bytes of memory that it takes, about.
    fn weight(&self) -> usize {
        let texts = [
            self.request_id.len(),
            self.method.len(),
            self.host.len(),
            self.path.len(),
            self.code.len(),
            self.detail.len(),
            self.note.as_ref().map_or(0, |text| text.len()),
            self.user.as_ref().map_or(0, |text| text.len()),
        ];
        size_of::<Self>() + texts.iter().sum::<usize>() + self.trace.weight()
    }
}

/// What `why` prints.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |text: &str| text.escape_debug().to_string();
        let verb = if self.observed {
            "would have been refused (its route only observes)"
        } else {
            "was refused"
        };
        writeln!(
            f,
            "{} {}{} {verb}: {} {}",
            self.method,
            shown(&self.host),
            shown(&self.path),
            self.code.as_ref(),
            match self.close {
                _ if self.observed => String::new(),
                Some(number) => format!("({}, as close code {number})", self.status),
                None => format!("({})", self.status),
            },
        )?;
        writeln!(
            f,
            "request {}, at {}, from {}",
            shown(&self.request_id),
            self.at,
            self.client
        )?;
        if let Some(route) = &self.route {
            writeln!(f, "route   {route}")?;
        }
        if let Some(user) = &self.user {
            writeln!(f, "user    {}", shown(user))?;
        }
        writeln!(f, "said    {}", shown(&self.detail))?;
        if let Some(note) = &self.note {
            writeln!(f, "note    {}", shown(note))?;
        }
        if !self.trace.steps.is_empty() {
            write!(f, "\n{}", self.trace)?;
        }
        Ok(())
    }
}

fn cut(text: &str) -> Box<str> {
    if text.len() <= MAX_TEXT {
        return text.into();
    }
    let end = text.floor_char_boundary(MAX_TEXT);
    format!("{}…", text.get(..end).unwrap_or_default()).into()
}

/// A point in time as RFC 3339 text.
mod time {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::clock::Timestamp;

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde passes fields by reference"
    )]
    pub(super) fn serialize<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(at)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(from)?;
        let at: jiff::Timestamp = text.parse().map_err(Error::custom)?;
        Ok(Timestamp::from_unix_micros(at.as_microsecond()))
    }
}

/// Shared text that may be missing.
mod label {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(clippy::ref_option, reason = "serde passes fields by reference")]
    pub(super) fn serialize<S: Serializer>(
        label: &Option<Arc<str>>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        label.as_deref().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Arc<str>>, D::Error> {
        Ok(Option::<String>::deserialize(from)?.map(Into::into))
    }
}

/// The last refusals.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<Ring>);

#[derive(Debug, Default)]
struct Ring {
    entries: VecDeque<Arc<Refusal>>,
    bytes: usize,
}

impl Refusals {
    /// Remembers one, and forgets the oldest where there are too many.
    pub(super) fn push(&self, refusal: Refusal) {
        let refusal = Arc::new(refusal);
        let mut forgotten = None;
        let mut ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ring.bytes += refusal.weight();
        ring.entries.push_back(refusal);
        while ring.entries.len() > MAX_ENTRIES || ring.bytes > MAX_BYTES {
            let Some(oldest) = ring.entries.pop_front() else {
                break;
            };
            ring.bytes = ring.bytes.saturating_sub(oldest.weight());
            forgotten = Some(oldest);
        }
        drop(ring);
        // What is forgotten is freed outside the lock, as a rule one for each that comes.
        drop(forgotten);
    }

    /// The last refusal of this request id.
    #[must_use]
    pub fn find(&self, request_id: &str) -> Option<Arc<Refusal>> {
        let ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut newest_first = ring.entries.iter().rev();
        newest_first
            .find(|entry| &*entry.request_id == request_id)
            .cloned()
    }

    /// At most so many, the newest first.
    #[must_use]
    pub fn latest(&self, at_most: usize) -> Vec<Arc<Refusal>> {
        let ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ring.entries.iter().rev().take(at_most).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::denial::{Code, Denial};
    use crate::telemetry::testing::completed;

    fn refusal(request_id: &str, path: &str) -> Refusal {
        let denial = Denial::new(Code::RoleMissing, "no role").note("wanted: staff");
        let mut trace = Trace::default();
        trace.passed("route", "/api/{*rest}");
        trace.refused("roles", "wanted one of: staff; user 42 has: host");
        let request = Completed {
            request_id,
            path,
            status: denial.status(),
            denial: Some(&denial),
            ..completed()
        };
        Refusal::of(&request, Some(&"/api/{*rest}".into()), Some(trace)).unwrap()
    }

    #[test]
    fn a_request_that_was_not_refused_is_not_remembered() {
        assert_eq!(Refusal::of(&completed(), None, None), None);
    }

    #[test]
    fn the_last_refusal_of_an_id_is_found() {
        let ring = Refusals::default();
        for path in ["/a", "/b"] {
            ring.push(refusal("same", path));
        }
        ring.push(refusal("other", "/c"));
        assert_eq!(&*ring.find("same").unwrap().path, "/b");
        assert_eq!(ring.find("unknown"), None);
        let latest: Vec<_> = ring
            .latest(2)
            .iter()
            .map(|entry| entry.path.to_string())
            .collect();
        assert_eq!(latest, ["/c", "/b"]);
    }

    #[test]
    fn a_flood_of_refusals_stays_within_its_bounds() {
        let ring = Refusals::default();
        let long = "/x".repeat(4000);
        for number in 0..5000 {
            let path = if number % 2 == 0 { "/a" } else { &long };
            ring.push(refusal(&number.to_string(), path));
        }
        let inner = ring.0.lock().unwrap();
        assert!(inner.entries.len() <= MAX_ENTRIES && inner.entries.len() > 100);
        assert!(inner.bytes <= MAX_BYTES);
        let weights: usize = inner.entries.iter().map(|entry| entry.weight()).sum();
        assert_eq!(inner.bytes, weights);
        drop(inner);
        assert!(ring.find("4999").is_some() && ring.find("0").is_none());
    }

    #[test]
    fn a_refusal_survives_json_and_reads_as_text() {
        let told = refusal("id", "/api/things\u{1b}[2J");
        let json = serde_json::to_string(&told).unwrap();
        let read: Refusal = serde_json::from_str(&json).unwrap();
        // Fractions of a second are not told.
        let at = Timestamp::from_unix_seconds(told.at.unix_seconds());
        assert_eq!(read, Refusal { at, ..told });
        let text = read.to_string();
        for words in [
            "role_missing (403)",
            "wanted: staff",
            "no  roles  wanted one of",
            "user    42",
        ] {
            assert!(text.contains(words), "{words} is missing in\n{text}");
        }
        assert!(!text.contains('\u{1b}'));
    }
}
