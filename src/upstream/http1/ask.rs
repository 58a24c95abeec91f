//! One question on a connection of its own: of a check, not of a client.

use std::io;

use bytes::BytesMut;
use http::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use http::{HeaderValue, Method, StatusCode, Uri};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::decode::{Decoder, Piece};
use super::encode::{self, Framing};
use super::head;
use crate::upstream::stream::Stream;

/// Bytes of an answer's body that are read, so that a server is not cut off while it writes.
const MOST_BODY: usize = 64 * 1024;
/// Interim answers (1xx) that are passed over.
const MOST_INTERIM: usize = 8;

/// Asks for `target` by GET and gives the status of the answer. Takes no limit of time: whoever
/// calls sets one.
///
/// # Errors
///
/// The connection broke, or the answer cannot be read in one way.
pub(crate) async fn ask(
    mut stream: Stream,
    target: &Uri,
    host: &HeaderValue,
) -> io::Result<StatusCode> {
    let agent = HeaderValue::from_static(concat!("portcullis-check/", env!("CARGO_PKG_VERSION")));
    let (any, close) = (
        HeaderValue::from_static("*/*"),
        HeaderValue::from_static("close"),
    );
    let fields = [
        (&HOST, host),
        (&USER_AGENT, &agent),
        (&ACCEPT, &any),
        (&CONNECTION, &close),
    ];
    let mut out = Vec::new();
    let line = (&Method::GET, target);
    encode::head(&mut out, line, fields.into_iter(), None, Framing::None);
    stream.write_all(&out).await?;
    stream.flush().await?;
    let mut read = BytesMut::new();
    let (status, mut decoder) = answer(&mut stream, &mut read).await?;
    // How the body ends changes nothing, as long as it does in time.
    let mut left = MOST_BODY;
    while let Ok(piece) = decoder.take(&mut read) {
        let size = match piece {
            Piece::End => break,
            Piece::Data(data) => data.len(),
            Piece::Trailers(_) => 0,
            Piece::More => match stream.read_buf(&mut read).await {
                Ok(0) | Err(_) => break,
                Ok(_) => 0,
            },
        };
        match left.checked_sub(size) {
            Some(rest) => left = rest,
            None => break,
        }
    }
    Ok(status)
}

/// Reads to the end of the head of the final answer.
async fn answer(stream: &mut Stream, read: &mut BytesMut) -> io::Result<(StatusCode, Decoder)> {
    let mut interim = 0;
    loop {
        let taken = head::take(read, &Method::GET);
        match taken.map_err(|found| io::Error::new(io::ErrorKind::InvalidData, found))? {
            Some(head) if !head.status.is_informational() => {
                return Ok((head.status, head.framing.into()));
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
