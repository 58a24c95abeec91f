//! What two processes say to each other while one takes over from the other, over a Unix socket
//! that only they have: the next one's standard input.
//!
//! ```text
//! old                                   next
//!  | sockets (server::handover) ---------> |  loads, builds, is ready
//!  | <------------------ READY or FAILED.. |
//!  | GO ---------------------------------> |  is the gateway from here on
//! ```
//!
//! Either side that ends closes its end, and the other knows.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// From the next process: it could serve, or serves already.
const READY: u8 = b'R';
/// From the next process: why it cannot, in the bytes that follow.
const FAILED: u8 = b'F';
/// From the old process: it takes no connection any more.
const GO: u8 = b'G';

/// Longest reason that is read.
const LONGEST_REASON: u64 = 8192;
/// How long the other side may take to take or send a few bytes.
const AT_ONCE: Duration = Duration::from_secs(10);

/// What the next process says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// It is ready.
    Ready,
    /// It cannot, and why.
    Failed(String),
    /// It has ended without a word.
    Gone,
}

/// Sets how long reads and writes may take.
pub(super) fn bound(channel: &UnixStream, reads: Duration) -> io::Result<()> {
    channel.set_read_timeout(Some(reads))?;
    channel.set_write_timeout(Some(AT_ONCE))
}

/// Waits for what the next process says; an error of the kind `WouldBlock` where it says nothing in
/// the time that reads may take.
pub(super) fn listen(mut channel: &UnixStream) -> io::Result<Word> {
    let mut word = [0];
    if channel.read(&mut word)? == 0 {
        return Ok(Word::Gone);
    }
    match word {
        [READY] => Ok(Word::Ready),
        [FAILED] => {
            let mut reason = Vec::new();
            channel.take(LONGEST_REASON).read_to_end(&mut reason)?;
            Ok(Word::Failed(String::from_utf8_lossy(&reason).into_owned()))
        }
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "an unknown word",
        )),
    }
}

/// Tells the next process that it is the gateway now.
pub(super) fn go(mut channel: &UnixStream) -> io::Result<()> {
    channel.write_all(&[GO])
}

/// Says that this process is ready and waits until it is the gateway.
pub(super) fn is_ready(mut channel: &UnixStream) -> io::Result<()> {
    bound(channel, AT_ONCE)?;
    channel.write_all(&[READY])?;
    let mut word = [0];
    channel.read_exact(&mut word)?;
    if word == [GO] {
        Ok(())
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

/// Says why this process cannot take over.
pub(super) fn fails(mut channel: &UnixStream, why: &str) -> io::Result<()> {
    channel.write_all(&[FAILED])?;
    channel.write_all(why.as_bytes())
}

/// How long the next process may take to take what is sent.
pub(super) const fn patience() -> Duration {
    AT_ONCE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (UnixStream, UnixStream) {
        let (old, next) = UnixStream::pair().unwrap();
        bound(&old, Duration::from_millis(50)).unwrap();
        (old, next)
    }

    #[test]
    fn the_next_process_is_the_gateway_only_when_it_was_told() {
        let (old, next) = pair();
        let waits = std::thread::spawn(move || is_ready(&next));
        bound(&old, Duration::from_secs(5)).unwrap();
        assert_eq!(listen(&old).unwrap(), Word::Ready);
        go(&old).unwrap();
        waits.join().unwrap().unwrap();
        let (old, next) = pair();
        drop(old);
        assert!(is_ready(&next).is_err());
    }

    #[test]
    fn an_end_that_leaves_bytes_unread_is_an_error_of_its_own() {
        let (old, next) = pair();
        go(&old).unwrap();
        drop(next);
        let error = listen(&old).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[test]
    fn a_reason_an_end_and_silence_are_told_apart() {
        let (old, next) = pair();
        assert_eq!(listen(&old).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        fails(&next, "no such file").unwrap();
        drop(next);
        assert_eq!(
            listen(&old).unwrap(),
            Word::Failed("no such file".to_owned())
        );
        assert_eq!(listen(&old).unwrap(), Word::Gone);
    }
}
