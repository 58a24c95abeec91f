//! The head of a request as it stands on the wire (RFC 9112 §3).

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use crate::policy::written::{Written, line};

/// Room for most heads, in bytes.
const USUAL_HEAD: usize = 1024;
/// Room that a connection keeps while it rests, in bytes.
const MOST_KEPT: usize = 4 * 1024;

/// What is to be written, and how far it was. Its room is kept for the next request.
#[derive(Debug, Default)]
pub(super) struct Out {
    bytes: Vec<u8>,
    written: usize,
}

impl Out {
    /// What is left to write.
    pub(super) fn left(&self) -> &[u8] {
        self.bytes.get(self.written..).unwrap_or_default()
    }

    /// So many bytes of it were written.
    pub(super) fn advance(&mut self, size: usize) {
        self.written += size;
        if self.written >= self.bytes.len() {
            self.clear();
        }
    }

    /// Forgets what is left.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.written = 0;
    }

    /// Where more is put behind it.
    pub(super) fn end(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Gives back what a large head took.
    pub(super) fn rest(&mut self) {
        self.clear();
        self.bytes.shrink_to(MOST_KEPT);
    }
}

/// How the body of a request is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none, and nothing says so: for methods that seldom have one.
    None,
    /// `Content-Length`.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// Writes the head: `fields`, and behind them what is `written` already. `host` takes the place of the
/// request's own where given; the framing's field takes the place of any that is there.
pub(super) fn head<'f>(
    out: &mut Vec<u8>,
    (method, target): (&Method, &Uri),
    fields: impl Iterator<Item = (&'f HeaderName, &'f HeaderValue)>,
    written: &[&Written],
    host: Option<&HeaderValue>,
    framing: Framing,
) {
    let target = target
        .path_and_query()
        .map_or("/", |target| target.as_str());
    out.reserve(USUAL_HEAD + target.len());
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    for (name, value) in fields {
        if *name == CONTENT_LENGTH || *name == TRANSFER_ENCODING {
            continue;
        }
        let value = host.filter(|_| *name == HOST).unwrap_or(value);
        line(out, name.as_str().as_bytes(), value.as_bytes());
    }
    for written in written {
        out.extend_from_slice(written.lines());
    }
    match framing {
        Framing::None => {}
        Framing::Length(length) => {
            let mut digits = itoa::Buffer::new();
            line(out, b"content-length", digits.format(length).as_bytes());
        }
        Framing::Chunked => line(out, b"transfer-encoding", b"chunked"),
    }
    out.extend_from_slice(b"\r\n");
}

/// The line before a chunk's data (RFC 9112 §7.1).
pub(crate) fn chunk_size(out: &mut Vec<u8>, size: usize) {
    let digits = (usize::BITS - size.leading_zeros()).div_ceil(4).max(1);
    for place in (0..digits).rev() {
        let digit = u8::try_from((size >> (place * 4)) & 0xf).unwrap_or(0);
        out.push(if digit < 10 {
            b'0' + digit
        } else {
            b'a' + digit - 10
        });
    }
    out.extend_from_slice(b"\r\n");
}

/// The last chunk and the trailers.
pub(super) fn last_chunk(out: &mut Vec<u8>, trailers: Option<&HeaderMap>) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten() {
        line(out, name.as_str().as_bytes(), value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(host: Option<&HeaderValue>) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("app.example"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("9"));
        headers.insert("x-a", HeaderValue::from_static("1"));
        headers.append("x-a", HeaderValue::from_static("2"));
        let mut out = Vec::new();
        let uri = Uri::from_static("/a?b=c");
        head(
            &mut out,
            (&Method::POST, &uri),
            headers.iter(),
            &[&Written::new(vec![(
                HeaderName::from_static("x-b"),
                HeaderValue::from_static("3"),
            )])],
            host,
            Framing::Length(3),
        );
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_head_says_its_length_once() {
        let text = written(None);
        assert!(
            text.starts_with("POST /a?b=c HTTP/1.1\r\n") && text.contains("host: app.example\r\n")
        );
        assert!(text.contains("x-a: 1\r\n") && text.contains("x-a: 2\r\n"));
        assert!(text.ends_with("\r\nx-b: 3\r\ncontent-length: 3\r\n\r\n"));
        assert_eq!(text.matches("content-length").count(), 1);
    }

    #[test]
    fn a_fixed_host_takes_the_place_of_the_clients() {
        let text = written(Some(&HeaderValue::from_static("other.example")));
        assert!(text.contains("host: other.example\r\n") && !text.contains("app.example"));
    }

    #[test]
    fn chunk_sizes_are_plain_hex() {
        for (size, text) in [
            (1, "1\r\n"),
            (15, "f\r\n"),
            (16, "10\r\n"),
            (65536, "10000\r\n"),
        ] {
            let mut out = Vec::new();
            chunk_size(&mut out, size);
            assert_eq!(out, text.as_bytes());
        }
    }
}
