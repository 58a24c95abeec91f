//! When a session of Django's file backend ends: `contrib/sessions/backends/file.py: load`.

use std::time::Duration;

use jiff::civil::DateTime;
use serde_json::Value;

use crate::auth::ports::Expiry;
use crate::auth::session::{Data, expired, malformed};
use crate::clock::Timestamp;
use crate::policy::denial::Denial;

/// The first moment at which Django calls a session over that ends at `end`: it counts what is left
/// in whole seconds, and none left is over.
fn over_at(end: Timestamp) -> Timestamp {
    let last = end.saturating_sub(Duration::from_secs(1));
    last.saturating_add(Duration::from_micros(1))
}

/// The end of a session: by what it says itself (`_session_expiry`), else `by_age` of its file.
///
/// # Errors
///
/// `session_expired` for a negative number, `session_malformed` for what Django fails on.
pub(crate) fn expiry(data: &Data, by_age: Expiry) -> Result<Expiry, Denial> {
    let unread = || {
        Err(malformed("the session cannot be read")
            .note("its `_session_expiry` is neither a number of seconds nor a time in ISO 8601"))
    };
    let by_age = match by_age {
        Expiry::At(end) => Expiry::At(over_at(end)),
        other @ (Expiry::ByStore | Expiry::Local(_) | Expiry::Missing) => other,
    };
    match data.get("_session_expiry") {
        None | Some(Value::Null | Value::Bool(false)) => Ok(by_age),
        Some(Value::Number(age)) => match age.as_i64() {
            Some(0) => Ok(by_age),
            // Django takes the number as what is left of the session, however old the file is.
            Some(1..) => Ok(Expiry::ByStore),
            Some(_) => Err(expired("the session's time is over")),
            None => unread(),
        },
        Some(Value::String(at)) if at.is_empty() => Ok(by_age),
        Some(Value::String(at)) => match (at.parse::<jiff::Timestamp>(), at.parse::<DateTime>()) {
            (Ok(end), _) => {
                let end = Timestamp::from_unix_micros(end.as_microsecond());
                Ok(Expiry::At(over_at(end)))
            }
            (Err(_), Ok(end)) => {
                let last = end.saturating_sub(Duration::from_secs(1));
                Ok(Expiry::Local(last.saturating_add(Duration::from_micros(1))))
            }
            (Err(_), Err(_)) => unread(),
        },
        Some(Value::Bool(true) | Value::Array(_) | Value::Object(_)) => unread(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const BY_AGE: Expiry = Expiry::At(Timestamp::from_unix_seconds(1_000));

    fn read(value: Value) -> Result<Expiry, Denial> {
        let mut data = Data::new();
        data.insert("_session_expiry".to_owned(), value);
        expiry(&data, BY_AGE)
    }

    #[test]
    fn a_session_that_says_nothing_of_its_end_ends_by_its_age() {
        let last = Expiry::At(Timestamp::from_unix_micros(999_000_001));
        assert_eq!(expiry(&Data::new(), BY_AGE).unwrap(), last);
        for nothing in [json!(null), json!(0), json!("")] {
            assert_eq!(read(nothing).unwrap(), last);
        }
    }

    #[test]
    fn a_time_counts_to_the_whole_second_and_a_number_never_ends() {
        let end = read(json!("1970-01-01T01:00:00+01:00")).unwrap();
        assert_eq!(end, Expiry::At(Timestamp::from_unix_micros(-999_999)));
        let local = read(json!("2026-01-02T00:00:01")).unwrap();
        let date = jiff::civil::date(2026, 1, 2).at(0, 0, 0, 1_000);
        assert_eq!(local, Expiry::Local(date));
        assert_eq!(read(json!(60)).unwrap(), Expiry::ByStore);
    }

    #[test]
    fn what_django_fails_on_is_refused() {
        for wrong in [json!("soon"), json!(1.5), json!([]), json!(true), json!(-1)] {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
