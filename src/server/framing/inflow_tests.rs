//! Bodies, pipelines and splits, and that hyper reads what is clean as we do.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::*;

const LIMITS: Limits = Limits {
    request_line: 8192,
    headers: 65_536,
    header_count: 100,
};

const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// One request as it was read: method and target, and its body if that ended.
type Reading = (String, Option<Vec<u8>>);

/// What is read when the bytes come in these pieces, up to the first that is no request.
fn feed<'p>(
    limits: Limits,
    pieces: impl IntoIterator<Item = &'p [u8]>,
) -> (Vec<Reading>, Option<Violation>) {
    let mut inflow = Inflow::new(limits);
    read(&mut inflow, pieces)
}

fn read<'p>(
    inflow: &mut Inflow,
    pieces: impl IntoIterator<Item = &'p [u8]>,
) -> (Vec<Reading>, Option<Violation>) {
    let mut readings: Vec<Reading> = Vec::new();
    let mut body = Vec::new();
    for piece in pieces {
        inflow.bytes().extend_from_slice(piece);
        if let Err(violation) = read_on(inflow, &mut readings, &mut body) {
            let again = inflow.take_head().err().or(inflow.take_body().err());
            assert_eq!(again, Some(violation), "what was refused stays so");
            return (readings, Some(violation));
        }
    }
    (readings, None)
}

fn read_on(
    inflow: &mut Inflow,
    readings: &mut Vec<Reading>,
    body: &mut Vec<u8>,
) -> Result<(), Violation> {
    loop {
        if readings.last().is_none_or(|(_, body)| body.is_some()) {
            let Some((parts, _clean)) = inflow.take_head()? else {
                return Ok(());
            };
            readings.push((format!("{} {}", parts.method, parts.uri), None));
        }
        match inflow.take_body()? {
            Piece::More => return Ok(()),
            Piece::Frame(frame) => body.extend_from_slice(&frame.into_data().unwrap_or_default()),
            Piece::End => {
                if let Some((_, whole)) = readings.last_mut() {
                    *whole = Some(std::mem::take(body));
                }
            }
        }
    }
}

fn cut<'b>(bytes: &'b [u8], cuts: &[usize]) -> Vec<&'b [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    cuts.windows(2)
        .map(|pair| &bytes[pair[0]..pair[1]])
        .collect()
}

/// What is read of a chunked body; `None` where it has not ended.
fn body(body: &str) -> Result<Option<Vec<u8>>, Violation> {
    let (mut readings, violation) = feed(LIMITS, [CHUNKED.as_bytes(), body.as_bytes()]);
    violation.map_or(Ok(readings.remove(0).1), Err)
}

#[test]
fn each_pipelined_request_is_judged_alone() {
    let both = format!("{GET}{CHUNKED}3\r\nabc\r\n0\r\n\r\n{GET}");
    let (readings, violation) = feed(LIMITS, [both.as_bytes()]);
    let bodies: Vec<_> = readings.iter().map(|(_, body)| body.clone()).collect();
    assert_eq!(bodies, [Some(vec![]), Some(b"abc".to_vec()), Some(vec![])]);
    assert_eq!(violation, None);

    let then_bad = format!("{both}GET / HTTP/1.1\r\nHost : a\r\n\r\n{GET}");
    let (readings, violation) = feed(LIMITS, [then_bad.as_bytes()]);
    assert_eq!(readings.len(), 3, "nothing behind it is ever looked at");
    assert_eq!(violation, Some(Violation::BlankBeforeColon));
}

#[test]
fn a_body_of_known_length_hides_what_looks_like_a_request() {
    let request = format!(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
        GET.len()
    );
    let (readings, _) = feed(LIMITS, [format!("{request}{GET}{GET}").as_bytes()]);
    assert_eq!(readings.len(), 2);
    assert_eq!(readings[0].1.as_deref(), Some(GET.as_bytes()));
    let (readings, _) = feed(LIMITS, [format!("{request}GET").as_bytes()]);
    assert_eq!(readings[0].1, None);
}

#[test]
fn chunks_are_read_to_the_end_of_the_trailers() {
    for (good, data) in [
        ("0\r\n\r\n", ""),
        ("1\r\nx\r\n0\r\n\r\n", "x"),
        (
            "00a\r\n0123456789\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n",
            "01234567890123456789",
        ),
        (
            "5;a=\"b c\";d\r\nhello\r\n0;z\r\nX-Sum: 1\r\nY: 2\r\n\r\n",
            "hello",
        ),
        ("0000000000000001\r\nx\r\n0000\r\n\r\n", "x"),
    ] {
        assert_eq!(body(good), Ok(Some(data.as_bytes().to_vec())), "{good:?}");
    }
}

#[test]
fn trailers_come_behind_the_data_with_their_names_and_values() {
    let mut inflow = Inflow::new(LIMITS);
    let bytes = format!("{CHUNKED}0\r\nX-Sum:  1 \r\ny: 2\r\n\r\n{GET}");
    inflow.bytes().extend_from_slice(bytes.as_bytes());
    inflow.take_head().unwrap().unwrap();
    let Piece::Frame(frame) = inflow.take_body().unwrap() else {
        panic!("no trailers");
    };
    let trailers = frame.into_trailers().unwrap();
    assert_eq!(
        (&trailers["x-sum"], &trailers["y"]),
        (&"1".parse().unwrap(), &"2".parse().unwrap())
    );
    assert!(inflow.body_is_over() && inflow.take_head().unwrap().is_some());
}

#[test]
fn a_chunk_size_is_hexadecimal_digits_and_nothing_else() {
    for size in [
        "",
        "+5",
        "-5",
        "0x5",
        "5_0",
        " 5",
        "5 ",
        "5\t",
        "\t5",
        "g",
        "5h",
        "5,",
        "5.0",
        "\0",
        "5\0",
        "10000000000000005",
        "00000000000000005",
        "ffffffffffffffff",
        "8000000000000000",
        "\u{ff15}",
        "5\n",
    ] {
        let found = body(&format!("{size}\r\nhello\r\n0\r\n\r\n"));
        assert_eq!(found, Err(Violation::ChunkSize), "{size:?}");
    }
    assert_eq!(body("5\rx"), Err(Violation::ChunkEnd));
    assert_eq!(body("5\r\rhello"), Err(Violation::ChunkEnd));
}

#[test]
fn a_chunk_ends_with_crlf_where_its_size_says() {
    for end in ["\n", "\r", "\r\r\n", "x\r\n", "", "\n\r", "\r0", "\0\r\n"] {
        let found = body(&format!("5\r\nhello{end}0\r\n\r\n"));
        assert_eq!(found, Err(Violation::ChunkEnd), "{end:?}");
    }
}

#[test]
fn a_chunk_extension_is_short_and_has_no_line_end() {
    assert!(body(&format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(255))).is_ok());
    for extension in [
        "x".repeat(256),
        "x".repeat(70_000),
        "a\nb".to_owned(),
        "\n".to_owned(),
        "a\0".to_owned(),
        "a\tb".to_owned(),
        "a\u{7f}".to_owned(),
        "\u{e4}".to_owned(),
    ] {
        let found = body(&format!("5;{extension}\r\nhello\r\n0\r\n\r\n"));
        assert_eq!(found, Err(Violation::ChunkExtension), "{extension:.10?}");
    }
    assert_eq!(
        body("5;a\rb\r\nhello\r\n0\r\n\r\n"),
        Err(Violation::ChunkEnd)
    );
    // Short ones do not add up for ever.
    let many = format!("1;{}\r\nx\r\n", "x".repeat(200)).repeat(40);
    assert_eq!(body(&many), Err(Violation::ChunkExtension));
}

#[test]
fn trailers_keep_the_rules_of_headers_and_are_bounded() {
    for (trailers, violation) in [
        ("X : y\r\n\r\n".to_owned(), Violation::BlankBeforeColon),
        ("X: y\n\r\n".to_owned(), Violation::BareLf),
        ("X: y\r\n z\r\n\r\n".to_owned(), Violation::ObsFold),
        ("X: \0\r\n\r\n".to_owned(), Violation::Nul),
        ("\n".to_owned(), Violation::BareLf),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), Violation::NoColon),
        ("X: y\r\n".repeat(101), Violation::TrailersTooLarge),
        (
            format!("X: {}\r\n\r\n", "x".repeat(9000)),
            Violation::TrailersTooLarge,
        ),
        ("X".repeat(9000), Violation::TrailersTooLarge),
    ] {
        assert_eq!(
            body(&format!("0\r\n{trailers}")),
            Err(violation),
            "{trailers:.20?}"
        );
    }
    // Not one of them is handed on before the last is clean.
    assert_eq!(body("0\r\nX: y\r\n"), Ok(None));
}

#[test]
fn a_dribbled_head_is_a_request_with_its_last_byte_and_not_before() {
    let head = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "x".repeat(9000)
    );
    let mut inflow = Inflow::new(LIMITS);
    for byte in head.bytes() {
        assert!(inflow.take_head().unwrap().is_none());
        inflow.bytes().extend_from_slice(&[byte]);
    }
    assert!(inflow.take_head().unwrap().is_some() && inflow.is_empty());
}

/// What hyper makes of them. The second is what it answered.
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
    builder.half_close(true).max_headers(LIMITS.header_count);
    client.write_all(bytes).await.unwrap();
    client.shutdown().await.unwrap();
    let _ = builder.serve_connection(TokioIo::new(io), service).await;
    let mut answers = String::new();
    client.read_to_string(&mut answers).await.unwrap();
    let readings = readings.lock().unwrap().clone();
    (readings, answers)
}

/// Of what was taken hyper makes the same requests, and objects to none.
fn agrees(bytes: &[u8]) {
    let mut inflow = Inflow::new(LIMITS);
    let (mut expected, _) = read(&mut inflow, [bytes]);
    // What is left has not ended, or was refused: hyper may read it as it likes.
    let bytes = &bytes[..bytes.len() - inflow.into_bytes().len()];
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (found, answers) = runtime.block_on(by_hyper(bytes));
    // A request after which the connection closes hides those behind it.
    let lower = bytes.to_ascii_lowercase();
    let closes = lower.windows(5).any(|word| word == b"close")
        || bytes.windows(8).any(|word| word == b"HTTP/1.0");
    if closes {
        expected.truncate(found.len());
    }
    assert_eq!(found, expected, "{:?}", String::from_utf8_lossy(bytes));
    for status in ["HTTP/1.1 400", "HTTP/1.1 431", "HTTP/1.1 414", "HTTP/1.0 4"] {
        assert!(
            !answers.contains(status),
            "hyper objects: {:?}",
            String::from_utf8_lossy(bytes)
        );
    }
}

/// Pieces that good and bad traffic is made of.
fn bits() -> impl Strategy<Value = Vec<u8>> {
    let bit = prop_oneof![
        8 => prop::sample::select(vec![
            GET, CHUNKED, "GET / HTTP/1.1\r\n", "POST /x?y HTTP/1.1\r\n", "Host: a\r\n",
            "Content-Length: 3\r\n", "Transfer-Encoding: chunked\r\n", "X: y\r\n", "\r\n",
            "3\r\nabc\r\n", "0\r\n", "0\r\n\r\n", "5;x=y\r\n", "abc", "HTTP/1.0\r\n", "\r", "\n",
            " ", ":", ";", "5", "A", "\t", "\0", "#", "Upgrade: websocket\r\n",
        ]).prop_map(|bit| bit.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(bit, 0..12).prop_map(|bits| bits.concat())
}

/// Requests, most of which are clean.
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
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_verdict_does_not_depend_on_how_the_bytes_are_split(
        bytes in bits(),
        cuts in prop::collection::vec(any::<usize>(), 0..8),
        tight in any::<bool>(),
    ) {
        let limits = if tight {
            Limits { request_line: 24, headers: 70, header_count: 3 }
        } else {
            LIMITS
        };
        let whole = feed(limits, [&bytes[..]]);
        let in_pieces = feed(limits, cut(&bytes, &cuts));
        prop_assert_eq!(whole, in_pieces);
    }

    #[test]
    fn clean_bodies_are_handed_on_byte_for_byte(
        bodies in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..40), any::<bool>()), 1..6),
        cuts in prop::collection::vec(any::<usize>(), 0..8),
    ) {
        let mut bytes = Vec::new();
        for (body, chunked) in &bodies {
            if *chunked {
                bytes.extend_from_slice(CHUNKED.as_bytes());
                for piece in body.chunks(7) {
                    bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                    bytes.extend_from_slice(piece);
                    bytes.extend_from_slice(b"\r\n");
                }
                bytes.extend_from_slice(b"0\r\n\r\n");
            } else {
                let head = format!("PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
                bytes.extend_from_slice(head.as_bytes());
                bytes.extend_from_slice(body);
            }
        }
        let (readings, violation) = feed(LIMITS, cut(&bytes, &cuts));
        prop_assert_eq!(violation, None);
        let read: Vec<_> = readings.into_iter().map(|(_, body)| body.unwrap()).collect();
        let sent: Vec<_> = bodies.into_iter().map(|(body, _)| body).collect();
        prop_assert_eq!(read, sent);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn hyper_reads_what_is_clean_with_the_same_boundaries(bytes in requests()) {
        agrees(&bytes);
    }

    #[test]
    fn hyper_reads_what_is_clean_of_spoilt_requests_with_the_same_boundaries(
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
