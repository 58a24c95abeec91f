use std::future::{Pending, pending};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, join, repeat, sink};
use tokio::sync::oneshot;

use super::*;
use crate::policy::denial::Code;
use crate::policy::websocket::edge::{FrameEdge, Place};

const LONG: Duration = Duration::from_mins(1);
const EXPIRED: Ending = Ending::identity(Code::TokenExpired);

/// What closes a socket in a test.
type Summons = Pin<Box<dyn Future<Output = Ending> + Send>>;

/// The other ends of a tunnel: the client's, the app's, and what ends it.
struct Ends {
    client: DuplexStream,
    app: DuplexStream,
    close: oneshot::Sender<Ending>,
    running: tokio::task::JoinHandle<io::Result<Passed>>,
}

fn with<C, A, S>(client: C, app: A, terms: Terms<S>) -> Tunnel<C, A, S> {
    Tunnel {
        client,
        app,
        up: Lane::new(Bytes::new()),
        down: Lane::new(Bytes::new()),
        terms,
        used: clock::monotonic(),
        until: None,
        lingers: None,
        deadline: Deadline::default(),
        closing: None,
        up_first: false,
        _counts: None,
    }
}

fn open(idle: Duration, until: Option<(Timestamp, Ending)>) -> Ends {
    let (client, ours) = duplex(1024);
    let (app, theirs) = duplex(1024);
    let (close, terms) = terms(idle, until);
    let mut tunnel = with(ours, theirs, terms);
    let running = tokio::spawn(poll_fn(move |cx| tunnel.poll(cx)));
    Ends {
        client,
        app,
        close,
        running,
    }
}

/// The terms of a tunnel, and what closes it.
fn terms(
    idle: Duration,
    until: Option<(Timestamp, Ending)>,
) -> (oneshot::Sender<Ending>, Terms<Summons>) {
    let (close, closed) = oneshot::channel();
    let summons: Summons = Box::pin(async move {
        match closed.await {
            Ok(ending) => ending,
            Err(_dropped) => pending().await,
        }
    });
    let terms = Terms {
        idle,
        until,
        summons,
    };
    (close, terms)
}

/// A frame of text, short.
fn text(words: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x81, u8::try_from(words.len()).unwrap()];
    frame.extend_from_slice(words);
    frame
}

async fn read_all(stream: &mut DuplexStream) -> Vec<u8> {
    let mut got = Vec::new();
    let _cut = tokio::time::timeout(LONG, stream.read_to_end(&mut got)).await;
    got
}

async fn read(stream: &mut DuplexStream, size: usize) -> Vec<u8> {
    let mut got = vec![0; size];
    stream.read_exact(&mut got).await.unwrap();
    got
}

/// What a masked close frame says.
fn unmasked(frame: &[u8]) -> Vec<u8> {
    assert_eq!((frame[0], frame[1] & 0x80), (0x88, 0x80));
    let payload = frame[6..].iter().zip(frame[2..6].iter().cycle());
    payload.map(|(byte, mask)| byte ^ mask).collect()
}

#[tokio::test]
async fn bytes_pass_unchanged_both_ways_and_so_does_the_end_of_each() {
    let mut ends = open(LONG, None);
    // No frames: it is not for the tunnel to judge.
    ends.client.write_all(b"\xff\xff\xff up").await.unwrap();
    assert_eq!(read(&mut ends.app, 6).await, b"\xff\xff\xff up");
    ends.app.write_all(b"down").await.unwrap();
    assert_eq!(read(&mut ends.client, 4).await, b"down");
    ends.client.shutdown().await.unwrap();
    assert!(read_all(&mut ends.app).await.is_empty());
    ends.app.write_all(b"still").await.unwrap();
    assert_eq!(read(&mut ends.client, 5).await, b"still");
    ends.app.shutdown().await.unwrap();
    assert!(read_all(&mut ends.client).await.is_empty());
    let passed = ends.running.await.unwrap().unwrap();
    assert_eq!(
        passed,
        Passed {
            up: 6,
            down: 9,
            closed: None
        }
    );
}

#[tokio::test]
async fn a_quiet_socket_is_closed_on_both_sides_with_1001() {
    let mut ends = open(Duration::from_millis(200), None);
    ends.client.write_all(&text(b"hi")).await.unwrap();
    assert_eq!(read(&mut ends.app, 4).await, text(b"hi"));
    assert_eq!(read(&mut ends.client, 8).await, b"\x88\x06\x03\xe9idle");
    let told = read(&mut ends.app, 12).await;
    assert_eq!(unmasked(&told), b"\x03\xe9idle");
    // Both answer, and the tunnel is over at once.
    ends.client
        .write_all(&EXPIRED.frame(Some([1; 4])))
        .await
        .unwrap();
    ends.app.write_all(&EXPIRED.frame(None)).await.unwrap();
    assert!(read_all(&mut ends.client).await.is_empty());
    assert!(read_all(&mut ends.app).await.is_empty());
    drop((ends.client, ends.app));
    let ended = tokio::time::timeout(Duration::from_secs(1), ends.running).await;
    assert!(ended.is_ok());
}

#[tokio::test]
async fn the_end_of_the_identity_closes_it_with_4401_and_the_code() {
    let until = clock::now().saturating_add(Duration::from_millis(100));
    let mut ends = open(LONG, Some((until, EXPIRED)));
    let told = read(&mut ends.client, 17).await;
    assert_eq!(told, b"\x88\x0f\x11\x31token_expired");
    assert!(clock::now() >= until);
    assert_eq!(
        unmasked(&read(&mut ends.app, 21).await),
        b"\x11\x31token_expired"
    );
}

#[tokio::test]
async fn a_close_frame_waits_for_the_end_of_the_frame_under_way() {
    let mut ends = open(LONG, None);
    ends.app.write_all(b"\x82\x05abc").await.unwrap();
    assert_eq!(read(&mut ends.client, 5).await, b"\x82\x05abc");
    ends.close.send(EXPIRED).unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    ends.app.write_all(b"de\x81\x04more").await.unwrap();
    let told = read(&mut ends.client, 19).await;
    assert_eq!(told, b"de\x88\x0f\x11\x31token_expired");
    // Nothing of the app passes behind it.
    ends.client
        .write_all(&EXPIRED.frame(Some([1; 4])))
        .await
        .unwrap();
    assert!(read_all(&mut ends.client).await.is_empty());
}

#[tokio::test]
async fn a_frame_that_does_not_end_is_cut_off_without_a_close_frame() {
    let mut ends = open(LONG, None);
    ends.app.write_all(b"\x82\x05abc").await.unwrap();
    assert_eq!(read(&mut ends.client, 5).await, b"\x82\x05abc");
    ends.close.send(EXPIRED).unwrap();
    assert_eq!(unmasked(&read(&mut ends.app, 21).await).len(), 15);
    let begun = clock::monotonic();
    assert!(read_all(&mut ends.client).await.is_empty());
    let waited = clock::monotonic() - begun;
    assert!(waited < BOUNDARY + Duration::from_secs(3), "{waited:?}");
    assert!(ends.running.await.unwrap().is_ok());
}

#[tokio::test]
async fn who_breaks_while_it_is_closed_does_not_hold_up_the_other() {
    let mut ends = open(LONG, None);
    ends.client.write_all(b"\x82\x85\0\0\0\0abc").await.unwrap();
    assert_eq!(read(&mut ends.app, 9).await.len(), 9);
    ends.close.send(EXPIRED).unwrap();
    // In the middle of a frame, and the app has answered already.
    let told = read(&mut ends.client, 17).await;
    assert_eq!(told, EXPIRED.frame(None));
    let begun = clock::monotonic();
    ends.app.write_all(&EXPIRED.frame(None)).await.unwrap();
    drop(ends.client);
    ends.app.shutdown().await.unwrap();
    assert!(read_all(&mut ends.app).await.is_empty());
    assert!(ends.running.await.unwrap().is_ok());
    let waited = clock::monotonic() - begun;
    assert!(waited < BOUNDARY / 2, "{waited:?}");
}

#[tokio::test]
async fn what_is_no_websocket_gets_no_close_frame() {
    let mut ends = open(LONG, None);
    ends.app.write_all(b"\x08\x00 not a frame").await.unwrap();
    read(&mut ends.client, 14).await;
    ends.close.send(EXPIRED).unwrap();
    drop(ends.app);
    assert!(read_all(&mut ends.client).await.is_empty());
}

#[tokio::test]
async fn who_does_not_answer_is_not_waited_for_long() {
    let ends = open(LONG, None);
    let begun = clock::monotonic();
    ends.close.send(Ending::DRAINING).unwrap();
    assert!(ends.running.await.unwrap().is_ok());
    let waited = clock::monotonic() - begun;
    assert!(waited < Duration::from_secs(4), "{waited:?}");
}

#[tokio::test]
async fn a_side_that_breaks_ends_the_other() {
    let mut ends = open(LONG, None);
    drop(ends.client);
    ends.app.write_all(b"into the void").await.unwrap();
    assert!(read_all(&mut ends.app).await.is_empty());
    assert!(ends.running.await.unwrap().is_err());
}

#[tokio::test]
async fn a_half_closed_socket_does_not_stay_for_ever() {
    let mut ends = open(LONG, None);
    ends.app.shutdown().await.unwrap();
    assert!(read_all(&mut ends.client).await.is_empty());
    let waited = tokio::time::timeout(LINGER + Duration::from_secs(2), ends.running).await;
    assert!(waited.unwrap().unwrap().is_ok());
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_the_app_back() {
    let mut ends = open(LONG, None);
    let mut sent = 0;
    let chunk = [0x82; 4096];
    while let Ok(written) =
        tokio::time::timeout(Duration::from_millis(100), ends.app.write(&chunk)).await
    {
        sent += written.unwrap();
        assert!(sent < 256 * 1024);
    }
    let mut got = 0;
    while got < sent {
        got += read(&mut ends.client, 1).await.len();
    }
}

#[tokio::test]
async fn a_client_that_never_reads_is_let_go_although_it_sends() {
    let mut ends = open(Duration::from_millis(300), None);
    ends.app.write_all(&[0x82; 1024]).await.unwrap();
    let pour =
        tokio::spawn(async move { while ends.app.write_all(&[0x82; 1024]).await.is_ok() {} });
    let begun = clock::monotonic();
    while ends.client.write_all(b"\x89\x80\0\0\0\0").await.is_ok() {
        assert!(clock::monotonic() - begun < Duration::from_secs(6));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(ends.running.await.unwrap().is_ok());
    pour.abort();
}

#[tokio::test]
async fn a_client_that_pours_holds_up_neither_the_app_nor_the_end() {
    let (mut client, ours) = duplex(1024);
    let (mut app, theirs) = duplex(1024);
    let (close, terms) = terms(LONG, None);
    // There is always more to read of it, and always room at the app.
    let mut tunnel = with(join(repeat(0x82), ours), join(theirs, sink()), terms);
    let running = tokio::spawn(poll_fn(move |cx| tunnel.poll(cx)));
    app.write_all(&text(b"hi")).await.unwrap();
    let heard = tokio::time::timeout(Duration::from_secs(5), read(&mut client, 4));
    assert_eq!(heard.await.unwrap(), text(b"hi"));
    close.send(EXPIRED).unwrap();
    let told = tokio::time::timeout(Duration::from_secs(5), read(&mut client, 17));
    assert_eq!(told.await.unwrap(), EXPIRED.frame(None));
    let ended = tokio::time::timeout(Duration::from_secs(8), running).await;
    assert_eq!(ended.unwrap().unwrap().unwrap().closed, Some(EXPIRED));
}

/// Takes every byte and passes none on, as TLS does for a peer that does not read.
struct Hoard;

impl AsyncWrite for Hoard {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

#[tokio::test]
async fn bytes_that_no_flush_gets_out_count_as_waiting() {
    let (mut client, ours) = duplex(1024);
    let (mut app, theirs) = duplex(64 * 1024);
    let (_close, terms) = terms(Duration::from_millis(300), None);
    let mut tunnel = with(join(ours, Hoard), theirs, terms);
    let running = tokio::spawn(poll_fn(move |cx| tunnel.poll(cx)));
    app.write_all(&text(b"hi")).await.unwrap();
    let begun = clock::monotonic();
    while client.write_all(b"\x89\x80\0\0\0\0").await.is_ok() {
        assert!(clock::monotonic() - begun < Duration::from_secs(8));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let ended = running.await.unwrap().unwrap();
    assert_eq!(ended.closed, Some(Ending::IDLE));
}

#[test]
fn a_tunnel_at_rest_is_small() {
    type Quiet = Tunnel<(), (), Pending<Ending>>;
    assert!(size_of::<Quiet>() <= 512, "{}", size_of::<Quiet>());
}

#[tokio::test]
async fn large_messages_pass_whole_and_stay_frames() {
    let mut ends = open(LONG, None);
    let mut message = vec![0x82, 127, 0, 0, 0, 0, 0, 3, 0x0d, 0x40];
    message.extend((0..200_000_u32).map(|at| at.to_le_bytes()[0]));
    let sent = message.clone();
    let (mut writes, mut reads) = tokio::io::split(ends.app);
    let echo = tokio::spawn(async move {
        let mut got = vec![0; sent.len()];
        writes.read_exact(&mut got).await.unwrap();
        assert_eq!(got, sent);
        reads.write_all(&got).await.unwrap();
    });
    ends.client.write_all(&message).await.unwrap();
    let back = read(&mut ends.client, message.len()).await;
    assert!(back == message);
    echo.await.unwrap();
    let mut edge = FrameEdge::default();
    edge.follow(&back);
    assert_eq!(edge.place(), Place::Boundary);
}
