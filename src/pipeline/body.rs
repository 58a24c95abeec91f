//! The body of any answer, and the report that is made when it ends.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Body as _, Frame, SizeHint};

use super::report::Report;
use crate::upstream::body::AnswerBody;

/// The body of a file's answer.
pub(super) type FileBody = http_body_util::combinators::UnsyncBoxBody<Bytes, std::io::Error>;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// The body of an answer. When it ends, or is dropped before its end, its report is made.
#[derive(Debug)]
pub struct Body {
    kind: Kind,
    report: Option<Box<Report>>,
}

#[derive(Debug)]
enum Kind {
    Empty,
    Full(Bytes),
    App(AnswerBody),
    File(FileBody),
}

/// What came of reading a body whole.
#[derive(Debug)]
pub(super) enum Gathered {
    /// All of it.
    Whole(Bytes),
    /// It is larger.
    TooLarge,
    /// It ended before its end.
    Broken,
}

impl Body {
    /// No body.
    #[must_use]
    pub const fn empty() -> Self {
        Self {
            kind: Kind::Empty,
            report: None,
        }
    }

    /// A body that is there whole.
    #[must_use]
    pub const fn full(bytes: Bytes) -> Self {
        Self {
            kind: Kind::Full(bytes),
            report: None,
        }
    }

    /// The body of an app's answer.
    pub(super) const fn app(body: AnswerBody) -> Self {
        Self {
            kind: Kind::App(body),
            report: None,
        }
    }

    /// Reads the body to its end, but no more than so many bytes.
    pub(super) async fn gather(mut self, most: usize) -> Gathered {
        let mut read = BytesMut::new();
        loop {
            let frame = std::future::poll_fn(|cx| self.poll(cx)).await;
            match frame {
                None => return Gathered::Whole(read.freeze()),
                Some(Err(_)) => return Gathered::Broken,
                Some(Ok(frame)) => {
                    // Trailers speak of the body as the app sent it.
                    if let Ok(data) = frame.into_data() {
                        read.extend_from_slice(&data);
                    }
                }
            }
            if read.len() > most {
                return Gathered::TooLarge;
            }
        }
    }

    /// A file.
    pub(super) fn file(body: FileBody) -> Self {
        Self {
            kind: Kind::File(body),
            report: None,
        }
    }

    /// Has a report made when the body ends.
    pub(super) fn reported(mut self, report: Box<Report>) -> Self {
        self.report = Some(report);
        self
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match &mut self.kind {
            Kind::Empty => Poll::Ready(None),
            Kind::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.kind = Kind::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Kind::App(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Kind::File(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        let frame = std::task::ready!(this.poll(cx));
        if let Some(report) = &mut this.report {
            match &frame {
                Some(Ok(frame)) => report.sent(frame.data_ref().map_or(0, Bytes::len)),
                Some(Err(_)) => report.cut_off(),
                None => {}
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Empty => true,
            Kind::Full(bytes) => bytes.is_empty(),
            Kind::App(body) => body.is_end_stream(),
            Kind::File(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::App(body) => body.size_hint(),
            Kind::File(body) => body.size_hint(),
        }
    }
}
