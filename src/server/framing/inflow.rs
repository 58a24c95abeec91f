//! What comes on an HTTP/1 connection, taken apart: heads, and the bodies behind them. Pure: no I/O, no
//! clock.
//!
//! The rule that must survive every edit: nothing is a request unless its bytes can be read in one way
//! only. What a proxy before us, or the app behind us, could read in another way is refused: a line
//! that LF alone ends, two lengths, a length beside chunks, blanks around a chunk's size. After a
//! refusal nothing more is read.

use bytes::{Bytes, BytesMut};
use http::request;
use http_body::Frame;

use super::bounds::Limits;
use super::chunked::{Chunked, Decoded};
use super::head::{CleanHead, Framing, Head};
use super::violation::Violation;

/// Bytes that have come and were not taken, and where in a request they stand.
#[derive(Debug)]
pub struct Inflow {
    bytes: BytesMut,
    limits: Limits,
    head: Head,
    body: Body,
}

/// What is to come of the body of the last request.
#[derive(Debug)]
enum Body {
    /// Nothing.
    Over,
    Length(u64),
    Chunked(Chunked),
    /// It is not well formed, or its head was not.
    Refused(Violation),
}

/// What comes next of a body.
#[derive(Debug)]
pub enum Piece {
    /// Data or trailers.
    Frame(Frame<Bytes>),
    /// Nothing, until more bytes have come.
    More,
    /// Its end.
    End,
}

impl Inflow {
    /// One in which nothing has come.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            bytes: BytesMut::new(),
            limits,
            head: Head::default(),
            body: Body::Over,
        }
    }

    /// Where what comes is put, at the end.
    pub fn bytes(&mut self) -> &mut BytesMut {
        &mut self.bytes
    }

    /// Whether all that has come was taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether a byte of a head has come; an empty line alone is none.
    #[must_use]
    pub fn head_begun(&self) -> bool {
        !matches!(self.bytes.as_ref(), b"" | b"\r" | b"\r\n")
    }

    /// Whether all of the last request's body was taken.
    #[must_use]
    pub fn body_is_over(&self) -> bool {
        matches!(self.body, Body::Over)
    }

    /// What has come and was not taken.
    #[must_use]
    pub fn into_bytes(self) -> BytesMut {
        self.bytes
    }

    /// The next request, where its head has come whole. The body of the one before must be over.
    ///
    /// # Errors
    ///
    /// [`Violation`]: what comes is no request. Final.
    pub fn take_head(&mut self) -> Result<Option<(request::Parts, CleanHead)>, Violation> {
        if let Body::Refused(violation) = self.body {
            return Err(violation);
        }
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let taken = self.read_head();
        if let Err(violation) = taken {
            self.refuse(violation);
        }
        taken
    }

    fn read_head(&mut self) -> Result<Option<(request::Parts, CleanHead)>, Violation> {
        let Some(clean) = self.head.advance(&self.bytes, &self.limits)? else {
            return Ok(None);
        };
        let bytes = self.bytes.split_to(clean.len).freeze();
        let parts = self.head.take(&clean, &bytes)?;
        self.body = match clean.framing {
            Framing::Length(0) => Body::Over,
            Framing::Length(length) => Body::Length(length),
            Framing::Chunked => Body::Chunked(Chunked::new()),
        };
        Ok(Some((parts, clean)))
    }

    /// Nothing more is read.
    pub fn refuse(&mut self, violation: Violation) {
        self.body = Body::Refused(violation);
    }

    /// The next piece of the last request's body.
    ///
    /// # Errors
    ///
    /// [`Violation`]: it does not go on as a body does. Final.
    pub fn take_body(&mut self) -> Result<Piece, Violation> {
        match &mut self.body {
            Body::Over => Ok(Piece::End),
            Body::Refused(violation) => Err(*violation),
            Body::Length(_) if self.bytes.is_empty() => Ok(Piece::More),
            Body::Length(left) => {
                let most = usize::try_from(*left).unwrap_or(usize::MAX);
                let data = self.bytes.split_to(self.bytes.len().min(most)).freeze();
                *left -= data.len() as u64;
                if *left == 0 {
                    self.body = Body::Over;
                }
                Ok(Piece::Frame(Frame::data(data)))
            }
            Body::Chunked(chunked) => match chunked.decode(&mut self.bytes, &self.limits) {
                Ok(Decoded::Data(data)) => Ok(Piece::Frame(Frame::data(data))),
                Ok(Decoded::More) => Ok(Piece::More),
                Ok(Decoded::End(trailers)) => {
                    self.body = Body::Over;
                    Ok(if trailers.is_empty() {
                        Piece::End
                    } else {
                        Piece::Frame(Frame::trailers(trailers))
                    })
                }
                Err(violation) => {
                    self.refuse(violation);
                    Err(violation)
                }
            },
        }
    }
}

#[cfg(test)]
#[path = "inflow_tests.rs"]
mod tests;
