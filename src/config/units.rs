//! Durations, sizes and addresses as an operator writes them: `"250ms"`, `"64KiB"`.

use std::time::Duration;

use crate::policy::limit::Unit;

/// The longest duration taken: far beyond any use, and safe to add to any time.
const LONGEST: Duration = Duration::from_hours(36_500 * 24);

/// How a duration is written.
pub(super) const DURATION: &str = "a whole number with ms, s, m, h or d, such as \"250ms\", \
                                   \"30s\", \"5m\", \"12h\" or \"31d\"";

/// How a size is written.
pub(super) const SIZE: &str =
    "a whole number with B, KiB, MiB or GiB, such as \"64KiB\", \"10MiB\" or \"2GiB\"";

/// How a rate is written.
pub(super) const RATE: &str =
    "a whole number by s, m or h, such as \"10/s\", \"600/m\" or \"1000/h\"";

/// Reads a duration; `None` when it is not one or is over a hundred years.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let duration = Duration::from_millis(number.checked_mul(millis)?);
    (duration <= LONGEST).then_some(duration)
}

/// Reads a size in bytes; `None` when it is not one or does not fit.
pub(super) fn size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let bytes = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(bytes)
}

/// Reads a rate: how many, and in what time. `None` when it is not one.
pub(super) fn rate(text: &str) -> Option<(u64, Unit)> {
    let (number, unit) = split(text)?;
    let unit = match unit {
        "/s" => Unit::Second,
        "/m" => Unit::Minute,
        "/h" => Unit::Hour,
        _ => return None,
    };
    Some((number, unit))
}

/// Splits a number from its unit; one blank may stand between.
fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|letter: char| !letter.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(end)?;
    let unit = unit.strip_prefix(' ').unwrap_or(unit);
    Some((number.parse().ok()?, unit))
}

/// Writes a duration the way it is read.
pub(super) fn told(duration: Duration) -> String {
    let millis = duration.as_millis();
    for (unit, size) in [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
    ] {
        if millis >= size && millis.is_multiple_of(size) {
            return format!("\"{}{unit}\"", millis / size);
        }
    }
    format!("\"{millis}ms\"")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_a_number_and_a_unit() {
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(duration("31d"), Some(Duration::from_hours(31 * 24)));
        assert_eq!(duration("5 m"), Some(Duration::from_mins(5)));
        for wrong in [
            "",
            "5",
            "s",
            "-5s",
            "1.5s",
            "5 sec",
            "5S",
            "99999999999999999999s",
            "9999999d",
            "５s",
        ] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn sizes_are_a_number_and_a_binary_unit() {
        assert_eq!(size("64KiB"), Some(65_536));
        assert_eq!(size("2GiB"), Some(2 << 30));
        assert_eq!(size("0B"), Some(0));
        for wrong in ["", "64", "64KB", "64k", "18446744073709551615KiB", "1e3B"] {
            assert_eq!(size(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn rates_are_a_number_by_a_unit_of_time() {
        assert_eq!(rate("10/s"), Some((10, Unit::Second)));
        assert_eq!(rate("600/m"), Some((600, Unit::Minute)));
        assert_eq!(rate("1000 /h"), Some((1000, Unit::Hour)));
        for wrong in [
            "", "10", "10/", "10/d", "10s", "/s", "-1/s", "1.5/s", "10/min", "1/s/s",
        ] {
            assert_eq!(rate(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}") {
            let _ = (duration(&text), size(&text), rate(&text));
        }

        #[test]
        fn what_is_told_reads_back(millis in 0_u64..3_000_000_000_000) {
            let written = told(Duration::from_millis(millis));
            prop_assert_eq!(duration(written.trim_matches('"')), Some(Duration::from_millis(millis)));
        }
    }
}
