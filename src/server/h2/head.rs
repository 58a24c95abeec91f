//! The head of an answer as HTTP/2 has it.

use std::cell::RefCell;
use std::time::{Duration, UNIX_EPOCH};

use http::header::{CONTENT_LENGTH, DATE, SEC_WEBSOCKET_ACCEPT};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use crate::clock;
use crate::policy::headers::cleanse_answer;

/// Whether an answer has no body whatever it says (RFC 9110 §6.4.1).
pub(super) fn is_bodiless(method: &Method, status: StatusCode) -> bool {
    *method == Method::HEAD
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
        || status.is_informational()
}

/// Makes the head fit for HTTP/2. `length` is the body's, where it has one and that is known.
///
/// Nothing about the connection stays (RFC 9113 §8.2.2), a date is there (RFC 9110 §6.6.1).
pub(super) fn dress(head: &mut Response<()>, length: Option<u64>) {
    let seen = Seen::of(head.headers());
    let empty = head.status() == StatusCode::NO_CONTENT;
    let headers = head.headers_mut();
    if seen.about_connection {
        cleanse_answer(headers);
    }
    if !seen.date {
        headers.insert(DATE, date());
    }
    if empty {
        if seen.length {
            headers.remove(CONTENT_LENGTH);
        }
    } else if let (Some(length), false) = (length, seen.length) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
}

/// Makes the head of an answer to a handshake fit: RFC 8441 §5 has a 200 without what HTTP/1.1 says
/// of the switch.
pub(super) fn open(head: &mut Response<()>) {
    *head.status_mut() = StatusCode::OK;
    head.headers_mut().remove(SEC_WEBSOCKET_ACCEPT);
    head.headers_mut().remove(CONTENT_LENGTH);
    dress(head, None);
}

/// What is there, by one look at each name.
#[derive(Default)]
struct Seen {
    about_connection: bool,
    date: bool,
    length: bool,
}

impl Seen {
    fn of(headers: &HeaderMap) -> Self {
        let mut seen = Self::default();
        for name in headers.keys() {
            match name.as_str() {
                "date" => seen.date = true,
                "content-length" => seen.length = true,
                "connection" | "keep-alive" | "proxy-connection" | "te" | "transfer-encoding"
                | "upgrade" => seen.about_connection = true,
                _ => {}
            }
        }
        seen
    }
}

thread_local! {
    /// The second that was last told, and its text.
    static TOLD: RefCell<Option<(i64, HeaderValue)>> = const { RefCell::new(None) };
}

/// The time now (RFC 9110 §5.6.7), written once a second.
fn date() -> HeaderValue {
    let second = clock::now().unix_seconds();
    TOLD.with_borrow_mut(|told| {
        if let Some((at, text)) = told
            && *at == second
        {
            return text.clone();
        }
        let since = Duration::from_secs(second.max(0).unsigned_abs());
        let text = httpdate::fmt_http_date(UNIX_EPOCH + since);
        let text = HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
        *told = Some((second, text.clone()));
        text
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn dressed(
        status: u16,
        lines: &[(&'static str, &'static str)],
        length: Option<u64>,
    ) -> HeaderMap {
        let mut head = Response::new(());
        *head.status_mut() = StatusCode::from_u16(status).unwrap();
        for (name, value) in lines {
            let value = HeaderValue::from_static(value);
            head.headers_mut().append(*name, value);
        }
        dress(&mut head, length);
        head.into_parts().0.headers
    }

    #[test]
    fn an_answer_without_a_date_gets_one_and_one_with_a_date_keeps_it() {
        let date = dressed(200, &[], None).remove(DATE).unwrap();
        assert!(httpdate::parse_http_date(date.to_str().unwrap()).is_ok());
        let old = "Thu, 01 Jan 1970 00:00:00 GMT";
        assert_eq!(dressed(200, &[("date", old)], None)[DATE], old);
    }

    #[test]
    fn the_length_is_told_once_and_not_for_an_answer_that_has_none() {
        assert_eq!(dressed(200, &[], Some(3))[CONTENT_LENGTH], "3");
        let head = dressed(200, &[("content-length", "77")], Some(3));
        assert_eq!(head.get_all(CONTENT_LENGTH).iter().count(), 1);
        assert_eq!(head[CONTENT_LENGTH], "77");
        assert!(
            dressed(204, &[("content-length", "0")], None)
                .get(CONTENT_LENGTH)
                .is_none()
        );
    }

    #[test]
    fn what_is_said_of_a_connection_that_closes_is_left_out() {
        let head = dressed(
            401,
            &[("connection", "close"), ("te", "x"), ("etag", "a")],
            None,
        );
        assert!(!head.contains_key("connection") && !head.contains_key("te"));
        assert_eq!(head["etag"], "a");
    }

    #[test]
    fn the_answer_to_a_handshake_says_nothing_of_a_switch() {
        let mut head = Response::new(());
        *head.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        for (name, value) in [
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-accept", "x"),
            ("sec-websocket-protocol", "chat"),
            ("sec-websocket-extensions", "permessage-deflate"),
        ] {
            let value = HeaderValue::from_static(value);
            head.headers_mut().append(name, value);
        }
        open(&mut head);
        assert_eq!(head.status(), StatusCode::OK);
        let mut names: Vec<_> = head
            .headers()
            .keys()
            .map(http::HeaderName::as_str)
            .collect();
        names.sort_unstable();
        let kept = ["date", "sec-websocket-extensions", "sec-websocket-protocol"];
        assert_eq!(names, kept);
    }

    proptest! {
        #[test]
        fn no_field_about_the_connection_stays(
            names in prop::collection::vec(
                prop::sample::select(vec![
                    "connection", "keep-alive", "proxy-connection", "te", "transfer-encoding",
                    "upgrade", "date", "content-length", "etag", "x-a",
                ]),
                0..8,
            ),
            value in "(close|keep-alive, x-a|content-length|trailers)",
        ) {
            let mut head = Response::new(());
            for name in names {
                head.headers_mut().append(name, HeaderValue::try_from(&value).unwrap());
            }
            dress(&mut head, Some(1));
            prop_assert!(!Seen::of(head.headers()).about_connection);
            prop_assert!(head.headers().contains_key(DATE));
            prop_assert!(head.headers().contains_key(CONTENT_LENGTH));
        }
    }
}
