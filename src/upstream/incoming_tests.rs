use std::future::poll_fn;

use http::{HeaderValue, Request};

use super::*;

/// How a client ends its request.
#[derive(Clone, Copy)]
enum End {
    Data,
    Trailers,
    Reset(h2::Reason),
}

type Sent = (ClientBody, Wanted, tokio::task::JoinHandle<()>);

/// The body of a request as the server gets it.
async fn body(length: Option<&'static str>, end: End) -> Sent {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let (given, taken) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let mut server = h2::server::handshake(ours).await.unwrap();
        let (request, _respond) = server.accept().await.unwrap().unwrap();
        let _given = given.send(request);
        let _closed = poll_fn(|cx| server.poll_closed(cx)).await;
    });
    let client = tokio::spawn(async move {
        let (mut client, connection) = h2::client::handshake(theirs).await.unwrap();
        let driven = tokio::spawn(connection);
        let mut request = Request::post("https://localhost/").body(()).unwrap();
        if let Some(length) = length {
            let length = HeaderValue::from_static(length);
            request.headers_mut().insert(CONTENT_LENGTH, length);
        }
        let (_answer, mut stream) = client.send_request(request, false).unwrap();
        stream.send_data(Bytes::from_static(b"hel"), false).unwrap();
        stream
            .send_data(Bytes::from_static(b"lo"), matches!(end, End::Data))
            .unwrap();
        match end {
            End::Data => {}
            End::Trailers => {
                let mut trailers = HeaderMap::new();
                trailers.insert("x-sum", HeaderValue::from_static("42"));
                stream.send_trailers(trailers).unwrap();
            }
            End::Reset(reason) => {
                // The data first.
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                stream.send_reset(reason);
            }
        }
        let _closed = driven.await;
    });
    let (head, stream) = taken.await.unwrap().into_parts();
    let wanted = Wanted::default();
    let body = Http2Body::new(stream, &head.headers, Some(wanted.clone()));
    (ClientBody::Http2(body), wanted, client)
}

async fn next(body: &mut ClientBody) -> Option<Result<Frame<Bytes>, ClientBodyError>> {
    poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await
}

/// All of it, and the trailers.
async fn whole(body: &mut ClientBody) -> Result<(Vec<u8>, Option<HeaderMap>), ClientBodyError> {
    let (mut bytes, mut trailers) = (Vec::new(), None);
    while let Some(frame) = next(body).await.transpose()? {
        match frame.into_data() {
            Ok(data) => bytes.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    Ok((bytes, trailers))
}

#[tokio::test]
async fn a_body_comes_whole_and_tells_its_length() {
    let (mut body, _, client) = body(Some("5"), End::Data).await;
    assert_eq!(body.size_hint().exact(), Some(5));
    let first = next(&mut body).await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(body.size_hint().exact(), Some(5 - first.len() as u64));
    let (rest, trailers) = whole(&mut body).await.unwrap();
    assert_eq!([&first[..], &rest].concat(), b"hello");
    assert!(trailers.is_none() && body.is_end_stream());
    client.abort();
}

#[tokio::test]
async fn trailers_come_after_the_body() {
    let (mut body, _, client) = body(None, End::Trailers).await;
    assert_eq!(body.size_hint().exact(), None);
    let (bytes, trailers) = whole(&mut body).await.unwrap();
    assert_eq!(
        (bytes.as_slice(), &trailers.unwrap()["x-sum"]),
        (&b"hello"[..], &"42".parse().unwrap())
    );
    client.abort();
}

#[tokio::test]
async fn a_body_that_is_reset_is_never_whole_whatever_the_reason() {
    for reason in [h2::Reason::NO_ERROR, h2::Reason::CANCEL] {
        let (mut body, _, client) = body(None, End::Reset(reason)).await;
        assert!(whole(&mut body).await.is_err(), "{reason}");
        client.abort();
    }
}

#[tokio::test]
async fn the_client_may_send_again_only_what_was_taken() {
    let (mut body, _, client) = body(None, End::Data).await;
    let used = |body: &mut ClientBody| match body {
        ClientBody::Http2(body) => body.stream.flow_control().used_capacity(),
        ClientBody::Http1(_) | ClientBody::None => 0,
    };
    let first = next(&mut body).await.unwrap().unwrap().into_data().unwrap();
    assert!(
        used(&mut body) >= first.len(),
        "given back before it was taken"
    );
    whole(&mut body).await.unwrap();
    assert_eq!(used(&mut body), 0);
    client.abort();
}

#[tokio::test]
async fn a_body_is_wanted_once_when_it_is_first_asked_for() {
    let (mut body, wanted, client) = body(None, End::Data).await;
    assert!(!wanted.take());
    next(&mut body).await;
    assert!(wanted.take());
    whole(&mut body).await.unwrap();
    assert!(!wanted.take());
    client.abort();
}
