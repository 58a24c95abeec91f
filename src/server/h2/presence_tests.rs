use std::future::poll_fn;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;

const WAIT: Duration = Duration::from_millis(40);

/// The bytes of a client's preface and empty settings.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// The end of a PING frame's head: type and flags, before the stream's number.
const PING: &[u8] = b"\0\0\x08\x06\0\0\0\0\0";

/// Serves one silent connection until it is given up; its client's end.
fn served() -> (DuplexStream, tokio::task::JoinHandle<()>) {
    let (ours, theirs) = tokio::io::duplex(4096);
    let served = tokio::spawn(async move {
        let heard = Heard::default();
        let io = Listened::new(ours, heard.clone());
        let mut connection = h2::server::handshake(io).await.unwrap();
        let mut presence = Presence::with_waits(connection.ping_pong(), heard, (WAIT, WAIT));
        poll_fn(|cx| {
            if connection.poll_closed(cx).is_ready() {
                return Poll::Ready(());
            }
            presence.poll(cx)
        })
        .await;
    });
    (theirs, served)
}

async fn read_until(io: &mut DuplexStream, mark: &[u8]) -> Vec<u8> {
    let mut read = Vec::new();
    while !read.windows(mark.len()).any(|window| window == mark) {
        assert!(io.read_buf(&mut read).await.unwrap() > 0, "{read:?}");
    }
    read
}

#[tokio::test]
async fn a_silent_client_is_asked_and_then_given_up() {
    let (mut client, served) = served();
    client.write_all(HELLO).await.unwrap();
    let began = crate::clock::monotonic();
    read_until(&mut client, PING).await;
    assert!(began.elapsed() >= WAIT / 2);
    tokio::time::timeout(WAIT * 20, served)
        .await
        .unwrap()
        .unwrap();
    assert!(began.elapsed() >= WAIT * 3 / 2);
}

#[tokio::test]
async fn a_client_that_answers_is_kept_and_asked_again() {
    let (mut client, served) = served();
    client.write_all(HELLO).await.unwrap();
    for _ in 0..4 {
        let mut read = read_until(&mut client, PING).await;
        while read.len() < PING.len() + 8 || !read[read.len() - 17..].starts_with(PING) {
            client.read_buf(&mut read).await.unwrap();
        }
        let mut pong = read.split_off(read.len() - 17);
        pong[4] = 1;
        client.write_all(&pong).await.unwrap();
    }
    assert!(!served.is_finished());
    served.abort();
}

#[tokio::test]
async fn a_client_that_sends_anything_is_there() {
    let (mut client, served) = served();
    client.write_all(HELLO).await.unwrap();
    // Frames of a kind that nobody knows, in answer to no PING.
    for _ in 0..20 {
        client.write_all(b"\0\0\0\x99\0\0\0\0\0").await.unwrap();
        tokio::time::sleep(WAIT / 4).await;
    }
    assert!(!served.is_finished());
    served.abort();
}
