//! The body of an answer, taken off a buffer piece by piece (RFC 9112 §7). Pure.

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;

use super::head::{Framing, Invalid, take_trailers};

/// Bytes of a chunk's size line, its extensions included.
const MAX_SIZE_LINE: usize = 1024;
/// Bytes of the trailers.
const MAX_TRAILERS: usize = 8 * 1024;

/// Where the reading of a body stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decoder {
    /// Nothing is left.
    Done,
    /// So many bytes are left.
    Length(u64),
    /// A chunk's size line comes next.
    ChunkSize,
    /// So many bytes of a chunk are left.
    Chunk(u64),
    /// The end of line after a chunk comes next.
    ChunkEnd,
    /// The trailers come next.
    Trailers,
    /// Everything until the connection ends.
    Close,
}

/// One piece of a body.
#[derive(Debug, PartialEq)]
pub(super) enum Piece {
    /// Bytes of it.
    Data(Bytes),
    /// The trailers; nothing comes after them.
    Trailers(HeaderMap),
    /// Nothing comes any more.
    End,
    /// More must be read first.
    More,
}

impl From<Framing> for Decoder {
    fn from(framing: Framing) -> Self {
        match framing {
            Framing::None => Self::Done,
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::ChunkSize,
            Framing::Close => Self::Close,
        }
    }
}

impl Decoder {
    /// Whether nothing is left.
    pub(super) fn is_done(self) -> bool {
        self == Self::Done
    }

    /// How many bytes are left, where that is known.
    pub(super) fn left(self) -> Option<u64> {
        match self {
            Self::Done => Some(0),
            Self::Length(left) => Some(left),
            Self::ChunkSize | Self::Chunk(_) | Self::ChunkEnd | Self::Trailers | Self::Close => {
                None
            }
        }
    }

    /// Takes the next piece off the front of `buffer`.
    ///
    /// # Errors
    ///
    /// What was found that no body has.
    pub(super) fn take(&mut self, buffer: &mut BytesMut) -> Result<Piece, Invalid> {
        loop {
            match *self {
                Self::Done => return Ok(Piece::End),
                Self::Close if buffer.is_empty() => return Ok(Piece::More),
                Self::Close => return Ok(Piece::Data(buffer.split().freeze())),
                Self::Length(left) => {
                    let Some(data) = portion(buffer, left) else {
                        return Ok(Piece::More);
                    };
                    let left = left - data.len() as u64;
                    *self = if left == 0 {
                        Self::Done
                    } else {
                        Self::Length(left)
                    };
                    return Ok(Piece::Data(data));
                }
                Self::ChunkSize => match size_line(buffer)? {
                    None => return Ok(Piece::More),
                    Some(0) => *self = Self::Trailers,
                    Some(size) => *self = Self::Chunk(size),
                },
                Self::Chunk(left) => {
                    let Some(data) = portion(buffer, left) else {
                        return Ok(Piece::More);
                    };
                    let left = left - data.len() as u64;
                    *self = if left == 0 {
                        Self::ChunkEnd
                    } else {
                        Self::Chunk(left)
                    };
                    return Ok(Piece::Data(data));
                }
                Self::ChunkEnd => match buffer.get(..2) {
                    Some(b"\r\n") => {
                        buffer.advance(2);
                        *self = Self::ChunkSize;
                    }
                    Some(_) => return Err("a chunk that does not end where it says"),
                    None if buffer.first().is_some_and(|byte| *byte != b'\r') => {
                        return Err("a chunk that does not end where it says");
                    }
                    None => return Ok(Piece::More),
                },
                Self::Trailers => {
                    let Some(trailers) = take_trailers(buffer, MAX_TRAILERS)? else {
                        return Ok(Piece::More);
                    };
                    *self = Self::Done;
                    return Ok(if trailers.is_empty() {
                        Piece::End
                    } else {
                        Piece::Trailers(trailers)
                    });
                }
            }
        }
    }
}

/// At most `left` bytes off the front, without copying them; `None` where there are none.
fn portion(buffer: &mut BytesMut, left: u64) -> Option<Bytes> {
    let size = usize::try_from(left)
        .unwrap_or(usize::MAX)
        .min(buffer.len());
    (size > 0).then(|| buffer.split_to(size).freeze())
}

/// Takes a chunk's size line: hex digits, then perhaps extensions, which mean nothing here.
fn size_line(buffer: &mut BytesMut) -> Result<Option<u64>, Invalid> {
    let Some(end) = memchr::memchr(b'\n', buffer) else {
        return if buffer.len() > MAX_SIZE_LINE {
            Err("a chunk size without end")
        } else {
            Ok(None)
        };
    };
    let line = buffer.get(..end).unwrap_or_default();
    let Some(line) = line
        .strip_suffix(b"\r")
        .filter(|line| line.len() <= MAX_SIZE_LINE)
    else {
        return Err("a chunk size line that does not end as it must");
    };
    let digits = line
        .iter()
        .take_while(|byte| byte.is_ascii_hexdigit())
        .count();
    let (size, rest) = line.split_at_checked(digits).unwrap_or((line, b""));
    let is_extension = rest
        .trim_ascii_start()
        .first()
        .is_none_or(|byte| *byte == b';');
    let is_clean = rest
        .iter()
        .all(|byte| *byte == b'\t' || !byte.is_ascii_control());
    if size.is_empty() || size.len() > 16 || !is_extension || !is_clean {
        return Err("a chunk size that is no number");
    }
    let text = std::str::from_utf8(size).unwrap_or_default();
    let size = u64::from_str_radix(text, 16).map_err(|_bad| "a chunk size that is no number")?;
    buffer.advance(end + 1);
    Ok(Some(size))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads a whole body that comes in parts.
    fn read(framing: Framing, parts: &[&[u8]]) -> Result<(Vec<u8>, bool, Vec<u8>), Invalid> {
        let (mut decoder, mut buffer) = (Decoder::from(framing), BytesMut::new());
        let (mut body, mut parts) = (Vec::new(), parts.iter());
        loop {
            match decoder.take(&mut buffer)? {
                Piece::Data(data) => body.extend_from_slice(&data),
                Piece::Trailers(_) | Piece::End => return Ok((body, true, buffer.to_vec())),
                Piece::More => match parts.next() {
                    Some(part) => buffer.extend_from_slice(part),
                    None => return Ok((body, false, buffer.to_vec())),
                },
            }
        }
    }

    #[test]
    fn a_length_is_read_to_its_last_byte_and_no_further() {
        let (body, whole, rest) = read(Framing::Length(5), &[b"he", b"llo+"]).unwrap();
        assert_eq!(
            (body.as_slice(), whole, rest.as_slice()),
            (&b"hello"[..], true, &b"+"[..])
        );
    }

    #[test]
    fn a_body_that_stops_early_is_not_whole() {
        assert!(!read(Framing::Length(5), &[b"hell"]).unwrap().1);
        assert!(!read(Framing::Chunked, &[b"5\r\nhello\r\n"]).unwrap().1);
        assert!(!read(Framing::Chunked, &[b"5\r\nhello\r\n0\r\n"]).unwrap().1);
    }

    #[test]
    fn chunks_are_put_together() {
        let (body, whole, rest) = read(
            Framing::Chunked,
            &[b"5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nT: v\r\n\r\n"],
        )
        .unwrap();
        assert_eq!(
            (body.as_slice(), whole, rest.len()),
            (&b"hello!"[..], true, 0)
        );
    }

    #[test]
    fn chunks_that_two_readers_could_read_in_two_ways_are_refused() {
        for bad in [
            &b"0x5\r\nhello\r\n"[..],
            b"+5\r\nhello\r\n",
            b"-5\r\n",
            b"5_\r\n",
            b" 5\r\nhello\r\n",
            b"5\nhello\n",
            b"\r\nhello",
            b"5 5\r\nhello\r\n",
            b"11111111111111111\r\n",
            b"5\r\nhelloXX",
            b"5\r\nhello\n",
            b"g\r\n",
            b"5;a\rb\r\nhello\r\n",
            b"5;\0\r\nhello\r\n",
        ] {
            assert!(
                read(Framing::Chunked, &[bad]).is_err(),
                "{:?}",
                String::from_utf8_lossy(bad)
            );
        }
        assert!(read(Framing::Chunked, &[&[b'1'; 5000]]).is_err());
    }

    proptest! {
        #[test]
        fn where_the_bytes_are_cut_changes_nothing(sizes in prop::collection::vec(1..40_usize, 0..6), cuts in prop::collection::vec(1..20_usize, 0..60)) {
            let (mut wire, mut wanted) = (Vec::new(), Vec::new());
            for size in sizes {
                wire.extend_from_slice(format!("{size:x}\r\n").as_bytes());
                wire.extend(std::iter::repeat_n(b'a', size));
                wire.extend_from_slice(b"\r\n");
                wanted.extend(std::iter::repeat_n(b'a', size));
            }
            wire.extend_from_slice(b"0\r\n\r\n");
            let mut parts = Vec::new();
            let mut rest = wire.as_slice();
            for cut in cuts {
                let (part, left) = rest.split_at(cut.min(rest.len()));
                parts.push(part);
                rest = left;
            }
            parts.push(rest);
            let (body, whole, left) = read(Framing::Chunked, &parts).unwrap();
            prop_assert!(whole && left.is_empty());
            prop_assert_eq!(body, wanted);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _result = read(Framing::Chunked, &[&bytes]);
        }
    }
}
