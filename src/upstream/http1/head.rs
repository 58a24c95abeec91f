//! The head of an answer, read in one way only.
//!
//! Stricter than most: an answer that two readers could take for two different ones is refused,
//! because what is left of it could be taken for the answer to another client's request.

use std::mem::MaybeUninit;

use bytes::{Buf, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use crate::policy::field_name;

/// Fields that an answer may have.
const MAX_FIELDS: usize = 256;
/// Room for the fields that the gateway adds, so that the table need not grow for them.
const OWN_FIELDS: usize = 6;
/// Bytes that an answer's head may have.
pub(super) const MAX_HEAD: usize = 128 * 1024;

/// How the body of an answer is framed (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none.
    None,
    /// So many bytes.
    Length(u64),
    /// In chunks.
    Chunked,
    /// Until the connection ends.
    Close,
}

/// The head of an answer.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) framing: Framing,
    /// Whether the connection may carry another request after it.
    pub(super) keeps_alive: bool,
}

/// What was found that no answer has.
pub(super) type Invalid = &'static str;

/// Takes a head off the front of `buffer`, once it is there whole.
///
/// # Errors
///
/// What was found that cannot be read in one way.
pub(super) fn take(buffer: &mut BytesMut, method: &Method) -> Result<Option<Head>, Invalid> {
    let mut fields = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let status = config.parse_response_with_uninit_headers(&mut parsed, buffer, &mut fields);
    let length = match status {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if buffer.len() >= MAX_HEAD => {
            return Err("a head that is too large");
        }
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err("too many header fields"),
        Err(_) => return Err("no HTTP/1 answer"),
    };
    if length > MAX_HEAD {
        return Err("a head that is too large");
    }
    let status = parsed
        .code
        .and_then(|code| StatusCode::from_u16(code).ok())
        .ok_or("a status that is none")?;
    let is_11 = parsed.version == Some(1);
    // Where each field stands, so that the values can share the buffer's bytes.
    let base = buffer.as_ptr() as usize;
    let mut spans = smallvec::SmallVec::<[[usize; 4]; 16]>::new();
    for field in parsed.headers.iter() {
        let (name, value) = (field.name.as_bytes(), field.value);
        let start = |part: &[u8]| (part.as_ptr() as usize).saturating_sub(base);
        spans.push([start(name), name.len(), start(value), value.len()]);
    }
    let bytes = buffer.split_to(length).freeze();
    let mut headers = HeaderMap::with_capacity(spans.len() + OWN_FIELDS);
    let mut present = Present::default();
    for &[name_start, name_size, start, size] in &spans {
        let name = bytes.get(name_start..name_start + name_size);
        let name = field_name::read(name.unwrap_or_default())
            .map_err(|_bad| "a header name that is none")?;
        // An empty value may stand anywhere.
        let value = if size == 0 {
            bytes::Bytes::new()
        } else {
            bytes.slice(start..start + size)
        };
        let value = HeaderValue::from_maybe_shared(value)
            .map_err(|_bad| "a header value with control bytes")?;
        present.note(&name);
        headers.append(name, value);
    }
    let framing = framing(status, (is_11, method), &headers, &present)?;
    let closes = present.connection && says_close(&headers);
    let keeps_alive = is_11 && framing != Framing::Close && !closes;
    Ok(Some(Head {
        status,
        headers,
        framing,
        keeps_alive,
    }))
}

/// Which of the fields that frame an answer are there, so that only those are looked up.
#[derive(Default)]
struct Present {
    connection: bool,
    length: bool,
    coding: bool,
}

impl Present {
    fn note(&mut self, name: &HeaderName) {
        self.connection |= *name == CONNECTION;
        self.length |= *name == CONTENT_LENGTH;
        self.coding |= *name == TRANSFER_ENCODING;
    }
}

/// RFC 9112 §6.3, without its leniency.
fn framing(
    status: StatusCode,
    (is_11, method): (bool, &Method),
    headers: &HeaderMap,
    present: &Present,
) -> Result<Framing, Invalid> {
    let coded = present.coding && is_chunked(is_11, headers)?;
    let length = if present.length {
        length(headers)?
    } else {
        None
    };
    if coded && length.is_some() {
        return Err("both Transfer-Encoding and Content-Length");
    }
    let bodiless = status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
        || *method == Method::HEAD;
    Ok(match (bodiless, coded, length) {
        (true, _, _) | (false, false, Some(0)) => Framing::None,
        (false, true, _) => Framing::Chunked,
        (false, false, Some(length)) => Framing::Length(length),
        (false, false, None) => Framing::Close,
    })
}

fn is_chunked(is_11: bool, headers: &HeaderMap) -> Result<bool, Invalid> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else {
        return Ok(false);
    };
    if !is_11 {
        return Err("Transfer-Encoding in HTTP/1.0");
    }
    if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Err("a Transfer-Encoding other than chunked");
    }
    Ok(true)
}

fn length(headers: &HeaderMap) -> Result<Option<u64>, Invalid> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else {
        return Ok(None);
    };
    if lengths.next().is_some() {
        return Err("more than one Content-Length");
    }
    let digits = length.as_bytes();
    let number = std::str::from_utf8(digits)
        .ok()
        .and_then(|text| text.parse().ok());
    match number {
        Some(number) if digits.iter().all(u8::is_ascii_digit) => Ok(Some(number)),
        Some(_) | None => Err("a Content-Length that is no number"),
    }
}

fn says_close(headers: &HeaderMap) -> bool {
    let tokens = headers
        .get_all(CONNECTION)
        .into_iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    tokens
        .map(<[u8]>::trim_ascii)
        .any(|token| token.eq_ignore_ascii_case(b"close"))
}

/// Takes trailers off the front of `buffer`, once they are there whole.
///
/// # Errors
///
/// What was found that no trailers have.
pub(super) fn take_trailers(
    buffer: &mut BytesMut,
    limit: usize,
) -> Result<Option<HeaderMap>, Invalid> {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let (length, trailers) = match httparse::parse_headers(buffer, &mut fields) {
        Ok(httparse::Status::Partial) if buffer.len() > limit => {
            return Err("trailers that are too large");
        }
        Ok(httparse::Status::Partial) => return Ok(None),
        Ok(httparse::Status::Complete((length, fields))) => {
            let mut trailers = HeaderMap::new();
            for field in fields {
                let name = HeaderName::from_bytes(field.name.as_bytes())
                    .map_err(|_bad| "a trailer's name that is none")?;
                let value = HeaderValue::from_bytes(field.value)
                    .map_err(|_bad| "a trailer with control bytes")?;
                trailers.append(name, value);
            }
            (length, trailers)
        }
        Err(_) => return Err("trailers that are none"),
    };
    if length > limit {
        return Err("trailers that are too large");
    }
    buffer.advance(length);
    Ok(Some(trailers))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Head>, Invalid> {
        take(&mut BytesMut::from(text), &Method::GET)
    }

    fn framing_of(text: &str) -> Framing {
        read(text).unwrap().unwrap().framing
    }

    #[test]
    fn a_head_is_taken_off_whole_and_not_a_byte_more() {
        let mut buffer =
            BytesMut::from("HTTP/1.1 200 OK\r\nA: b\r\nC:\r\nContent-Length: 2\r\n\r\nhi");
        let head = take(&mut buffer, &Method::GET).unwrap().unwrap();
        assert_eq!(
            (head.status, head.framing),
            (StatusCode::OK, Framing::Length(2))
        );
        assert_eq!(
            (&head.headers["a"], &head.headers["c"]),
            (
                &HeaderValue::from_static("b"),
                &HeaderValue::from_static("")
            )
        );
        assert!(head.keeps_alive);
        assert_eq!(buffer, "hi");
    }

    #[test]
    fn half_a_head_is_waited_for() {
        assert!(read("HTTP/1.1 200 OK\r\nA: b\r\n").unwrap().is_none());
    }

    #[test]
    fn framing_follows_the_standard() {
        assert_eq!(
            framing_of("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n"),
            Framing::Chunked
        );
        assert_eq!(framing_of("HTTP/1.1 200 OK\r\n\r\n"), Framing::Close);
        assert_eq!(
            framing_of("HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n"),
            Framing::None
        );
        assert_eq!(
            framing_of("HTTP/1.1 304 No\r\nContent-Length: 5\r\n\r\n"),
            Framing::None
        );
        assert_eq!(
            framing_of("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
            Framing::None
        );
        let head = take(
            &mut BytesMut::from("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"),
            &Method::HEAD,
        );
        assert_eq!(head.unwrap().unwrap().framing, Framing::None);
    }

    #[test]
    fn an_answer_that_can_be_read_in_two_ways_is_refused() {
        for text in [
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\0c\r\n\r\n",
            "HTTP/2.0 200 OK\r\n\r\n",
            "SSH-2.0-OpenSSH_9\r\n",
            "hello\r\n",
        ] {
            assert!(read(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_connection_that_says_close_is_not_used_again() {
        for text in [
            "HTTP/1.1 200 OK\r\nConnection: foo, Close\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
        ] {
            assert!(!read(text).unwrap().unwrap().keeps_alive, "{text:?}");
        }
    }

    #[test]
    fn a_head_without_end_is_bounded() {
        let endless = format!("HTTP/1.1 200 OK\r\nA: {}", "a".repeat(MAX_HEAD));
        assert!(read(&endless).is_err());
        let many = format!(
            "HTTP/1.1 200 OK\r\n{}\r\n",
            "A: b\r\n".repeat(MAX_FIELDS + 1)
        );
        assert!(read(&many).is_err());
    }

    #[test]
    fn trailers_are_read_and_bounded() {
        let mut buffer = BytesMut::from("A: b\r\n\r\nrest");
        assert_eq!(take_trailers(&mut buffer, 100).unwrap().unwrap()["a"], "b");
        assert_eq!(buffer, "rest");
        let mut empty = BytesMut::from("\r\n");
        assert!(take_trailers(&mut empty, 100).unwrap().unwrap().is_empty());
        assert!(take_trailers(&mut BytesMut::from("A: bbbbbbbbbbbbbbb"), 8).is_err());
    }
}
