//! The few objects of a pickle that are known: `datetime.datetime`, and the zones it is made with.

use serde_json::Value;

use crate::auth::session::pickle::Flaw;
use crate::auth::session::pickle::arena::{Arena, Id, Node};
use crate::auth::session::plain;
use crate::auth::words::quoted;

/// A class, or what was made of one.
#[derive(Clone, Debug)]
pub(super) enum Global {
    /// `datetime.datetime`.
    DateTime,
    /// `datetime.timezone`.
    TimeZone,
    /// `datetime.timedelta`.
    TimeDelta,
    /// A `datetime`, as `isoformat()` writes it.
    Moment(String),
    /// A `timezone`: seconds east of UTC.
    Offset(i32),
    /// A `timedelta` below a day, in seconds.
    Span(i32),
}

impl Global {
    /// The class of this name.
    ///
    /// # Errors
    ///
    /// Every other name, which is told, escaped and cut short.
    pub(super) fn named(module: &str, name: &str) -> Result<Self, Flaw> {
        match (module, name) {
            ("datetime", "datetime") => Ok(Self::DateTime),
            ("datetime", "timezone") => Ok(Self::TimeZone),
            ("datetime", "timedelta") => Ok(Self::TimeDelta),
            _ => Err(Flaw::Object(format!(
                "{} of module {}",
                quoted(name),
                quoted(module)
            ))),
        }
    }

    /// What a session may hold of it.
    pub(super) fn as_text(&self) -> Option<String> {
        match self {
            Self::Moment(text) => Some(text.clone()),
            Self::DateTime | Self::TimeZone | Self::TimeDelta | Self::Offset(_) | Self::Span(_) => {
                None
            }
        }
    }

    /// Its name, for people.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::DateTime | Self::Moment(_) => "datetime.datetime",
            Self::TimeZone | Self::Offset(_) => "datetime.timezone",
            Self::TimeDelta | Self::Span(_) => "datetime.timedelta",
        }
    }

    /// Makes what a class makes of its arguments.
    ///
    /// # Errors
    ///
    /// Arguments that Python would not take, or not in this form.
    pub(super) fn made(&self, arguments: &[Id], arena: &Arena<'_>) -> Result<Self, Flaw> {
        let node = |place: usize| arguments.get(place).and_then(|id| arena.get(*id));
        let number = |place: usize| match node(place) {
            Some(Node::Plain(Value::Number(number))) => number.as_i64(),
            _ => None,
        };
        let made = match (self, node(0), arguments.len()) {
            (Self::DateTime, Some(Node::Bytes(bytes)), 1) => moment(bytes, None),
            (Self::DateTime, Some(Node::Bytes(bytes)), 2) => match node(1) {
                Some(Node::Global(Self::Offset(offset))) => moment(bytes, Some(*offset)),
                _ => None,
            },
            (Self::TimeZone, Some(Node::Global(Self::Span(span))), 1 | 2) => {
                Some(Self::Offset(*span))
            }
            (Self::TimeDelta, _, 3) => match (number(0), number(1), number(2)) {
                (Some(days @ -1..=0), Some(seconds @ 0..86_400), Some(0)) => {
                    i32::try_from(days * 86_400 + seconds).ok().map(Self::Span)
                }
                _ => None,
            },
            _ => None,
        };
        made.ok_or(Flaw::Broken("a date in it cannot be read"))
    }
}

/// The ten bytes of `datetime.__reduce__`: year, month, day, hour, minute, second, microsecond;
/// the top bit of the month is `fold`.
fn moment(bytes: &[u8], offset: Option<i32>) -> Option<Global> {
    let [y1, y2, month, day, hour, minute, second, m1, m2, m3] = *bytes else {
        return None;
    };
    let micros = i32::from_be_bytes([0, m1, m2, m3]);
    let signed = |byte: u8| i8::try_from(byte).ok();
    let at = jiff::civil::DateTime::new(
        i16::from_be_bytes([y1, y2]),
        signed(month & 0x7f)?,
        signed(day)?,
        signed(hour)?,
        signed(minute)?,
        signed(second)?,
        micros.checked_mul(1_000)?,
    )
    .ok()?;
    Some(Global::Moment(plain::iso(at, offset)))
}
