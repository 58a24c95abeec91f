//! One connection to a server and the request it carries.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body::{Body as _, Frame};
use tokio::io::AsyncWrite;
use tokio::sync::OwnedSemaphorePermit;

use super::decode::{Decoder, Piece};
use super::encode::{self, Framing, Out};
use super::head::{self, Head, Invalid};
use crate::clock::Deadline;
use crate::upstream::body::RequestBody;
use crate::upstream::client::HearInterim;
use crate::upstream::name::Peer;
use crate::upstream::outbound::Outbound;
use crate::upstream::stream::{Reached, Stream};

/// Room for the first read of an answer, in bytes: most fit whole.
const READ: usize = 8 * 1024;
/// Most that is read at once of a large answer, in bytes.
const MAX_READ: usize = 64 * 1024;
/// Interim answers (1xx) to one request.
const MAX_INTERIM: usize = 32;

/// An open connection. It carries one request at a time.
#[derive(Debug)]
pub(crate) struct Link {
    stream: Stream,
    /// Where it leads, of those to a name.
    peer: Option<Peer>,
    read: BytesMut,
    /// What is written before `chunk`.
    out: Out,
    upload: Upload,
    decoder: Decoder,
    /// Whether the answer's head lets the connection be used again.
    keeps_alive: bool,
    /// How much to read at once.
    appetite: usize,
    /// The end of the wait for a head.
    deadline: Deadline,
    slot: OwnedSemaphorePermit,
}

/// What is left to write of a request's body.
#[derive(Debug)]
struct Upload {
    body: RequestBody,
    chunked: bool,
    chunk: Bytes,
    /// Whether a byte of the request was written.
    begun: bool,
    done: bool,
}

/// The head of an answer, its body still on the way.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// Whether there is no body.
    pub(crate) is_whole: bool,
}

/// Why a request got no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The connection broke. The body comes back where not a byte of the request was written.
    Broken(io::Error, Option<RequestBody>),
    /// No head came in time.
    Late,
    /// The answer cannot be read in one way.
    Invalid(Invalid),
    /// The client's body failed.
    Body,
}

impl Link {
    /// A connection that has carried nothing.
    pub(crate) fn new(reached: Reached, slot: OwnedSemaphorePermit) -> Self {
        Self {
            stream: reached.stream,
            peer: reached.peer,
            read: BytesMut::new(),
            out: Out::default(),
            upload: Upload {
                body: RequestBody::Empty,
                chunked: false,
                chunk: Bytes::new(),
                begun: false,
                done: true,
            },
            decoder: Decoder::Done,
            keeps_alive: true,
            appetite: READ,
            deadline: Deadline::default(),
            slot,
        }
    }

    /// Where it leads, of those to a name.
    pub(in crate::upstream) fn peer(&mut self) -> Option<&mut Peer> {
        self.peer.as_mut()
    }

    /// Whether an idle connection is still good: nothing has come of it, no end and no bytes.
    pub(crate) fn is_idle(&mut self) -> bool {
        self.may_be_kept() && self.stream.is_quiet()
    }

    /// Whether the connection can carry another request after this one.
    pub(crate) fn may_be_kept(&self) -> bool {
        self.keeps_alive && self.upload.done && self.decoder.is_done() && self.read.is_empty()
    }

    /// Sends a request and waits for the head of its answer. `heard` is told of interim answers.
    pub(crate) async fn send(
        &mut self,
        (outbound, host): (&Outbound<'_>, Option<&HeaderValue>),
        body: RequestBody,
        until: Option<Instant>,
        heard: HearInterim<'_>,
    ) -> Result<Received, Failure> {
        let method = outbound.method();
        let framing = framing(&body, method);
        self.out.clear();
        let line = (method, outbound.target());
        let (fields, written) = (outbound.fields(), outbound.written());
        encode::head(self.out.end(), line, fields, written, host, framing);
        self.upload = Upload {
            done: false,
            chunked: framing == Framing::Chunked,
            body,
            chunk: Bytes::new(),
            begun: false,
        };
        self.keeps_alive = false;
        self.deadline.start_at(until);
        let mut early = 0;
        loop {
            let answer = poll_fn(|cx| match self.poll_head(cx, method) {
                Poll::Ready(answer) => Poll::Ready(answer),
                Poll::Pending => self.deadline.poll(cx).map(|()| Err(Failure::Late)),
            })
            .await?;
            if answer.status.is_informational() && answer.status != StatusCode::SWITCHING_PROTOCOLS
            {
                early += 1;
                if early > MAX_INTERIM {
                    return Err(Failure::Invalid("interim answers without end"));
                }
                heard(answer.status, &answer.headers);
                continue;
            }
            self.deadline.clear();
            self.keeps_alive = answer.keeps_alive;
            self.decoder = answer.framing.into();
            return Ok(Received {
                status: answer.status,
                headers: answer.headers,
                is_whole: self.decoder.is_done(),
            });
        }
    }

    /// Writes what can be written and reads until a head is there.
    fn poll_head(&mut self, cx: &mut Context<'_>, method: &Method) -> Poll<Result<Head, Failure>> {
        let written = self.poll_upload(cx);
        loop {
            if !self.read.is_empty() {
                match head::take(&mut self.read, method) {
                    Ok(Some(head)) => return Poll::Ready(Ok(head)),
                    Ok(None) => {}
                    Err(found) => return Poll::Ready(Err(Failure::Invalid(found))),
                }
            }
            // A server may answer and close without reading the body: its answer comes first.
            match (self.poll_read(cx), &written) {
                (Poll::Ready(Ok(0)), _) => {
                    let end = io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the connection was closed without an answer",
                    );
                    return Poll::Ready(Err(self.broken(end)));
                }
                (Poll::Ready(Ok(_)), _) => {}
                (Poll::Ready(Err(error)), _) => return Poll::Ready(Err(self.broken(error))),
                (Poll::Pending, Poll::Ready(Err(UploadError::Body))) => {
                    return Poll::Ready(Err(Failure::Body));
                }
                (Poll::Pending, Poll::Ready(Err(UploadError::Broken(kind)))) => {
                    return Poll::Ready(Err(self.broken(io::Error::from(*kind))));
                }
                (Poll::Pending, Poll::Ready(Ok(())) | Poll::Pending) => return Poll::Pending,
            }
        }
    }

    fn broken(&mut self, error: io::Error) -> Failure {
        let unsent = !self.upload.begun;
        let body = std::mem::replace(&mut self.upload.body, RequestBody::Empty);
        Failure::Broken(error, unsent.then_some(body))
    }

    /// The next piece of the answer's body. The request's body goes on beside it.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        // What becomes of the rest of the request shows in whether the connection is used again.
        let _uploading = self.poll_upload(cx);
        loop {
            match self.decoder.take(&mut self.read) {
                Ok(Piece::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(Piece::Trailers(trailers)) => {
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Ok(Piece::End) => return Poll::Ready(None),
                Ok(Piece::More) => {}
                Err(found) => {
                    return Poll::Ready(Some(Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        found,
                    ))));
                }
            }
            match ready!(self.poll_read(cx)) {
                Ok(0) if self.decoder == Decoder::Close => {
                    self.decoder = Decoder::Done;
                    return Poll::Ready(None);
                }
                Ok(0) => {
                    let end =
                        io::Error::new(io::ErrorKind::UnexpectedEof, "the answer was cut off");
                    return Poll::Ready(Some(Err(end)));
                }
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }

    /// Whether the answer's body has been taken to its end.
    pub(crate) fn is_end_of_body(&self) -> bool {
        self.decoder.is_done()
    }

    /// Bytes of the answer's body that are left, where that is known.
    pub(crate) fn body_left(&self) -> Option<u64> {
        self.decoder.left()
    }

    /// Gives back what a large answer took, before the connection rests.
    pub(crate) fn rest(&mut self) {
        self.appetite = READ;
        self.out.rest();
        if self.read.capacity() > 2 * READ {
            self.read = BytesMut::new();
        }
    }

    /// Takes the stream back after a 101, with what was read of it beyond the answer's head.
    pub(crate) fn into_stream(self) -> (Stream, Bytes, OwnedSemaphorePermit) {
        (self.stream, self.read.freeze(), self.slot)
    }

    /// Reads into the buffer; 0 at the end. Reads more at once while the answer keeps filling it.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.read.capacity() - self.read.len() < self.appetite / 2 {
            self.read.reserve(self.appetite);
        }
        let size = ready!(tokio_util::io::poll_read_buf(
            Pin::new(&mut self.stream),
            cx,
            &mut self.read
        ))?;
        if size >= self.appetite / 2 {
            self.appetite = (self.appetite * 2).min(MAX_READ);
        }
        Poll::Ready(Ok(size))
    }

    /// Writes the head and the body as far as both sides let it.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UploadError>> {
        if self.upload.done {
            return Poll::Ready(Ok(()));
        }
        loop {
            // The next piece first, so that it leaves in one write with the head before it.
            let next = if self.upload.chunk.is_empty() {
                self.poll_next(cx)
            } else {
                Poll::Ready(Ok(false))
            };
            while !self.out.left().is_empty() || self.upload.chunk.has_remaining() {
                let parts = [
                    IoSlice::new(self.out.left()),
                    IoSlice::new(&self.upload.chunk),
                ];
                let stream = Pin::new(&mut self.stream);
                let wrote = if self.upload.chunk.is_empty() {
                    stream.poll_write(cx, self.out.left())
                } else {
                    stream.poll_write_vectored(cx, &parts)
                };
                let size = match ready!(wrote) {
                    Ok(0) => {
                        return Poll::Ready(Err(UploadError::Broken(io::ErrorKind::WriteZero)));
                    }
                    Ok(size) => size,
                    Err(error) => return Poll::Ready(Err(UploadError::Broken(error.kind()))),
                };
                self.upload.begun = true;
                let of_out = size.min(self.out.left().len());
                self.out.advance(of_out);
                self.upload.chunk.advance(size - of_out);
                if self.upload.chunked && self.upload.chunk.is_empty() && size > of_out {
                    self.out.end().extend_from_slice(b"\r\n");
                    if matches!(next, Poll::Ready(Ok(false))) {
                        // It leaves with the next chunk's size line.
                        break;
                    }
                }
            }
            match next {
                Poll::Ready(Ok(true)) => {
                    if let Err(error) = ready!(Pin::new(&mut self.stream).poll_flush(cx)) {
                        return Poll::Ready(Err(UploadError::Broken(error.kind())));
                    }
                    self.upload.done = true;
                    self.upload.body = RequestBody::Empty;
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Ok(false)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    // What was written so far must not wait for the rest.
                    if let Poll::Ready(Err(error)) = Pin::new(&mut self.stream).poll_flush(cx) {
                        return Poll::Ready(Err(UploadError::Broken(error.kind())));
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    /// Takes the next piece of the request's body. `true` at its end.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, UploadError>> {
        let Upload {
            body,
            chunked,
            chunk,
            ..
        } = &mut self.upload;
        if matches!(body, RequestBody::Empty) {
            return Poll::Ready(Ok(true));
        }
        let Some(frame) = ready!(Pin::new(&mut *body).poll_frame(cx)) else {
            *body = RequestBody::Empty;
            if *chunked {
                encode::last_chunk(self.out.end(), None);
            }
            return Poll::Ready(Ok(true));
        };
        let Ok(frame) = frame else {
            return Poll::Ready(Err(UploadError::Body));
        };
        match frame.into_data() {
            Ok(data) if data.is_empty() => {}
            Ok(data) => {
                if *chunked {
                    encode::chunk_size(self.out.end(), data.len());
                }
                *chunk = data;
            }
            Err(frame) => {
                *body = RequestBody::Empty;
                if *chunked {
                    encode::last_chunk(self.out.end(), frame.trailers_ref());
                }
                return Poll::Ready(Ok(true));
            }
        }
        Poll::Ready(Ok(false))
    }
}

#[derive(Clone, Copy, Debug)]
enum UploadError {
    /// The client's body failed; it says itself why.
    Body,
    /// The connection broke.
    Broken(io::ErrorKind),
}

/// How the body is told of: by its length where that is known (RFC 9112 §6.2).
fn framing(body: &RequestBody, method: &Method) -> Framing {
    match body {
        RequestBody::Empty => match *method {
            // RFC 9110 §8.6: methods that usually have a body say that there is none.
            Method::POST | Method::PUT | Method::PATCH => Framing::Length(0),
            _ => Framing::None,
        },
        RequestBody::Stream(_) | RequestBody::Whole(_) => body
            .size_hint()
            .exact()
            .map_or(Framing::Chunked, Framing::Length),
    }
}
