//! Bodies, pipelines and splits.

use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits {
    request_line: 8192,
    headers: 65_536,
    header_count: 100,
};

const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// What comes out when the bytes come in these pieces, with the guard's bookkeeping.
fn feed<'p>(limits: Limits, pieces: impl IntoIterator<Item = &'p [u8]>) -> (Vec<u8>, Stop, u64) {
    let mut scanner = Scanner::new(limits);
    let (mut waiting, mut handed_on) = (Vec::new(), Vec::new());
    let mut stop = Stop::More;
    for piece in pieces {
        waiting.extend_from_slice(piece);
        let scan = scanner.scan(&waiting);
        handed_on.extend(waiting.drain(..scan.clean));
        stop = scan.stop;
    }
    (handed_on, stop, scanner.heads())
}

fn cut<'b>(bytes: &'b [u8], cuts: &[usize]) -> Vec<&'b [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    cuts.windows(2)
        .map(|pair| &bytes[pair[0]..pair[1]])
        .collect()
}

fn body(body: &str) -> Result<usize, Violation> {
    let scan = Scanner::new(LIMITS).scan(format!("{CHUNKED}{body}").as_bytes());
    match scan.stop {
        Stop::More => Ok(scan.clean - CHUNKED.len()),
        Stop::BadBody(violation) => Err(violation),
        other @ (Stop::Held | Stop::BadHead(_)) => panic!("{other:?}"),
    }
}

#[test]
fn each_pipelined_request_is_judged_alone() {
    let both = format!("{GET}{CHUNKED}3\r\nabc\r\n0\r\n\r\n{GET}");
    let mut scanner = Scanner::new(LIMITS);
    let scan = scanner.scan(both.as_bytes());
    assert_eq!((scan.clean, scan.stop), (both.len(), Stop::More));
    assert_eq!(scanner.heads(), 3);

    let then_bad = format!("{both}GET / HTTP/1.1\r\nHost : a\r\n\r\n{GET}");
    let mut scanner = Scanner::new(LIMITS);
    let scan = scanner.scan(then_bad.as_bytes());
    assert_eq!(scan.clean, both.len());
    assert_eq!(scan.stop, Stop::BadHead(Violation::BlankBeforeColon));
    // Nothing behind it is ever looked at.
    assert_eq!(scanner.scan(GET.as_bytes()).stop, scan.stop);
    assert_eq!(scanner.scan(GET.as_bytes()).clean, 0);
}

#[test]
fn a_body_of_known_length_hides_what_looks_like_a_request() {
    let request = format!(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
        GET.len()
    );
    let mut scanner = Scanner::new(LIMITS);
    let bytes = format!("{request}{GET}{GET}");
    assert_eq!(scanner.scan(bytes.as_bytes()).clean, bytes.len());
    assert_eq!(scanner.heads(), 2);
    let mut scanner = Scanner::new(LIMITS);
    scanner.scan(format!("{request}GET").as_bytes());
    assert!(scanner.awaits_body() && !scanner.awaits_head());
}

#[test]
fn chunks_are_clean_to_the_end_of_the_trailers() {
    for good in [
        "0\r\n\r\n",
        "1\r\nx\r\n0\r\n\r\n",
        "00a\r\n0123456789\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n",
        "5;a=\"b c\";d\r\nhello\r\n0;z\r\nX-Sum: 1\r\nY: 2\r\n\r\n",
        "0000000000000001\r\nx\r\n0000\r\n\r\n",
    ] {
        assert_eq!(body(good), Ok(good.len()), "{good:?}");
    }
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
    // Not one byte of them is handed on before the last is clean.
    assert_eq!(body("0\r\nX: y\r\n"), Ok(3));
}

#[test]
fn bytes_behind_a_request_for_a_websocket_wait_for_its_answer() {
    let ask = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let bytes = format!("{ask}\u{1}\u{2}not a request");
    let mut scanner = Scanner::new(LIMITS);
    let scan = scanner.scan(bytes.as_bytes());
    assert_eq!((scan.clean, scan.stop), (ask.len(), Stop::Held));
    let rest = &bytes.as_bytes()[ask.len()..];
    assert_eq!(
        scanner.scan(rest),
        Scan {
            clean: 0,
            stop: Stop::Held
        }
    );

    let mut refused = scanner.clone();
    refused.resume();
    assert_eq!(
        refused.scan(rest).stop,
        Stop::BadHead(Violation::RequestLine)
    );
    assert_eq!(refused.scan(rest).clean, 0);

    scanner.tunnel();
    assert_eq!(
        scanner.scan(rest),
        Scan {
            clean: rest.len(),
            stop: Stop::More
        }
    );
    scanner.resume();
    assert_eq!(scanner.scan(b"\0\xff").clean, 2, "a tunnel stays one");
}

#[test]
fn a_connection_cannot_be_talked_into_a_tunnel() {
    let mut scanner = Scanner::new(LIMITS);
    scanner.tunnel();
    assert_eq!(
        scanner.scan(b"\0").stop,
        Stop::BadHead(Violation::RequestLine)
    );
    scanner.tunnel();
    scanner.resume();
    assert_eq!(scanner.scan(GET.as_bytes()).clean, 0);
}

#[test]
fn a_dribbled_head_is_clean_with_its_last_byte_and_not_before() {
    let head = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "x".repeat(9000)
    );
    let mut scanner = Scanner::new(LIMITS);
    for end in 0..head.len() {
        assert_eq!(scanner.scan(&head.as_bytes()[..end]).clean, 0);
    }
    assert_eq!(scanner.scan(head.as_bytes()).clean, head.len());
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
        let (whole, stop, heads) = feed(limits, [&bytes[..]]);
        let (pieces, in_pieces, heads_in_pieces) = feed(limits, cut(&bytes, &cuts));
        prop_assert_eq!(stop, in_pieces);
        prop_assert_eq!(heads, heads_in_pieces);
        if matches!(stop, Stop::BadBody(_)) {
            prop_assert!(pieces.starts_with(&whole));
        } else {
            prop_assert_eq!(&whole, &pieces);
        }
        prop_assert!(bytes.starts_with(&pieces), "handed on is the input, byte for byte");
    }

    #[test]
    fn clean_requests_are_handed_on_byte_for_byte(
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
        let (handed_on, stop, heads) = feed(LIMITS, cut(&bytes, &cuts));
        prop_assert_eq!(stop, Stop::More);
        prop_assert_eq!(handed_on, bytes);
        prop_assert_eq!(heads, bodies.len() as u64);
    }
}
