//! What the scanner calls clean, hyper reads with the same boundaries.

use proptest::prelude::*;

use super::super::super::scanner::{Scanner, Stop};
use super::*;

/// One request as it was read: method and target, and its body if that ended.
type Reading = (String, Option<Vec<u8>>);

/// What the scanner makes of the bytes, found byte by byte.
fn by_scanner(bytes: &[u8]) -> (Vec<Reading>, Vec<u8>) {
    let mut scanner = Scanner::new(LIMITS);
    let (mut waiting, mut clean, mut message) = (Vec::new(), Vec::new(), Vec::new());
    let mut readings: Vec<Reading> = Vec::new();
    let mut heads = 0;
    let end = |readings: &mut Vec<Reading>, message: &mut Vec<u8>, chunked| {
        if let Some((_, body)) = readings.last_mut() {
            *body = Some(if chunked {
                unchunked(message)
            } else {
                message.clone()
            });
        }
        message.clear();
    };
    let mut chunked = false;
    for byte in bytes {
        waiting.push(*byte);
        let in_body = scanner.awaits_body();
        let scan = scanner.scan(&waiting);
        message.extend_from_slice(&waiting[..scan.clean]);
        clean.extend(waiting.drain(..scan.clean));
        if scanner.heads() > heads {
            heads = scanner.heads();
            let text = String::from_utf8_lossy(&message).into_owned();
            let line = text.trim_start().lines().next().unwrap().to_owned();
            chunked = text.to_ascii_lowercase().contains("\r\ntransfer-encoding:");
            message.clear();
            let words: Vec<&str> = line.split(' ').collect();
            // An absolute target without a path gets one when it is written again.
            let target: http::Uri = words[1].parse().unwrap();
            readings.push((format!("{} {target}", words[0]), None));
            if !scanner.awaits_body() {
                end(&mut readings, &mut message, false);
            }
        } else if in_body && !scanner.awaits_body() && scan.stop == Stop::More {
            end(&mut readings, &mut message, chunked);
        }
        if scan.stop != Stop::More {
            break;
        }
    }
    (readings, clean)
}

/// A reader of chunks as plain as can be.
fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let line = rest.split(|byte| *byte == b'\r').next().unwrap();
        let size = line.split(|byte| *byte == b';').next().unwrap();
        let size = usize::from_str_radix(str::from_utf8(size).unwrap(), 16).unwrap();
        rest = &rest[line.len() + 2..];
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&rest[..size]);
        rest = &rest[size + 2..];
    }
}

/// What hyper makes of them, without a guard. The second is what it answered.
async fn by_hyper(bytes: &[u8]) -> (Vec<Reading>, String) {
    let (mut client, io) = duplex(1 << 20);
    let readings: Arc<Mutex<Vec<Reading>>> = Arc::default();
    let noted = Arc::clone(&readings);
    let service = service_fn(move |request: Request<Incoming>| {
        let noted = Arc::clone(&noted);
        async move {
            let line = format!("{} {}", request.method(), request.uri());
            let body = request.into_body().collect().await;
            let body = body.ok().map(|body| body.to_bytes().to_vec());
            noted.lock().unwrap().push((line, body));
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("served")))
        }
    });
    let mut builder = http1::Builder::new();
    configure(&mut builder, &LIMITS);
    builder.half_close(true);
    client.write_all(bytes).await.unwrap();
    client.shutdown().await.unwrap();
    let _ = builder.serve_connection(TokioIo::new(io), service).await;
    let mut answers = String::new();
    client.read_to_string(&mut answers).await.unwrap();
    let readings = readings.lock().unwrap().clone();
    (readings, answers)
}

fn agrees(bytes: &[u8]) {
    let (expected, clean) = by_scanner(bytes);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (found, answers) = runtime.block_on(by_hyper(&clean));
    // A request after which the connection closes hides those behind it, which is safe.
    let closes = clean
        .to_ascii_lowercase()
        .windows(5)
        .any(|word| word == b"close")
        || clean.windows(8).any(|word| word == b"HTTP/1.0");
    let expected = if closes {
        &expected[..found.len().min(expected.len())]
    } else {
        &expected[..]
    };
    assert_eq!(found, expected, "{:?}", String::from_utf8_lossy(&clean));
    for status in ["HTTP/1.1 400", "HTTP/1.1 431", "HTTP/1.1 414", "HTTP/1.0 4"] {
        assert!(
            !answers.contains(status),
            "hyper objects: {:?}",
            String::from_utf8_lossy(&clean)
        );
    }
}

/// Pieces of requests, most of which fit together.
fn requests() -> impl Strategy<Value = Vec<u8>> {
    let target = prop_oneof![
        Just("/".to_owned()),
        Just("http://h.test/a?b".to_owned()),
        "/[!-~]{0,12}",
    ];
    let line = (
        prop::sample::select(vec!["GET", "POST", "x!#$", "OPTIONS"]),
        target,
        0..10_u8,
    )
        .prop_map(|(method, target, old)| {
            let version = if old == 0 { "1.0" } else { "1.1" };
            format!("{method} {target} HTTP/{version}\r\nHost: a\r\n")
        });
    let field = prop_oneof![
        "[A-Za-z_!-]{1,8}:[ \t]?[ -~]{0,8}\r\n",
        prop::sample::select(vec![
            "Connection: close\r\n",
            "Connection: keep-alive\r\n",
            "Expect: 100-continue\r\n",
            "Expect: x\r\n",
            "TE: trailers\r\n",
            "X: \u{e4}\r\n",
            "Trailer: X\r\n",
        ])
        .prop_map(str::to_owned),
    ];
    let body = prop_oneof![
        3 => Just("\r\n".to_owned()),
        2 => "[ -~\r\n]{0,9}".prop_map(|body| format!("Content-Length: {}\r\n\r\n{body}", body.len())),
        3 => (prop::collection::vec(("[ -~\r\n]{1,9}", "(;[ -~]{0,5})?"), 0..3), "(X: [ -~]{0,5}\r\n)?")
            .prop_map(|(chunks, trailers)| {
                let chunks = chunks.iter()
                    .map(|(data, extension)| format!("{:X}{extension}\r\n{data}\r\n", data.len()))
                    .collect::<Vec<_>>()
                    .concat();
                format!("Transfer-Encoding: chunked\r\n\r\n{chunks}0\r\n{trailers}\r\n")
            }),
    ];
    let request = (
        any::<bool>(),
        line,
        prop::collection::vec(field, 0..4),
        body,
    )
        .prop_map(|(empty, line, fields, body)| {
            let empty = if empty { "\r\n" } else { "" };
            format!("{empty}{line}{}{body}", fields.concat()).into_bytes()
        });
    prop::collection::vec(request, 1..4).prop_map(|requests| requests.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn hyper_reads_what_is_clean_with_the_same_boundaries(bytes in requests()) {
        agrees(&bytes);
    }

    #[test]
    fn hyper_reads_what_is_left_clean_of_spoilt_requests_with_the_same_boundaries(
        mut bytes in requests(),
        spoils in prop::collection::vec((any::<usize>(), prop::sample::select(b"\r\n \t\0:;,0f-+#x\\\x80\x7f".to_vec()), 0..3_u8), 1..4),
    ) {
        for (at, byte, how) in spoils {
            let at = at % bytes.len();
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => if bytes.len() > 1 { bytes.remove(at); },
            }
        }
        agrees(&bytes);
    }
}
