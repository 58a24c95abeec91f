//! One value of a row, and what can be made of it.

use jiff::civil::DateTime;
use serde_json::Value;

use crate::auth::ports::Expiry;
use crate::clock::Timestamp;

/// A value as the database gave it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Null,
    Bool(bool),
    Whole(i64),
    Real(f64),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Option<String>>),
    Json(Value),
    /// A point in time, in microseconds since 1970 (UTC).
    Moment(i64),
    /// A date and time of a zone that the database does not know.
    Civil(DateTime),
}

/// PostgreSQL counts microseconds from 2000-01-01 (UTC).
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

impl Cell {
    /// Text, or bytes that are text.
    pub(super) fn from_bytes(bytes: Vec<u8>) -> Self {
        String::from_utf8(bytes).map_or_else(|error| Self::Bytes(error.into_bytes()), Self::Text)
    }

    /// A point in time as PostgreSQL counts; `infinity` is the end of time.
    pub(super) const fn from_postgres_moment(micros: i64) -> Self {
        Self::Moment(micros.saturating_add(POSTGRES_EPOCH))
    }

    /// A date and time without a zone as PostgreSQL counts.
    pub(super) fn from_postgres_civil(micros: i64) -> Self {
        let micros = micros.saturating_add(POSTGRES_EPOCH);
        let utc = jiff::Timestamp::from_microsecond(micros);
        let ends = if micros < 0 {
            DateTime::MIN
        } else {
            DateTime::MAX
        };
        Self::Civil(utc.map_or(ends, |at| at.to_zoned(jiff::tz::TimeZone::UTC).datetime()))
    }

    /// Bytes that are held.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
            Self::List(list) => list.iter().flatten().map(String::len).sum(),
            Self::Json(value) => value.to_string().len(),
            Self::Null
            | Self::Bool(_)
            | Self::Whole(_)
            | Self::Real(_)
            | Self::Moment(_)
            | Self::Civil(_) => 8,
        }
    }

    /// As text: `None` where it is empty, `NULL`, or nothing that is told in a word.
    pub(super) fn text(&self) -> Option<String> {
        let text = match self {
            Self::Text(text) | Self::Json(Value::String(text)) => text.clone(),
            Self::Whole(number) => number.to_string(),
            Self::Real(number) => number.to_string(),
            Self::Bool(flag) => flag.to_string(),
            Self::Json(Value::Number(number)) => number.to_string(),
            Self::Moment(_) | Self::Civil(_) => self.claim()?.as_str()?.to_owned(),
            Self::Null | Self::Bytes(_) | Self::List(_) | Self::Json(_) => return None,
        };
        (!text.is_empty()).then_some(text)
    }

    /// As yes or no; `NULL` is no. `None` where it is neither.
    pub(super) fn flag(&self) -> Option<bool> {
        match self {
            Self::Null => Some(false),
            Self::Bool(flag) | Self::Json(Value::Bool(flag)) => Some(*flag),
            Self::Whole(number) => Some(*number != 0),
            Self::Text(text) => match text.to_ascii_lowercase().as_str() {
                "1" | "t" | "true" | "y" | "yes" => Some(true),
                "" | "0" | "f" | "false" | "n" | "no" => Some(false),
                _ => None,
            },
            // MySQL's `bit(1)` where it comes as bytes.
            Self::Bytes(bytes) => match bytes.as_slice() {
                [0] => Some(false),
                [1] => Some(true),
                _ => None,
            },
            Self::Real(_) | Self::List(_) | Self::Json(_) | Self::Moment(_) | Self::Civil(_) => {
                None
            }
        }
    }

    /// As a list of roles: the elements of an array or of a JSON array, else text between commas.
    pub(super) fn roles(&self) -> Vec<String> {
        let trimmed = |text: &str| {
            let text = text.trim();
            (!text.is_empty()).then(|| text.to_owned())
        };
        match self {
            Self::List(list) => (list.iter().flatten())
                .filter_map(|text| trimmed(text))
                .collect(),
            Self::Json(Value::Array(list)) => list.iter().filter_map(word).collect(),
            Self::Text(text) if text.trim_start().starts_with('[') => {
                match serde_json::from_str::<Vec<Value>>(text) {
                    Ok(list) => list.iter().filter_map(word).collect(),
                    Err(_) => text.split(',').filter_map(trimmed).collect(),
                }
            }
            Self::Null
            | Self::Bool(_)
            | Self::Whole(_)
            | Self::Real(_)
            | Self::Text(_)
            | Self::Bytes(_)
            | Self::Json(_)
            | Self::Moment(_)
            | Self::Civil(_) => {
                let text = self.text().unwrap_or_default();
                text.split(',').filter_map(trimmed).collect()
            }
        }
    }

    /// As a claim; bytes are none.
    pub(super) fn claim(&self) -> Option<Value> {
        Some(match self {
            Self::Null | Self::Bytes(_) => return None,
            Self::Bool(flag) => Value::Bool(*flag),
            Self::Whole(number) => Value::from(*number),
            Self::Real(number) => Value::from(*number),
            Self::Text(text) => Value::String(text.clone()),
            Self::List(list) => list.iter().flatten().cloned().map(Value::String).collect(),
            Self::Json(value) => value.clone(),
            Self::Moment(micros) => {
                Value::String(jiff::Timestamp::from_microsecond(*micros).ok()?.to_string())
            }
            Self::Civil(at) => Value::String(at.to_string()),
        })
    }

    /// As the end of a session; `None` where it is no time.
    pub(super) fn expiry(&self) -> Option<Expiry> {
        match self {
            Self::Null => Some(Expiry::Missing),
            Self::Moment(micros) => Some(Expiry::At(Timestamp::from_unix_micros(*micros))),
            Self::Civil(at) => Some(Expiry::Local(*at)),
            Self::Text(text) => civil(text).map(Expiry::Local),
            Self::Bool(_)
            | Self::Whole(_)
            | Self::Real(_)
            | Self::Bytes(_)
            | Self::List(_)
            | Self::Json(_) => None,
        }
    }
}

/// A role as an element of a JSON array.
fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// `YYYY-MM-DD HH:MM:SS`, and up to six digits of a second after a point: what Django and
/// `SQLAlchemy` write into SQLite, and what MySQL casts to. Nothing else: a zone that stood behind
/// it would be lost.
pub(super) fn civil(text: &str) -> Option<DateTime> {
    let bytes = text.as_bytes();
    let (date, fraction) = bytes.split_at_checked(19)?;
    let shape = b"dddd-dd-dd dd:dd:dd";
    let fits = |(byte, wanted): (&u8, &u8)| match wanted {
        b'd' => byte.is_ascii_digit(),
        other => byte == other,
    };
    if !date.iter().zip(shape).all(fits) {
        return None;
    }
    match fraction {
        [] => {}
        [b'.', digits @ ..] if (1..=6).contains(&digits.len()) => {
            if !digits.iter().all(u8::is_ascii_digit) {
                return None;
            }
        }
        _ => return None,
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn text(text: &str) -> Cell {
        Cell::Text(text.to_owned())
    }

    #[test]
    fn a_local_time_is_read_with_and_without_a_fraction_and_in_no_other_form() {
        let at = date(2026, 2, 1).at(3, 4, 5, 0);
        assert_eq!(civil("2026-02-01 03:04:05"), Some(at));
        assert_eq!(civil("2026-02-01 03:04:05.000000"), Some(at));
        assert_eq!(
            civil("2026-02-01 03:04:05.25"),
            Some(date(2026, 2, 1).at(3, 4, 5, 250_000_000))
        );
        for other in [
            "",
            "2026-02-01",
            "2026-02-01T03:04:05",
            "2026-02-01 03:04:05Z",
            "2026-02-01 03:04:05+02:00",
            "2026-02-01 03:04:05.",
            "2026-02-01 03:04:05.0000001",
            "2026-02-30 03:04:05",
            "0000-00-00 00:00:00",
            "1767323045",
        ] {
            assert_eq!(civil(other), None, "{other:?}");
        }
    }

    #[test]
    fn postgresql_times_keep_their_microseconds_and_infinity_is_the_end() {
        assert_eq!(
            Cell::from_postgres_moment(1),
            Cell::Moment(946_684_800_000_001)
        );
        assert_eq!(
            Cell::from_postgres_civil(1),
            Cell::Civil(date(2000, 1, 1).at(0, 0, 0, 1000))
        );
        assert_eq!(Cell::from_postgres_moment(i64::MAX), Cell::Moment(i64::MAX));
        assert_eq!(
            Cell::from_postgres_civil(i64::MAX),
            Cell::Civil(DateTime::MAX)
        );
        assert_eq!(
            Cell::from_postgres_civil(i64::MIN),
            Cell::Civil(DateTime::MIN)
        );
    }

    #[test]
    fn roles_are_read_from_commas_arrays_and_json() {
        let both = ["admin", "ops team"];
        assert_eq!(text(" admin,, ops team ").roles(), both);
        assert_eq!(text(r#"["admin", "ops team", null, ""]"#).roles(), both);
        assert_eq!(Cell::Json(json!(["admin", "ops team"])).roles(), both);
        let list = vec![Some("admin".to_owned()), None, Some("ops team".to_owned())];
        assert_eq!(Cell::List(list).roles(), both);
        assert_eq!(Cell::Whole(3).roles(), ["3"]);
        assert!(Cell::Null.roles().is_empty());
        assert_eq!(text("[broken").roles(), ["[broken"]);
    }

    #[test]
    fn a_flag_is_yes_no_or_unreadable() {
        assert_eq!(Cell::Whole(1).flag(), Some(true));
        assert_eq!(Cell::Bool(false).flag(), Some(false));
        assert_eq!(text("True").flag(), Some(true));
        assert_eq!(Cell::Null.flag(), Some(false));
        assert_eq!(text("maybe").flag(), None);
    }

    #[test]
    fn numbers_are_no_end_of_a_session() {
        assert_eq!(Cell::Whole(1_767_323_045).expiry(), None);
        assert_eq!(Cell::Null.expiry(), Some(Expiry::Missing));
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_readers(any in ".{0,60}") {
            let cell = text(&any);
            let _ = (cell.expiry(), cell.roles(), cell.flag(), cell.claim());
        }

        #[test]
        fn every_local_time_is_read_as_it_is_written(
            year in 1i16..=9999, month in 1i8..=12, day in 1i8..=28,
            hour in 0i8..24, minute in 0i8..60, second in 0i8..60, micros in 0i32..1_000_000,
        ) {
            let written = format!(
                "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06}"
            );
            let at = date(year, month, day).at(hour, minute, second, micros * 1000);
            prop_assert_eq!(civil(&written), Some(at));
        }
    }
}
