//! What Python has and JSON has not, as JSON: bytes, odd floats, dates.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::civil::DateTime;
use serde_json::{Number, Value};

/// A float; what is no number (`nan`, `inf`) becomes null.
pub(crate) fn float(value: f64) -> Value {
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

/// A whole number: exact within 64 bits, else the nearest float.
#[expect(
    clippy::cast_precision_loss,
    reason = "beyond 64 bits the nearest float is what is wanted"
)]
pub(crate) fn whole(value: i128) -> Value {
    match (i64::try_from(value), u64::try_from(value)) {
        (Ok(value), _) => value.into(),
        (_, Ok(value)) => value.into(),
        _ => float(value as f64),
    }
}

/// Bytes, in base64.
pub(crate) fn bytes(value: &[u8]) -> Value {
    Value::String(STANDARD.encode(value))
}

/// A time as Python's `isoformat()` writes it; `offset` in seconds east of UTC, where it has a zone.
pub(crate) fn iso(at: DateTime, offset: Option<i32>) -> String {
    let text = at.strftime("%Y-%m-%dT%H:%M:%S").to_string();
    let fraction = match at.subsec_nanosecond() / 1_000 {
        0 => String::new(),
        micros => format!(".{micros:06}"),
    };
    let zone = offset.map_or_else(String::new, zone_of);
    format!("{text}{fraction}{zone}")
}

/// An offset in seconds as `+HH:MM`, with its seconds where it has some.
fn zone_of(offset: i32) -> String {
    let sign = if offset < 0 { '-' } else { '+' };
    let east = offset.abs();
    let (hours, minutes, seconds) = (east / 3600, east / 60 % 60, east % 60);
    match seconds {
        0 => format!("{sign}{hours:02}:{minutes:02}"),
        seconds => format!("{sign}{hours:02}:{minutes:02}:{seconds:02}"),
    }
}

/// A point in time as an aware `datetime` in UTC would write it.
pub(crate) fn iso_utc(at: jiff::Timestamp) -> String {
    iso(jiff::tz::Offset::UTC.to_datetime(at), Some(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_written_as_python_writes_it() {
        let at = jiff::civil::date(2026, 1, 2).at(3, 4, 5, 0);
        assert_eq!(iso(at, None), "2026-01-02T03:04:05");
        assert_eq!(iso(at, Some(0)), "2026-01-02T03:04:05+00:00");
        let at = jiff::civil::date(2026, 1, 2).at(3, 4, 5, 6_000);
        assert_eq!(iso(at, Some(-12_600)), "2026-01-02T03:04:05.000006-03:30");
    }

    #[test]
    fn numbers_stay_exact_within_64_bits() {
        assert_eq!(whole(i128::from(u64::MAX)), Value::from(u64::MAX));
        assert_eq!(whole(i128::from(i64::MIN)), Value::from(i64::MIN));
        assert_eq!(
            whole(1 << 80),
            Value::from(1_208_925_819_614_629_174_706_176_f64)
        );
        assert_eq!(float(f64::NAN), Value::Null);
    }
}
