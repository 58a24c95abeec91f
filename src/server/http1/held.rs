//! Who has a connection's wire: the connection alone, or the body of the request under way with it.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;
use tokio::io::{AsyncRead, AsyncWrite};

use super::wire::Wire;
use crate::upstream::incoming::{Http1Body, Source};

/// What a connection of HTTP/1 runs over.
pub(in super::super) trait Stream:
    AsyncRead + AsyncWrite + Unpin + Send + fmt::Debug + 'static
{
}

impl<IO: AsyncRead + AsyncWrite + Unpin + Send + fmt::Debug + 'static> Stream for IO {}

/// A wire. Only a request with a body costs a lock, which is never contended: one task has both.
#[derive(Debug)]
pub(super) enum Held<IO> {
    Own(Box<Wire<IO>>),
    Lent(Arc<Lent<IO>>),
    /// Between the two.
    Gone,
}

/// A wire that a body reads from too.
#[derive(Debug)]
pub(super) struct Lent<IO>(Mutex<Box<Wire<IO>>>);

impl<IO> Lent<IO> {
    fn lock(&self) -> MutexGuard<'_, Box<Wire<IO>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<IO: Stream> Source for Lent<IO> {
    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.lock().poll_body(cx)
    }
}

impl<IO: Stream> Held<IO> {
    /// Does something with the wire; `None` where it is gone.
    pub(super) fn with<T>(&mut self, does: impl FnOnce(&mut Wire<IO>) -> T) -> Option<T> {
        match self {
            Self::Own(wire) => Some(does(wire)),
            Self::Lent(lent) => Some(does(&mut lent.lock())),
            Self::Gone => None,
        }
    }

    /// The body of the request under way, of so many bytes or of chunks.
    pub(super) fn lend(&mut self, length: Option<u64>) -> Option<Http1Body> {
        let Self::Own(wire) = std::mem::replace(self, Self::Gone) else {
            return None;
        };
        let lent = Arc::new(Lent(Mutex::new(wire)));
        *self = Self::Lent(Arc::clone(&lent));
        Some(Http1Body::new(lent, length))
    }

    /// Takes the wire back. It stays gone where a body is still read from it.
    pub(super) fn take_back(&mut self) {
        if let Self::Lent(lent) = self {
            let lent = Arc::clone(lent);
            *self = Self::Gone;
            if let Some(lent) = Arc::into_inner(lent) {
                *self = Self::Own(lent.0.into_inner().unwrap_or_else(PoisonError::into_inner));
            }
        }
    }

    /// The wire, where nobody else has it.
    pub(super) fn into_inner(mut self) -> Option<Box<Wire<IO>>> {
        self.take_back();
        match self {
            Self::Own(wire) => Some(wire),
            Self::Lent(_) | Self::Gone => None,
        }
    }
}
