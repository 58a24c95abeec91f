//! What the head of an answer says, and how its body is framed (RFC 9112 §4 and §6.3).

use std::cell::Cell;
use std::time::{Duration, SystemTime};

use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRAILER, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use http_body::SizeHint;

use crate::clock;
use crate::policy::written;

/// What an answer needs to know of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) version: Version,
    is_head: bool,
    is_connect: bool,
}

/// How the body of an answer is framed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// None follows, whatever the answer has.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks, and trailers of these names.
    Chunked(Vec<HeaderName>),
    /// All until the end of the connection.
    Close,
}

impl Asked {
    pub(super) fn of(method: &Method, version: Version) -> Self {
        Self {
            version,
            is_head: method == Method::HEAD,
            is_connect: method == Method::CONNECT,
        }
    }

    /// Whether an answer may have a body.
    fn takes_body(self, status: StatusCode) -> bool {
        let never = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        !(self.is_head || never || status.is_informational() || self.opens_tunnel(status))
    }

    /// Whether an answer may say a length (RFC 9110 §8.6).
    fn takes_length(self, status: StatusCode) -> bool {
        let never = status.is_informational() || status == StatusCode::NO_CONTENT;
        !(never || self.opens_tunnel(status))
    }

    fn opens_tunnel(self, status: StatusCode) -> bool {
        self.is_connect && status.is_success()
    }
}

/// Writes the head of the final answer. `last`: the connection ends with it, which also a body may
/// bring about that has no length.
pub(super) fn last(
    lines: &mut Vec<u8>,
    asked: Asked,
    (status, headers): (StatusCode, &HeaderMap),
    size: &SizeHint,
    last: &mut bool,
) -> Framing {
    lines.reserve(ROOM);
    lines.extend_from_slice(match asked.version {
        Version::HTTP_10 => b"HTTP/1.0 ",
        _ => b"HTTP/1.1 ",
    });
    status_line(lines, status);
    let switches = status == StatusCode::SWITCHING_PROTOCOLS;
    let (mut said, mut is_dated) = (None, false);
    for (name, value) in headers {
        if *name == CONTENT_LENGTH {
            said = said.or_else(|| length(value));
        } else if *name == CONNECTION && !switches {
            // The gateway's own: the app's goes no further than the gateway.
            *last |= value.as_bytes().eq_ignore_ascii_case(b"close");
        } else if *name != TRANSFER_ENCODING {
            is_dated |= *name == DATE;
            line(lines, name, value);
        }
    }
    let known = said.or_else(|| size.exact());
    let framing = match known {
        _ if !asked.takes_body(status) => Framing::None,
        Some(length) => Framing::Length(length),
        None if asked.version == Version::HTTP_11 => Framing::Chunked(trailers(headers)),
        None => Framing::Close,
    };
    *last |= framing == Framing::Close || asked.opens_tunnel(status);
    match framing {
        Framing::Length(length) => length_line(lines, length),
        // What a GET would bring: where the app says so, or where it is known to be something.
        Framing::None if asked.takes_length(status) => {
            if let Some(length) = said.or(known.filter(|&length| length > 0)) {
                length_line(lines, length);
            }
        }
        Framing::Chunked(_) => lines.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Framing::None | Framing::Close => {}
    }
    match (*last, asked.version) {
        _ if switches => {}
        (true, _) => lines.extend_from_slice(b"connection: close\r\n"),
        (false, Version::HTTP_10) => lines.extend_from_slice(b"connection: keep-alive\r\n"),
        (false, _) => {}
    }
    if !is_dated {
        lines.extend_from_slice(b"date: ");
        lines.extend_from_slice(&date());
        lines.extend_from_slice(b"\r\n");
    }
    lines.extend_from_slice(b"\r\n");
    framing
}

/// Writes the head of an interim answer.
pub(super) fn interim(lines: &mut Vec<u8>, status: StatusCode, headers: &HeaderMap) {
    lines.extend_from_slice(b"HTTP/1.1 ");
    status_line(lines, status);
    for (name, value) in headers {
        line(lines, name, value);
    }
    lines.extend_from_slice(b"\r\n");
}

/// Writes the trailers among these that the head has named, and the end of them.
pub(super) fn trailer_lines(lines: &mut Vec<u8>, trailers: &HeaderMap, named: &[HeaderName]) {
    for (name, value) in trailers {
        if named.contains(name) {
            line(lines, name, value);
        }
    }
}

/// Room for most heads.
const ROOM: usize = 1024;

fn status_line(lines: &mut Vec<u8>, status: StatusCode) {
    lines.extend_from_slice(status.as_str().as_bytes());
    lines.extend_from_slice(b" ");
    let reason = status.canonical_reason().unwrap_or("<none>");
    lines.extend_from_slice(reason.as_bytes());
    lines.extend_from_slice(b"\r\n");
}

fn line(lines: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    written::line(lines, name.as_str().as_bytes(), value.as_bytes());
}

fn length_line(lines: &mut Vec<u8>, length: u64) {
    let mut digits = itoa::Buffer::new();
    written::line(lines, b"content-length", digits.format(length).as_bytes());
}

fn length(value: &HeaderValue) -> Option<u64> {
    value.to_str().ok()?.parse().ok()
}

/// The names in `Trailer` (RFC 9110 §6.6.2).
fn trailers(headers: &HeaderMap) -> Vec<HeaderName> {
    let lists = headers.get_all(TRAILER).iter();
    let lists = lists.filter_map(|list| list.to_str().ok());
    let names = lists.flat_map(|list| list.split(','));
    names.filter_map(|name| name.trim().parse().ok()).collect()
}

thread_local! {
    /// The second, and its date as it is written.
    static NOW: Cell<(i64, [u8; 29])> = const { Cell::new((i64::MIN, [0; 29])) };
}

/// The date of now (RFC 9110 §5.6.7), made once a second.
fn date() -> [u8; 29] {
    let second = clock::now().unix_seconds();
    let (known, date) = NOW.get();
    if known == second {
        return date;
    }
    let since = Duration::from_secs(u64::try_from(second).unwrap_or_default());
    let text = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + since);
    let mut made = [b' '; 29];
    for (byte, letter) in made.iter_mut().zip(text.bytes()) {
        *byte = letter;
    }
    NOW.set((second, made));
    made
}
