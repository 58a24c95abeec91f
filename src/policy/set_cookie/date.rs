//! The date of `Expires`, read as leniently as browsers read it (RFC 6265bis §5.1.1).

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::clock::Timestamp;

/// The date; `None` where a browser would find none.
pub(super) fn parse(text: &[u8]) -> Option<Timestamp> {
    let (mut time, mut day, mut month, mut year) = (None, None, None, None);
    for token in text.split(|byte| is_delimiter(*byte)) {
        if time.is_none()
            && let Some(found) = as_time(token)
        {
            time = Some(found);
        } else if day.is_none()
            && let Some(found) = number(token, 1, 2)
        {
            day = Some(found);
        } else if month.is_none()
            && let Some(found) = as_month(token)
        {
            month = Some(found);
        } else if year.is_none()
            && let Some(found) = number(token, 2, 4)
        {
            year = Some(found);
        }
    }
    let year = match year? {
        year @ 70..=99 => year + 1900,
        year @ 0..=69 => year + 2000,
        year => year,
    };
    let ([hour, minute, second], day, month) = (time?, i8::try_from(day?).ok()?, month?);
    let date = DateTime::new(year, month, day, hour, minute, second, 0).ok();
    let date = date.filter(|date| date.year() >= 1601)?;
    let at = date.to_zoned(TimeZone::UTC).ok()?.timestamp();
    Some(Timestamp::from_unix_seconds(at.as_second()))
}

/// What may stand between two parts; `:` belongs to the time.
const fn is_delimiter(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'/' | b';'..=b'@' | b'['..=b'`' | b'{'..=b'~')
}

/// Digits in front, from `least` to `most` of them; what comes after them does not count.
fn number(token: &[u8], least: usize, most: usize) -> Option<i16> {
    let digits = token
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    if !(least..=most).contains(&digits) {
        return None;
    }
    let digits = token.get(..digits)?.iter();
    Some(digits.fold(0, |sum, digit| sum * 10 + i16::from(digit - b'0')))
}

/// `hh:mm:ss`; what comes after the seconds does not count.
fn as_time(token: &[u8]) -> Option<[i8; 3]> {
    let mut parts = token.splitn(3, |byte| *byte == b':');
    let mut whole = || {
        let part = parts.next()?;
        let all = part.iter().all(u8::is_ascii_digit);
        number(part, 1, 2).filter(|_| all)
    };
    let (hour, minute) = (whole()?, whole()?);
    let second = number(parts.next()?, 1, 2)?;
    let small = |number: i16| i8::try_from(number).ok();
    Some([small(hour)?, small(minute)?, small(second)?])
}

/// 1 to 12, by the first three letters.
fn as_month(token: &[u8]) -> Option<i8> {
    let names = [
        b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov",
        b"dec",
    ];
    let front = token.get(..3)?;
    let found = names
        .iter()
        .position(|name| front.eq_ignore_ascii_case(*name))?;
    i8::try_from(found + 1).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> Option<i64> {
        parse(text.as_bytes()).map(Timestamp::unix_seconds)
    }

    #[test]
    fn every_way_in_which_servers_write_a_date_is_read() {
        for text in [
            "Fri, 02 Jan 2026 03:04:05 GMT",
            "Fri, 02-Jan-2026 03:04:05 GMT",
            "Friday, 02-Jan-26 03:04:05 GMT",
            "Fri Jan  2 03:04:05 2026",
            "2 january 2026 3:4:5",
        ] {
            assert_eq!(seconds(text), Some(1_767_323_045), "{text}");
        }
        assert_eq!(seconds("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(seconds("Wed, 31 Dec 69 23:59:59 GMT"), Some(3_155_759_999));
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "",
            "0",
            "tomorrow",
            "Fri, 02 Jan 2026",
            "Fri, 31 Feb 2026 03:04:05 GMT",
            "Fri, 02 Jan 1600 03:04:05 GMT",
            "Fri, 02 Jan 2026 24:04:05 GMT",
            "Fri, 02 Jan 2026 03:04 GMT",
            "Fri, 02 Jan 20260 03:04:05 GMT",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}
