//! The place of a request in a trace, as `traceparent` tells it (W3C Trace Context §3.2).

use bytes::Bytes;
use http::HeaderValue;

/// The bit of the flags that says that the trace is recorded.
const SAMPLED: u8 = 1;

/// A trace, a span of it, and the flags. Neither id is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// Id of the trace.
    pub trace: u128,
    /// Id of the span that whoever gets this is a child of.
    pub span: u64,
    /// The flags as they came, or were begun with.
    pub flags: u8,
}

impl TraceContext {
    /// A new trace, unsampled. Ids need to differ, not to be secret: a fast generator will do.
    #[must_use]
    pub fn begin() -> Self {
        Self {
            // Neither may be all zeros: the lowest bits are set.
            trace: fastrand::u128(..) | 1,
            span: new_span(),
            flags: 0,
        }
    }

    /// Reads a `traceparent`; `None` where it is not valid, and a new trace is to begin.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let mut parts = text.split('-');
        let [version, trace, span, flags] = [2, 32, 16, 2].map(|length| {
            let part = parts.next().filter(|part| part.len() == length);
            part.filter(|part| part.bytes().all(is_hex))
        });
        if version? != "00" || parts.next().is_some() {
            return None;
        }
        let trace = u128::from_str_radix(trace?, 16).ok()?;
        let span = u64::from_str_radix(span?, 16).ok()?;
        let flags = u8::from_str_radix(flags?, 16).ok()?;
        (trace != 0 && span != 0).then_some(Self { trace, span, flags })
    }

    /// Whether the trace is recorded.
    #[must_use]
    pub const fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The same, recorded.
    #[must_use]
    pub const fn sampled(mut self) -> Self {
        self.flags |= SAMPLED;
        self
    }

    /// As a header.
    #[must_use]
    pub fn header(self) -> HeaderValue {
        let (mut trace, mut span) = (uuid::Uuid::encode_buffer(), uuid::Uuid::encode_buffer());
        let trace = uuid::Uuid::from_u128(self.trace)
            .simple()
            .encode_lower(&mut trace);
        let span = uuid::Uuid::from_u128(u128::from(self.span))
            .simple()
            .encode_lower(&mut span);
        let span = span.get(16..).unwrap_or_default();
        let flags = [digit(self.flags >> 4), digit(self.flags & 15)];
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        let parts = [
            (3..35, trace.as_bytes()),
            (36..52, span.as_bytes()),
            (53..55, &flags),
        ];
        for (place, part) in parts {
            if let Some(place) = text
                .get_mut(place)
                .filter(|place| place.len() == part.len())
            {
                place.copy_from_slice(part);
            }
        }
        let text = Bytes::from_owner(text);
        HeaderValue::from_maybe_shared(text).unwrap_or(HeaderValue::from_static("-"))
    }
}

/// An id for a span.
pub(super) fn new_span() -> u64 {
    fastrand::u64(..) | 1
}

const fn is_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

const fn digit(value: u8) -> u8 {
    if value < 10 {
        b'0' + value
    } else {
        b'a' + value - 10
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_is_read_is_written_alike() {
        let context = TraceContext::parse(SENT.as_bytes()).unwrap();
        assert_eq!(context.trace, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
        assert_eq!(context.span, 0xb7ad_6b71_6920_3331);
        assert!(context.is_sampled());
        assert_eq!(context.header(), SENT);
    }

    #[test]
    fn what_is_not_valid_is_not_read() {
        for text in [
            "",
            "-",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 ",
        ] {
            assert_eq!(TraceContext::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_new_trace_is_unsampled_until_it_is_said() {
        let context = TraceContext::begin();
        assert!(!context.is_sampled() && context.sampled().is_sampled());
        assert_eq!(
            TraceContext::parse(context.header().as_bytes()),
            Some(context)
        );
    }

    proptest! {
        #[test]
        fn every_context_survives_its_header(trace in 1_u128.., span in 1_u64.., flags: u8) {
            let context = TraceContext { trace, span, flags };
            prop_assert_eq!(TraceContext::parse(context.header().as_bytes()), Some(context));
        }

        #[test]
        fn no_bytes_break_the_reading(bytes: Vec<u8>) {
            let read = TraceContext::parse(&bytes);
            prop_assert!(read.is_none_or(|context| context.header().as_bytes() == bytes));
        }
    }
}
