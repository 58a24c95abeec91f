//! A WebSocket that sends back what it gets (RFC 6455): the demo app's other half of a chat.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Largest frame in bytes.
const LARGEST: u64 = 64 * 1024;
/// Closed when nothing comes for this long.
const IDLE: Duration = Duration::from_mins(10);

const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;
/// Close code 1002: the other end does not keep to the protocol.
const PROTOCOL_ERROR: u16 = 1002;
/// Close code 1009: the message is too big.
const TOO_BIG: u16 = 1009;

/// One frame as it came.
struct Frame {
    /// FIN, reserved bits and opcode.
    first: u8,
    payload: Vec<u8>,
}

/// Sends every message back until the other end closes.
///
/// # Errors
///
/// What the system says when the connection breaks, and `TimedOut` when nothing comes.
pub(super) async fn echo<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> io::Result<()> {
    loop {
        let read = tokio::time::timeout(IDLE, read_frame(&mut stream)).await;
        let frame = match read.map_err(|late| io::Error::new(io::ErrorKind::TimedOut, late))?? {
            Ok(frame) => frame,
            Err(code) => return write_frame(&mut stream, 0x80 | CLOSE, &code.to_be_bytes()).await,
        };
        match frame.first & 0x0F {
            CLOSE => return write_frame(&mut stream, 0x80 | CLOSE, &frame.payload).await,
            PING => write_frame(&mut stream, 0x80 | PONG, &frame.payload).await?,
            PONG => {}
            0..=2 => write_frame(&mut stream, frame.first, &frame.payload).await?,
            _ => {
                let code = PROTOCOL_ERROR.to_be_bytes();
                return write_frame(&mut stream, 0x80 | CLOSE, &code).await;
            }
        }
    }
}

/// One frame, or the close code for a frame that cannot be taken (RFC 6455 §5.2).
async fn read_frame<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Result<Frame, u16>> {
    let first = stream.read_u8().await?;
    let second = stream.read_u8().await?;
    let length = match second & 0x7F {
        126 => u64::from(stream.read_u16().await?),
        127 => stream.read_u64().await?,
        short => u64::from(short),
    };
    let masked = second & 0x80 != 0;
    if !masked || first & 0x70 != 0 || (first & 0x08 != 0 && length > 125) {
        return Ok(Err(PROTOCOL_ERROR));
    }
    if length > LARGEST {
        return Ok(Err(TOO_BIG));
    }
    let mut mask = [0; 4];
    stream.read_exact(&mut mask).await?;
    let mut payload = vec![0; usize::try_from(length).unwrap_or_default()];
    stream.read_exact(&mut payload).await?;
    for (byte, key) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
    Ok(Ok(Frame { first, payload }))
}

async fn write_frame<S: AsyncWrite + Unpin>(
    stream: &mut S,
    first: u8,
    payload: &[u8],
) -> io::Result<()> {
    let mut frame = vec![first];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short @ ..126), _) => frame.push(short),
        (_, Ok(medium)) => {
            frame.push(126);
            frame.extend(medium.to_be_bytes());
        }
        (_, Err(_)) => {
            frame.push(127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    stream.write_all(&frame).await?;
    stream.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client's frame, masked.
    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [1, 2, 3, 4];
        let mut frame = vec![first, 0x80 | u8::try_from(payload.len()).unwrap()];
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, k)| b ^ k));
        frame
    }

    /// What comes back for these bytes.
    async fn answer(bytes: &[u8]) -> Vec<u8> {
        let (mut client, server) = tokio::io::duplex(1 << 17);
        client.write_all(bytes).await.unwrap();
        let mut back = Vec::new();
        let read = async {
            client.shutdown().await.unwrap();
            client.read_to_end(&mut back).await.unwrap();
        };
        let (_ended, ()) = tokio::join!(echo(server), read);
        back
    }

    #[tokio::test]
    async fn text_comes_back_and_a_close_ends_it() {
        let mut sent = masked(0x81, b"hello");
        sent.extend(masked(0x89, b"p"));
        sent.extend(masked(0x88, &1000_u16.to_be_bytes()));
        let mut wanted = vec![0x81, 5];
        wanted.extend(b"hello");
        wanted.extend([0x8A, 1, b'p', 0x88, 2, 3, 0xE8]);
        assert_eq!(answer(&sent).await, wanted);
    }

    #[tokio::test]
    async fn a_frame_that_is_not_masked_or_too_big_is_refused() {
        assert_eq!(answer(&[0x81, 1, b'x']).await, [0x88, 2, 3, 0xEA]);
        let huge = [0x82, 0xFF, 0, 0, 0, 1, 0, 0, 0, 0];
        assert_eq!(answer(&huge).await, [0x88, 2, 3, 0xF1]);
    }
}
