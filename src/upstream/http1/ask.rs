//! One question on a connection of its own: of a check or of `doctor`, not of a client.

use std::io;

use bytes::BytesMut;
use http::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::decode::{Decoder, Piece};
use super::encode::{self, Framing};
use super::head;
use crate::upstream::stream::Stream;

/// Bytes of an answer's body that are read, so that a server is not cut off while it writes.
const MOST_BODY: usize = 64 * 1024;
/// Interim answers (1xx) that are passed over.
const MOST_INTERIM: usize = 8;

/// An answer, its body as far as it was read.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// At most 64 KiB and a piece.
    pub(crate) body: Vec<u8>,
}

/// Asks for `target` by GET and gives the status of the answer. Takes no limit of time: whoever
/// calls sets one.
///
/// # Errors
///
/// The connection broke, or the answer cannot be read in one way.
pub(crate) async fn ask(
    stream: Stream,
    target: &Uri,
    host: &HeaderValue,
) -> io::Result<StatusCode> {
    let agent = HeaderValue::from_static(concat!("portcullis-check/", env!("CARGO_PKG_VERSION")));
    let any = HeaderValue::from_static("*/*");
    let headers = [(HOST, host.clone()), (USER_AGENT, agent), (ACCEPT, any)];
    let headers = headers.into_iter().collect();
    let answer = ask_with(stream, (&Method::GET, target), &headers).await;
    answer.map(|answer| answer.status)
}

/// Asks with a method that has no body and with these headers, `Host` among them. Takes no limit of
/// time either.
///
/// # Errors
///
/// As [`ask`].
pub(crate) async fn ask_with(
    mut stream: Stream,
    line: (&Method, &Uri),
    headers: &HeaderMap,
) -> io::Result<Whole> {
    let close = HeaderValue::from_static("close");
    let fields = headers.iter().chain([(&CONNECTION, &close)]);
    let mut out = Vec::new();
    encode::head(&mut out, line, fields, &[], None, Framing::None);
    stream.write_all(&out).await?;
    stream.flush().await?;
    let mut read = BytesMut::new();
    let (head, mut decoder) = answer(&mut stream, &mut read, line.0).await?;
    let mut body = Vec::new();
    // How the body ends changes nothing, as long as it does in time.
    while let Ok(piece) = decoder.take(&mut read) {
        match piece {
            Piece::End => break,
            Piece::Data(data) => body.extend_from_slice(&data),
            Piece::Trailers(_) => {}
            Piece::More => match stream.read_buf(&mut read).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            },
        }
        if body.len() > MOST_BODY {
            break;
        }
    }
    Ok(Whole {
        status: head.0,
        headers: head.1,
        body,
    })
}

/// Reads to the end of the head of the final answer.
async fn answer(
    stream: &mut Stream,
    read: &mut BytesMut,
    method: &Method,
) -> io::Result<((StatusCode, HeaderMap), Decoder)> {
    let mut interim = 0;
    loop {
        let taken = head::take(read, method);
        match taken.map_err(|found| io::Error::new(io::ErrorKind::InvalidData, found))? {
            Some(head) if !head.status.is_informational() => {
                return Ok(((head.status, head.headers), head.framing.into()));
            }
            Some(_) if interim < MOST_INTERIM => interim += 1,
            Some(_) => return Err(io::Error::other("interim answers without end")),
            None => {
                if stream.read_buf(read).await? == 0 {
                    let end = "the connection was closed without an answer";
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, end));
                }
            }
        }
    }
}
