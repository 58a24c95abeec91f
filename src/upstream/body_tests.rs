use std::future::poll_fn;
use std::io;
use std::sync::mpsc;
use std::task::Waker;

use super::*;
use crate::upstream::incoming::{Http1Body, Source};

const IDLE: Duration = Duration::from_millis(60);

/// Gives what the test says, and until then nothing; it wakes nobody.
#[derive(Debug)]
struct Told(Mutex<mpsc::Receiver<&'static [u8]>>);

impl Source for Told {
    fn poll_frame(&self, _cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.0.lock().unwrap().try_recv() {
            Ok(data) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(data))))),
            Err(mpsc::TryRecvError::Empty) => Poll::Pending,
            Err(mpsc::TryRecvError::Disconnected) => Poll::Ready(None),
        }
    }
}

fn inbound() -> (Inbound, mpsc::Sender<&'static [u8]>) {
    let (tell, told) = mpsc::channel();
    let incoming = ClientBody::Http1(Http1Body::new(Arc::new(Told(Mutex::new(told))), None));
    let inbound = Inbound::new(incoming, 1000, IDLE, Arc::default());
    (inbound, tell)
}

fn poll_once(inbound: &mut Inbound) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
    inbound.poll(&mut Context::from_waker(Waker::noop()))
}

fn is_data(polled: &Poll<Option<Result<Frame<Bytes>, BodyError>>>) -> bool {
    matches!(polled, Poll::Ready(Some(Ok(frame))) if frame.is_data())
}

#[tokio::test]
async fn the_time_that_the_app_takes_is_not_the_clients() {
    let (mut inbound, tell) = inbound();
    assert!(poll_once(&mut inbound).is_pending());
    tell.send(b"some").unwrap();
    assert!(is_data(&poll_once(&mut inbound)));
    // The app takes it, and more that is there already, in its own time.
    for _ in 0..3 {
        tokio::time::sleep(IDLE).await;
        tell.send(b"more").unwrap();
        assert!(is_data(&poll_once(&mut inbound)));
    }
    tokio::time::sleep(IDLE * 2).await;
    assert!(
        poll_once(&mut inbound).is_pending(),
        "the wait has only begun"
    );
    assert_eq!(inbound.progress().fault(), None);
}

#[tokio::test]
async fn a_client_that_stops_is_waited_for_no_longer_than_it_may() {
    let (mut inbound, tell) = inbound();
    tell.send(b"some").unwrap();
    assert!(is_data(&poll_once(&mut inbound)));
    let began = clock::monotonic();
    let end = poll_fn(|cx| inbound.poll(cx)).await;
    assert!(
        matches!(end, Some(Err(BodyError(BodyFault::Timeout)))),
        "{end:?}"
    );
    assert!(began.elapsed() >= IDLE);
    assert_eq!(inbound.progress().fault(), Some(BodyFault::Timeout));
}
