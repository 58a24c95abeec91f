//! The guard with hyper's server behind it.

use std::convert::Infallible;
use std::sync::Mutex;

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::super::{Exchange, configure};
use super::*;
use crate::clock;
use crate::policy::denial::Code;

const LIMITS: Limits = Limits {
    request_line: 8192,
    headers: 65_536,
    header_count: 100,
};

const PATIENT: Timeouts = Timeouts {
    request_headers: Duration::from_secs(10),
    keep_alive: Duration::from_secs(10),
    response_body: Duration::from_secs(10),
};

const SHORT: Duration = Duration::from_millis(60);

/// What the service saw: method and path, or a refusal's code, and what came of the body.
type Seen = Arc<Mutex<Vec<String>>>;

/// A body that ends its exchange with itself.
type Answer = Response<Full<Bytes>>;

fn answer(status: StatusCode, text: String) -> Answer {
    let mut answer = Response::new(Full::from(text));
    *answer.status_mut() = status;
    answer
}

/// Answers with what it was asked, as the server is meant to use the guard.
async fn service(handle: GuardHandle, seen: Seen, mut request: Request<Incoming>) -> Answer {
    let note = |text: &str| seen.lock().unwrap().push(text.to_owned());
    let exchange = match handle.next_request() {
        Ok(exchange) => exchange,
        Err(denial) => {
            note(denial.code().as_str());
            return answer(denial.status(), denial.detail().to_owned());
        }
    };
    let upgrade = hyper::upgrade::on(&mut request);
    assert_eq!(
        request.headers().contains_key("upgrade"),
        request.headers().contains_key("sec-websocket-key")
    );
    let asked = format!("{} {}", request.method(), request.uri());
    match request.uri().path() {
        "/ws" => {
            note(&asked);
            tokio::spawn(echo(upgrade));
            exchange.answering(StatusCode::SWITCHING_PROTOCOLS);
            return answer(StatusCode::SWITCHING_PROTOCOLS, String::new());
        }
        "/slow" => tokio::time::sleep(SHORT * 4).await,
        "/hints" => hint(&exchange).await,
        "/never" => std::future::pending().await,
        "/large" => {
            exchange.answering(StatusCode::OK);
            return answer(StatusCode::OK, "x".repeat(4 << 20));
        }
        "/ignore" => {
            note(&asked);
            exchange.answering(StatusCode::PAYLOAD_TOO_LARGE);
            return answer(StatusCode::PAYLOAD_TOO_LARGE, "ignored".to_owned());
        }
        _ => {}
    }
    let answer = match request.into_body().collect().await {
        Ok(body) => {
            let body = body.to_bytes();
            note(&format!("{asked} {}", body.len()));
            answer(StatusCode::OK, asked)
        }
        Err(error) => {
            let denial = denial_of(&error).map_or("cut off", |denial| denial.code().as_str());
            note(&format!("{asked} {denial}"));
            answer(StatusCode::BAD_REQUEST, denial.to_owned())
        }
    };
    exchange.answering(answer.status());
    answer
}

/// How a refusal in the middle of a body is found in hyper's error.
fn denial_of<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e Denial> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return io.get_ref()?.downcast_ref();
        }
        next = error.source();
    }
    None
}

async fn hint(exchange: &Exchange) {
    let mut headers = HeaderMap::new();
    headers.insert("link", HeaderValue::from_static("</a.css>; rel=preload"));
    let interim = exchange.interim();
    // From another task, as it is when the app's connection has one.
    let sent = tokio::spawn(async move { interim.send(StatusCode::EARLY_HINTS, &headers) });
    assert!(sent.await.unwrap());
    tokio::time::sleep(SHORT).await;
    exchange.answering(StatusCode::OK);
    assert!(
        !exchange
            .interim()
            .send(StatusCode::EARLY_HINTS, &HeaderMap::new())
    );
}

async fn echo(upgrade: hyper::upgrade::OnUpgrade) {
    let mut io = TokioIo::new(upgrade.await.unwrap());
    let mut bytes = [0; 256];
    while let Ok(len @ 1..) = io.read(&mut bytes).await {
        io.write_all(&bytes[..len]).await.unwrap();
    }
}

struct Server<C> {
    client: C,
    seen: Seen,
    task: JoinHandle<Result<(), hyper::Error>>,
}

fn serve<IO, C>(io: IO, client: C, limits: Limits, timeouts: Timeouts) -> Server<C>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let seen = Seen::default();
    let (framed, handle) = guard(io, limits, timeouts);
    let mut builder = http1::Builder::new();
    configure(&mut builder, &limits);
    let noted = Arc::clone(&seen);
    let service = service_fn(move |request| {
        let answer = service(handle.clone(), Arc::clone(&noted), request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection = builder.serve_connection(framed, service).with_upgrades();
    Server {
        client,
        seen,
        task: tokio::spawn(connection),
    }
}

fn start(timeouts: Timeouts) -> Server<DuplexStream> {
    let (client, server) = duplex(256 * 1024);
    serve(server, client, LIMITS, timeouts)
}

async fn start_tcp() -> Server<TcpStream> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (server, _) = listener.accept().await.unwrap();
    serve(server, client, LIMITS, PATIENT)
}

impl<C: AsyncRead + AsyncWrite + Unpin> Server<C> {
    async fn send(&mut self, bytes: &str) {
        self.client.write_all(bytes.as_bytes()).await.unwrap();
    }

    /// Reads until `end` has come, or the connection closes.
    async fn read_to(&mut self, end: &str) -> String {
        let mut text = String::new();
        let reading = async {
            while !text.contains(end) {
                let mut bytes = [0; 4096];
                let len = self.client.read(&mut bytes).await.unwrap();
                if len == 0 {
                    break;
                }
                text.push_str(str::from_utf8(&bytes[..len]).unwrap());
            }
        };
        tokio::time::timeout(Duration::from_secs(5), reading)
            .await
            .expect("in time");
        text
    }

    async fn read_all(&mut self) -> String {
        self.read_to("\0 never sent").await
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

const GET: &str = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";

fn post(path: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
}

fn websocket(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n"
    )
}

#[tokio::test]
async fn good_requests_are_answered_before_the_bad_one_behind_them_is_refused() {
    let mut server = start(PATIENT);
    let good = post("/b", "3\r\nabc\r\n0\r\n\r\n");
    let bad = "GET /c HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n";
    server.send(&format!("{GET}{good}{bad}{GET}")).await;
    let answers = server.read_all().await;
    assert_eq!(server.seen(), ["GET /a 0", "POST /b 3", "bad_request"]);
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 2);
    assert!(answers.contains("HTTP/1.1 400"), "{answers}");
    assert!(answers.contains("connection: close"));
    assert!(answers.ends_with("Content-Length is there more than once"));
}

#[tokio::test]
async fn a_refusal_is_tied_to_its_request_while_earlier_ones_are_under_way() {
    let mut server = start(PATIENT);
    server.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    tokio::time::sleep(SHORT).await;
    server.send("GET / HTTP/1.1\r\n\r\n").await;
    let answers = server.read_all().await;
    assert_eq!(server.seen(), ["GET /slow 0", "bad_request"]);
    assert!(answers.ends_with("the Host header is missing"));
}

#[tokio::test]
async fn a_refusal_reaches_a_client_that_has_shut_its_side() {
    let mut server = start(PATIENT);
    server.send("BAD\r\n").await;
    server.client.shutdown().await.unwrap();
    assert!(server.read_all().await.starts_with("HTTP/1.1 400"));
}

#[tokio::test]
async fn a_body_that_breaks_midway_is_never_complete() {
    let mut server = start(PATIENT);
    server.send(&post("/b", "3\r\nabc\r\n0x0\r\n\r\n")).await;
    server.send(GET).await;
    let answers = server.read_all().await;
    assert_eq!(server.seen(), ["POST /b bad_request"]);
    assert!(answers.contains("HTTP/1.1 400"), "{answers}");
    assert_eq!(answers.matches("HTTP/1.1").count(), 1);
}

#[tokio::test]
async fn a_body_cut_off_is_never_complete() {
    let mut server = start(PATIENT);
    server.send(&post("/b", "5\r\nabc")).await;
    server.client.shutdown().await.unwrap();
    server.read_all().await;
    assert!(server.seen().iter().all(|seen| seen == "POST /b cut off"));
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_is_served() {
    let mut server = start(PATIENT);
    for request in [GET.to_owned(), post("/b", "3\r\nabc\r\n0\r\nX: y\r\n\r\n")] {
        for byte in request.bytes() {
            server.client.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
    }
    server.read_to("POST /b").await;
    assert_eq!(server.seen(), ["GET /a 0", "POST /b 3"]);
}

#[tokio::test]
async fn a_head_as_large_as_allowed_is_served_and_a_larger_one_refused() {
    let padded = |len: usize| {
        let empty = "GET /a HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n".len();
        format!(
            "GET /a HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
            "x".repeat(len - empty)
        )
    };
    let mut server = start(PATIENT);
    server.send(&padded(LIMITS.headers)).await;
    assert!(server.read_to("GET /a").await.starts_with("HTTP/1.1 200"));
    server.send(&padded(LIMITS.headers + 1)).await;
    assert!(server.read_all().await.starts_with("HTTP/1.1 431"));
    assert_eq!(server.seen(), ["GET /a 0", Code::HeadersTooLarge.as_str()]);
}

#[tokio::test]
async fn half_a_head_is_answered_408_and_none_at_all_is_just_closed() {
    let impatient = Timeouts {
        request_headers: SHORT,
        ..PATIENT
    };
    let mut silent = start(impatient);
    assert_eq!(silent.read_all().await, "");
    assert!(silent.task.await.unwrap().is_ok());

    let mut half = start(impatient);
    half.send("GET / HTTP/1.1\r\n").await;
    assert!(half.read_all().await.starts_with("HTTP/1.1 408"));
    assert_eq!(half.seen(), ["request_timeout"]);

    // Each byte is not a new wait.
    let mut dribbled = start(impatient);
    dribbled.send("GET /").await;
    for _ in 0..500 {
        dribbled.send("x").await;
        let answer = tokio::time::timeout(SHORT / 10, dribbled.read_to("in time"));
        if let Ok(answer) = answer.await {
            assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
            return;
        }
    }
    panic!("a dribbled head was waited for without end");
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_keep_alive_and_a_busy_one_is_not() {
    let mut server = start(Timeouts {
        request_headers: SHORT,
        keep_alive: SHORT,
        ..PATIENT
    });
    // The answer takes longer than either wait.
    server.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(server.read_to("GET /slow").await.contains("200 OK"));
    let answered = clock::monotonic();
    assert_eq!(server.read_all().await, "");
    let waited = answered.elapsed();
    assert!(waited >= SHORT / 2, "{waited:?}");
}

#[tokio::test]
async fn half_a_head_behind_an_answer_is_timed_from_the_answer() {
    let mut server = start(Timeouts {
        request_headers: SHORT,
        ..PATIENT
    });
    server
        .send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\nGET /half")
        .await;
    let answers = server.read_all().await;
    assert_eq!(server.seen(), ["GET /slow 0", "request_timeout"]);
    assert!(answers.contains("HTTP/1.1 408"));
}

#[tokio::test]
async fn bytes_behind_a_websocket_request_reach_the_socket_after_101_and_not_before() {
    let mut server = start(PATIENT);
    server.send(&format!("{}early", websocket("/ws"))).await;
    let answer = server.read_to("early").await;
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nearly"));
    server.send("\0\u{1}GET / HTTP/1.1\r\n\r\n").await;
    assert!(
        server
            .read_to("HTTP/1.1\r\n\r\n")
            .await
            .starts_with("\0\u{1}GET")
    );
    assert_eq!(server.seen(), ["GET /ws"]);
}

#[tokio::test]
async fn bytes_behind_a_refused_websocket_request_are_judged_as_a_request() {
    let mut server = start(PATIENT);
    server.send(&format!("{}{GET}", websocket("/no"))).await;
    server.read_to("GET /a").await;
    assert_eq!(server.seen(), ["GET /no 0", "GET /a 0"]);
    server
        .send(&format!("{}\u{1}junk", websocket("/slow")))
        .await;
    assert!(server.read_all().await.contains("HTTP/1.1 400"));
    assert_eq!(server.seen()[2..], ["GET /slow 0", "bad_request"]);
}

#[tokio::test]
async fn a_pipelined_websocket_request_waits_for_its_own_answer() {
    let mut server = start(PATIENT);
    server.send(&format!("{GET}{}tail", websocket("/ws"))).await;
    let answers = server.read_to("tail").await;
    assert!(
        answers.contains("HTTP/1.1 101") && answers.ends_with("tail"),
        "{answers}"
    );
    assert_eq!(server.seen(), ["GET /a 0", "GET /ws"]);
}

#[tokio::test]
async fn a_client_that_goes_while_held_ends_its_request() {
    let mut server = start(PATIENT);
    server.send(&websocket("/never")).await;
    tokio::time::sleep(SHORT).await;
    drop(server.client);
    let ended = tokio::time::timeout(Duration::from_secs(5), server.task).await;
    assert!(ended.is_ok(), "the service was let go");
}

#[tokio::test]
async fn an_interim_answer_comes_before_the_final_one_and_at_once() {
    let mut server = start(PATIENT);
    // The answer before it may still be in hyper's buffer.
    server
        .send(&format!("{GET}GET /hints HTTP/1.1\r\nHost: a\r\n\r\n"))
        .await;
    let first = server.read_to("preload\r\n\r\n").await;
    assert!(
        first.contains("GET /aHTTP/1.1 103 Early Hints\r\nlink: </a.css>"),
        "{first}"
    );
    assert!(
        !first.contains("GET /hints"),
        "the final answer takes longer"
    );
    let rest = server.read_to("GET /hints").await;
    assert!(rest.starts_with("HTTP/1.1 200 OK"), "{rest}");
}

#[test]
fn interim_answers_are_bounded_and_never_late() {
    let (handle, shared) = GuardHandle::new();
    let exchange = handle.next_request().unwrap();
    let interim = exchange.interim();
    let send = || interim.send(StatusCode::EARLY_HINTS, &HeaderMap::new());
    assert!(send());
    assert!(!interim.send(StatusCode::OK, &HeaderMap::new()));
    assert!(!interim.send(StatusCode::SWITCHING_PROTOCOLS, &HeaderMap::new()));
    assert_eq!(
        shared.take_interim(false),
        None,
        "another answer is half written"
    );
    assert!(
        shared
            .take_interim(true)
            .unwrap()
            .starts_with(b"HTTP/1.1 103")
    );
    assert_eq!(shared.take_interim(true), None);
    let queued = std::iter::repeat_with(send).take(1000).filter(|sent| *sent);
    assert!((100..1000).contains(&queued.count()));
    // The final head is in the buffer behind half an answer: too late.
    exchange.answering(StatusCode::OK);
    assert_eq!(shared.take_interim(false), None);
    assert_eq!(shared.take_interim(true), None);
    assert!(!send());

    // One request's interim answers do not become another's.
    let next = handle.next_request().unwrap();
    assert!(!send());
    drop(exchange);
    assert!(
        next.interim()
            .send(StatusCode::EARLY_HINTS, &HeaderMap::new())
    );
    next.answering(StatusCode::OK);
    assert!(
        shared.take_interim(true).is_some(),
        "in time, for nothing stood before it"
    );
}

#[tokio::test]
async fn a_client_that_accepts_nothing_is_let_go() {
    let (client, io) = duplex(1024);
    let timeouts = Timeouts {
        response_body: SHORT,
        ..PATIENT
    };
    let mut server = serve(io, client, LIMITS, timeouts);
    server.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let ended = tokio::time::timeout(Duration::from_secs(5), server.task).await;
    assert!(ended.unwrap().unwrap().is_err());
}

#[tokio::test]
async fn an_answer_is_whole_though_the_request_asked_for_another_protocol() {
    let (client, io) = duplex(1024);
    let mut server = serve(io, client, LIMITS, PATIENT);
    let ask =
        "POST /a HTTP/1.1\r\nHost: a\r\nupgrade: foo\r\nUPGRADE: h2c\r\nContent-Length: 9\r\n\r\n";
    server.send(&format!("{ask}123456789")).await;
    server.read_to("POST /a").await;
    let (start, end) = ask.split_at(50);
    server.send(start).await;
    tokio::task::yield_now().await;
    server.send(&format!("{end}123456789")).await;
    server.read_to("POST /a").await;
    server.send(&ask.replace("/a", "/large")).await;
    let mut answer = Vec::new();
    server.client.read_to_end(&mut answer).await.unwrap();
    let body = answer.iter().position(|byte| *byte == b'x').unwrap();
    assert_eq!(answer.len() - body, 4 << 20);
}

#[tokio::test]
async fn a_client_that_still_sends_can_read_why_it_was_refused() {
    let mut server = start_tcp().await;
    server
        .send("POST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: 4000000\r\n\r\n")
        .await;
    server.send(&"x".repeat(4_000_000)).await;
    let answer = server.read_all().await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.ends_with("ignored"));

    let mut server = start_tcp().await;
    server.send("BAD\r\n").await;
    server.send(&"x".repeat(1_000_000)).await;
    assert!(server.read_all().await.starts_with("HTTP/1.1 400"));
}

#[tokio::test]
async fn an_answer_given_early_does_not_make_a_request_of_the_body() {
    let mut server = start(PATIENT);
    let request = format!(
        "POST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
        200_000 + GET.len()
    );
    server.send(&request).await;
    let mut answers = server.read_to("ignored").await;
    let _ = server
        .client
        .write_all("x".repeat(200_000).as_bytes())
        .await;
    let _ = server.client.write_all(GET.as_bytes()).await;
    answers.push_str(&server.read_all().await);
    assert_eq!(server.seen(), ["POST /ignore"]);
    assert_eq!(answers.matches("HTTP/1.1").count(), 1);
}

#[path = "agreement_tests.rs"]
mod agreement;
