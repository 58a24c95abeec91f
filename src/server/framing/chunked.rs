//! Reads a chunked body: what stands around the data byte by byte, data in one step (RFC 9112 §7.1).
//!
//! Data is handed on as it comes; the trailers only when all of them are clean.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::bounds::Limits;
use super::field::{Lines, split, without_cr};
use super::violation::Violation;

/// Bytes of one chunk extension, from its `;` on.
pub(super) const MAX_EXTENSION: usize = 256;

/// Bytes of all chunk extensions of a body.
pub(super) const MAX_EXTENSIONS: usize = 4096;

/// Bytes of all trailers of a body, whatever the limit for heads.
pub(super) const MAX_TRAILERS: usize = 8192;

/// Digits of a chunk's size; 16 hold every `u64`.
const MAX_DIGITS: u8 = 16;

/// A chunked body that has not ended.
#[derive(Clone, Debug)]
pub struct Chunked {
    step: Step,
    extensions: usize,
}

#[derive(Clone, Debug)]
enum Step {
    Size { digits: u8, size: u64 },
    Extension { size: u64, len: usize },
    SizeLf { size: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    Trailers { lines: Lines, count: usize },
}

/// What comes next of a body.
#[derive(Debug)]
pub enum Decoded {
    /// Data.
    Data(Bytes),
    /// Nothing, until more bytes have come.
    More,
    /// Its end, with its trailers.
    End(HeaderMap),
}

impl Default for Chunked {
    fn default() -> Self {
        Self::new()
    }
}

impl Chunked {
    /// One of which nothing has come.
    #[must_use]
    pub fn new() -> Self {
        Self {
            step: Step::size(),
            extensions: 0,
        }
    }

    /// Takes what comes next out of `bytes`: data as it is there, without what stands around it.
    ///
    /// # Errors
    ///
    /// [`Violation`]: the first rule that the body breaks.
    pub fn decode(&mut self, bytes: &mut BytesMut, limits: &Limits) -> Result<Decoded, Violation> {
        while let Some(&byte) = bytes.first() {
            match &mut self.step {
                Step::Data { left } => {
                    let most = usize::try_from(*left).unwrap_or(usize::MAX);
                    let data = bytes.split_to(bytes.len().min(most)).freeze();
                    *left -= data.len() as u64;
                    if *left == 0 {
                        self.step = Step::DataCr;
                    }
                    return Ok(Decoded::Data(data));
                }
                Step::Trailers { lines, count } => {
                    if !trailers(lines, count, bytes, limits)? {
                        return Ok(Decoded::More);
                    }
                    let section = bytes.split_to(lines.consumed()).freeze();
                    return fields(&section).map(Decoded::End);
                }
                Step::Size { .. }
                | Step::Extension { .. }
                | Step::SizeLf { .. }
                | Step::DataCr
                | Step::DataLf => {
                    self.control(byte)?;
                    bytes.advance(1);
                }
            }
        }
        Ok(Decoded::More)
    }

    /// One byte of what stands around the data.
    fn control(&mut self, byte: u8) -> Result<(), Violation> {
        let next = match (&self.step, byte) {
            (Step::Size { digits: 1.., size }, b'\r') => Step::SizeLf { size: *size },
            (Step::Size { digits: 1.., size }, b';') => Step::Extension {
                size: *size,
                len: 1,
            },
            (Step::Size { digits, size }, _) => Step::Size {
                digits: digits + 1,
                size: add_digit(*digits, *size, byte).ok_or(Violation::ChunkSize)?,
            },
            (Step::Extension { size, len }, b'\r') => {
                self.extensions += len;
                Step::SizeLf { size: *size }
            }
            (Step::Extension { size, len }, b' '..=b'~')
                if *len < MAX_EXTENSION && self.extensions + len < MAX_EXTENSIONS =>
            {
                Step::Extension {
                    size: *size,
                    len: len + 1,
                }
            }
            (Step::Extension { .. }, _) => return Err(Violation::ChunkExtension),
            (Step::SizeLf { size: 0 }, b'\n') => Step::Trailers {
                lines: Lines::default(),
                count: 0,
            },
            (Step::SizeLf { size }, b'\n') => Step::Data { left: *size },
            (Step::DataCr, b'\r') => Step::DataLf,
            (Step::DataLf, b'\n') => Step::size(),
            (
                Step::SizeLf { .. }
                | Step::DataCr
                | Step::DataLf
                | Step::Data { .. }
                | Step::Trailers { .. },
                _,
            ) => return Err(Violation::ChunkEnd),
        };
        self.step = next;
        Ok(())
    }
}

impl Step {
    const fn size() -> Self {
        Self::Size { digits: 0, size: 0 }
    }
}

/// The field lines of a trailer section that was found clean.
fn fields(section: &[u8]) -> Result<HeaderMap, Violation> {
    let (mut found, mut lines) = (HeaderMap::new(), Lines::default());
    while let Some(line) = lines.next(section) {
        let line = without_cr(line)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = split(line)?;
        let name = HeaderName::from_bytes(name).or(Err(Violation::NameByte))?;
        let value = HeaderValue::from_bytes(value.trim_ascii()).or(Err(Violation::Control))?;
        found.append(name, value);
    }
    Ok(found)
}

fn add_digit(digits: u8, size: u64, byte: u8) -> Option<u64> {
    if digits >= MAX_DIGITS {
        return None;
    }
    let digit = char::from(byte).to_digit(16)?;
    size.checked_mul(16)?
        .checked_add(u64::from(digit))
        // What a signed number cannot hold, someone behind us reads as negative.
        .filter(|size| i64::try_from(*size).is_ok())
}

/// Whether the trailers, all of which since the last chunk are in `section`, have ended.
fn trailers(
    lines: &mut Lines,
    count: &mut usize,
    section: &[u8],
    limits: &Limits,
) -> Result<bool, Violation> {
    let most = limits.headers.min(MAX_TRAILERS);
    while let Some(line) = lines.next(section) {
        if lines.consumed() > most {
            return Err(Violation::TrailersTooLarge);
        }
        let line = without_cr(line)?;
        if line.is_empty() {
            return Ok(true);
        }
        *count += 1;
        if *count > limits.header_count {
            return Err(Violation::TrailersTooLarge);
        }
        split(line)?;
    }
    if section.len() > most {
        return Err(Violation::TrailersTooLarge);
    }
    Ok(false)
}
