use std::collections::VecDeque;
use std::future::poll_fn;

use h2::client;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;

use super::*;

enum Piece {
    Data(&'static [u8]),
    Trailers(HeaderMap),
    /// The answer breaks off.
    Break,
    /// Nothing comes any more, and no end.
    Quiet,
}

use Piece::{Break, Data, Quiet, Trailers};

struct Pieces {
    pieces: VecDeque<Piece>,
    /// Whether the last piece says that it is the last.
    tells: bool,
}

fn pieces<const N: usize>(tells: bool, pieces: [Piece; N]) -> Pieces {
    let pieces = VecDeque::from(pieces);
    Pieces { pieces, tells }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        Poll::Ready(match self.pieces.pop_front() {
            None => None,
            Some(Data(bytes)) => Some(Ok(Frame::data(Bytes::from_static(bytes)))),
            Some(Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Some(Break) => Some(Err(std::io::Error::other("gone"))),
            Some(Quiet) => {
                self.pieces.push_front(Quiet);
                return Poll::Pending;
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.tells && self.pieces.is_empty()
    }
}

/// What a client got: its body, trailers, and the code of a reset.
type Got = (Vec<u8>, Option<HeaderMap>, Option<Reason>);

/// Sends a body to a client that lets `window` bytes come and takes them where it `takes`.
async fn sent(body: Pieces, window: u32, takes: bool, stall: Duration) -> (Result<(), Ended>, Got) {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let server = tokio::spawn(async move {
        let mut server = h2::server::handshake(ours).await.unwrap();
        let (_request, mut respond) = server.accept().await.unwrap().unwrap();
        let stream = respond.send_response(Response::new(()), false).unwrap();
        let sent = tokio::select! {
            sent = send(body, stream, stall) => sent,
            _ = poll_fn(|cx| server.poll_closed(cx)) => Err(Ended::Gone),
        };
        drop(respond);
        let _closed = tokio::time::timeout(Duration::from_secs(1), async {
            poll_fn(|cx| server.poll_closed(cx)).await
        })
        .await;
        sent
    });
    let mut builder = client::Builder::new();
    builder.initial_window_size(window);
    let (mut client, connection) = builder.handshake::<_, Bytes>(theirs).await.unwrap();
    let driven = tokio::spawn(connection);
    let request = Request::get("https://localhost/").body(()).unwrap();
    let (answer, _) = client.send_request(request, true).unwrap();
    let (mut bytes, mut reset) = (Vec::new(), None);
    let mut body = match answer.await {
        Ok(answer) => answer.into_body(),
        // A reset may overtake the head.
        Err(error) => return (server.await.unwrap(), (bytes, None, error.reason())),
    };
    while let Some(piece) = body.data().await {
        match piece {
            Ok(piece) => {
                if takes {
                    body.flow_control().release_capacity(piece.len()).unwrap();
                }
                bytes.extend_from_slice(&piece);
            }
            Err(error) => {
                reset = error.reason();
                break;
            }
        }
    }
    let trailers = body.trailers().await.unwrap_or_default();
    drop((client, body));
    let sent = server.await.unwrap();
    driven.abort();
    (sent, (bytes, trailers, reset))
}

const LONG: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(50);

#[tokio::test]
async fn a_body_arrives_whole_whether_its_last_piece_tells_or_not() {
    for tells in [false, true] {
        let body = pieces(tells, [Data(b"one "), Data(b""), Data(b"two")]);
        let (sent, (bytes, trailers, reset)) = sent(body, 65_535, true, LONG).await;
        assert!(
            sent.is_ok() && reset.is_none() && trailers.is_none(),
            "{sent:?}"
        );
        assert_eq!(bytes, b"one two");
    }
}

#[tokio::test]
async fn a_body_larger_than_the_window_arrives_as_the_client_takes_it() {
    static BIG: [u8; 100_000] = [7; 100_000];
    let body = pieces(true, [Data(&BIG), Data(&BIG), Data(&BIG)]);
    let (sent, (bytes, _, reset)) = sent(body, 1000, true, LONG).await;
    assert!(sent.is_ok() && reset.is_none(), "{sent:?}");
    assert_eq!(bytes.len(), 300_000);
}

#[tokio::test]
async fn trailers_end_a_body() {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("42"));
    let body = pieces(false, [Data(b"a"), Trailers(trailers.clone())]);
    let (sent, (bytes, got, _)) = sent(body, 65_535, true, LONG).await;
    assert!(sent.is_ok(), "{sent:?}");
    assert_eq!((bytes.as_slice(), got), (b"a".as_slice(), Some(trailers)));
}

#[tokio::test]
async fn a_body_that_breaks_off_resets_the_stream() {
    let (sent, (_, _, reset)) = sent(pieces(false, [Data(b"a"), Break]), 65_535, true, LONG).await;
    assert!(matches!(sent, Err(Ended::CutOff)), "{sent:?}");
    assert_eq!(reset, Some(Reason::INTERNAL_ERROR));
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_let_go() {
    for window in [0, 3] {
        let body = pieces(true, [Data(b"abcd"), Data(b"efgh")]);
        let (sent, (_, _, reset)) = sent(body, window, false, SHORT).await;
        assert!(matches!(sent, Err(Ended::Stalled)), "{sent:?}");
        assert_eq!(reset, Some(Reason::CANCEL));
    }
}

#[tokio::test]
async fn a_quiet_app_is_not_taken_for_a_stalled_client() {
    let body = pieces(false, [Data(b"a"), Quiet]);
    let waited = tokio::time::timeout(SHORT * 6, sent(body, 65_535, true, SHORT)).await;
    assert!(waited.is_err(), "{waited:?}");
}
