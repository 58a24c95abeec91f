//! The head of a request as it stands on the wire (RFC 9112 §3).

use bytes::{BufMut, BytesMut};
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

/// Room for most heads, in bytes.
const USUAL_HEAD: usize = 1024;

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

/// Writes the head. `host` takes the place of the request's own where given; the framing's field
/// takes the place of any that is there.
pub(super) fn head<'f>(
    out: &mut BytesMut,
    (method, target): (&Method, &Uri),
    fields: impl Iterator<Item = (&'f HeaderName, &'f HeaderValue)>,
    host: Option<&HeaderValue>,
    framing: Framing,
) {
    let target = target
        .path_and_query()
        .map_or("/", |target| target.as_str());
    out.reserve(USUAL_HEAD + target.len());
    out.put_slice(method.as_str().as_bytes());
    out.put_u8(b' ');
    out.put_slice(target.as_bytes());
    out.put_slice(b" HTTP/1.1\r\n");
    for (name, value) in fields {
        if *name == CONTENT_LENGTH || *name == TRANSFER_ENCODING {
            continue;
        }
        let value = host.filter(|_| *name == HOST).unwrap_or(value);
        field(out, name.as_str().as_bytes(), value.as_bytes());
    }
    match framing {
        Framing::None => {}
        Framing::Length(length) => {
            field(
                out,
                b"content-length",
                itoa::Buffer::new().format(length).as_bytes(),
            );
        }
        Framing::Chunked => field(out, b"transfer-encoding", b"chunked"),
    }
    out.put_slice(b"\r\n");
}

/// One header line. A `HeaderValue` holds no CR, LF or NUL.
pub(super) fn field(out: &mut BytesMut, name: &[u8], value: &[u8]) {
    out.put_slice(name);
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

/// The line before a chunk's data (RFC 9112 §7.1).
pub(super) fn chunk_size(out: &mut BytesMut, size: usize) {
    let digits = (usize::BITS - size.leading_zeros()).div_ceil(4).max(1);
    for place in (0..digits).rev() {
        let digit = u8::try_from((size >> (place * 4)) & 0xf).unwrap_or(0);
        out.put_u8(if digit < 10 {
            b'0' + digit
        } else {
            b'a' + digit - 10
        });
    }
    out.put_slice(b"\r\n");
}

/// The last chunk and the trailers.
pub(super) fn last_chunk(out: &mut BytesMut, trailers: Option<&HeaderMap>) {
    out.put_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten() {
        field(out, name.as_str().as_bytes(), value.as_bytes());
    }
    out.put_slice(b"\r\n");
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
        let mut out = BytesMut::new();
        let uri = Uri::from_static("/a?b=c");
        head(
            &mut out,
            (&Method::POST, &uri),
            headers.iter(),
            host,
            Framing::Length(3),
        );
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn a_head_says_its_length_once() {
        let text = written(None);
        assert!(
            text.starts_with("POST /a?b=c HTTP/1.1\r\n") && text.contains("host: app.example\r\n")
        );
        assert!(text.contains("x-a: 1\r\n") && text.contains("x-a: 2\r\n"));
        assert!(text.ends_with("content-length: 3\r\n\r\n"));
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
            let mut out = BytesMut::new();
            chunk_size(&mut out, size);
            assert_eq!(out, text);
        }
    }
}
