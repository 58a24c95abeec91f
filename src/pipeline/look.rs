//! One look at a request's headers for what the answer and the report need to know of them.
//!
//! Most requests have few headers, and each look-up by name costs a hash; so they are gone through
//! once, before the request goes to the app with them.

use http::header::{ACCEPT, ORIGIN};
use http::{HeaderMap, HeaderValue};

use super::respond::{SEC_FETCH_MODE, prefers_page};
use crate::upstream::outbound::{TRACEPARENT, TRACESTATE};

/// What a request's headers tell beside what it is judged by.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// The origin that the request names. One that names two has none (RFC 6454 §7.3).
    pub(super) origin: Option<HeaderValue>,
    /// The trace context, where one alone is sent.
    pub(super) traceparent: Option<HeaderValue>,
    /// What vendors add to the trace context, where it is one line.
    pub(super) tracestate: Option<HeaderValue>,
    accept: Option<HeaderValue>,
    fetch_mode: Option<HeaderValue>,
    /// Bytes of all lines, about as they were on the wire.
    pub(super) bytes: usize,
}

impl Look {
    /// Goes through the headers.
    pub(super) fn at(headers: &HeaderMap) -> Self {
        let mut look = Self::default();
        let (mut origins, mut contexts) = (0_usize, 0_usize);
        for (name, value) in headers {
            look.bytes += name.as_str().len() + value.len() + 4;
            if *name == ACCEPT {
                look.accept.get_or_insert_with(|| value.clone());
            } else if *name == ORIGIN {
                origins += 1;
                look.origin = Some(value.clone());
            } else if *name == TRACEPARENT {
                contexts += 1;
                look.traceparent = Some(value.clone());
            } else if *name == TRACESTATE {
                look.tracestate = Some(value.clone());
            } else if *name == SEC_FETCH_MODE {
                look.fetch_mode.get_or_insert_with(|| value.clone());
            }
        }
        look.origin = look.origin.filter(|_| origins == 1);
        look.traceparent = look.traceparent.filter(|_| contexts == 1);
        look
    }

    /// Whether a browser is loading a page; worked out for a refusal alone.
    pub(super) fn is_page_load(&self) -> bool {
        prefers_page(self.accept.as_ref(), self.fetch_mode.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;
    use crate::pipeline::respond::is_page_load;
    use crate::policy::cors::sole_origin;

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let line = |(name, value): &(&'static str, &'static str)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        };
        let mut headers = HeaderMap::new();
        for (name, value) in lines.iter().map(line) {
            headers.append(name, value);
        }
        headers
    }

    #[test]
    fn one_look_sees_what_look_ups_by_name_see() {
        for lines in [
            &[][..],
            &[("origin", "https://a.example")],
            &[("origin", "https://a.example"), ("origin", "null")],
            &[("accept", "text/html"), ("accept", "application/json")],
            &[("accept", "application/json"), ("accept", "text/html")],
            &[("accept", "text/html"), ("sec-fetch-mode", "cors")],
            &[("accept", "*/*"), ("sec-fetch-mode", "navigate")],
            &[("sec-fetch-mode", "navigate")],
        ] {
            let headers = map(lines);
            let look = Look::at(&headers);
            assert_eq!(look.origin.as_ref(), sole_origin(&headers), "{lines:?}");
            assert_eq!(look.is_page_load(), is_page_load(&headers), "{lines:?}");
        }
    }

    #[test]
    fn of_two_trace_contexts_none_is_taken() {
        let one = map(&[("traceparent", "00-a")]);
        assert_eq!(Look::at(&one).traceparent.unwrap(), "00-a");
        let two = map(&[("traceparent", "00-a"), ("traceparent", "00-b")]);
        assert_eq!(Look::at(&two).traceparent, None);
    }

    #[test]
    fn every_line_counts_as_it_was_on_the_wire() {
        let headers = map(&[("a", "1"), ("a", "2"), ("host", "x")]);
        assert_eq!(Look::at(&headers).bytes, 6 + 6 + 9);
    }
}
