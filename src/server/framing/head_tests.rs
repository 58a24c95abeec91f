//! Heads that can be read in two ways, and those that cannot.

use super::*;

const LIMITS: Limits = Limits {
    request_line: 8192,
    headers: 65_536,
    header_count: 100,
};

fn judge(head: &[u8]) -> Result<Option<CleanHead>, Violation> {
    Head::default().advance(head, &LIMITS)
}

/// A GET with these further lines, each with its own line end.
fn get(lines: &str) -> Result<Option<CleanHead>, Violation> {
    judge(format!("GET / HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n").as_bytes())
}

fn framing(lines: &str) -> Framing {
    get(lines).unwrap().unwrap().framing
}

fn refused(lines: &str) -> Violation {
    get(lines).unwrap_err()
}

fn line(request_line: &str) -> Result<bool, Violation> {
    judge(format!("{request_line}\r\nHost: a.test\r\n\r\n").as_bytes()).map(|head| head.is_some())
}

#[test]
fn a_plain_request_is_clean_to_its_last_byte() {
    let head = b"POST /a?b=c HTTP/1.1\r\nHost: a.test\r\nContent-Length: 12\r\nX: \xe4\ty \r\n\r\n";
    let mut longer = head.to_vec();
    longer.extend_from_slice(b"GET / HTTP");
    assert_eq!(
        judge(&longer),
        Ok(Some(CleanHead {
            len: head.len(),
            framing: Framing::Length(12),
            upgrade: false,
            persists: true,
            expects: Expects::Nothing,
        }))
    );
}

#[test]
fn forty_eight_spellings_of_transfer_encoding_are_refused_beside_a_content_length() {
    let spellings = [
        "Transfer-Encoding: chunked",
        "transfer-encoding: chunked",
        "TRANSFER-ENCODING: CHUNKED",
        "Transfer-Encoding:chunked",
        "Transfer-Encoding:  chunked",
        "Transfer-Encoding:\tchunked",
        "Transfer-Encoding: chunked ",
        "Transfer-Encoding: chunked\t",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        " Transfer-Encoding: chunked",
        "\tTransfer-Encoding: chunked",
        "X: y\r\n Transfer-Encoding: chunked",
        "X: y\nTransfer-Encoding: chunked",
        "X: y\rTransfer-Encoding: chunked",
        "X: y\r\rTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\r",
        "Transfer-Encoding:\r\n chunked",
        "Transfer-Encoding:\n chunked",
        "Transfer-Encoding\r\n: chunked",
        "Transfer-Encoding: \u{b}chunked",
        "Transfer-Encoding: \u{c}chunked",
        "Transfer-Encoding: chunked\u{b}",
        "Transfer-Encoding: \0chunked",
        "Transfer-Encoding: chunked\0",
        "Transfer-Encoding\0: chunked",
        "Transfer-Encoding: \u{7f}chunked",
        "Transfer-Encoding: \u{8}chunked",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunkedx",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: 'chunked'",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding: chunked; x",
        "Transfer-Encoding: chunked,",
        "Transfer-Encoding: ,chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: identity, chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: cow",
        "Transfer-Encoding:",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: ch\u{fc}nked",
        "Transfer-Encoding: ch\u{212a}nked",
        "Transfer-Encod\u{131}ng: chunked",
    ];
    for spelling in spellings {
        for lines in [
            format!("Content-Length: 5\r\n{spelling}\r\n"),
            format!("{spelling}\r\nContent-Length: 5\r\n"),
        ] {
            assert!(get(&lines).is_err(), "{lines:?}");
        }
        // Alone, only what every parser reads as `chunked` passes.
        if let Ok(Some(head)) = get(&format!("{spelling}\r\n")) {
            assert_eq!(head.framing, Framing::Chunked);
            let value = spelling.to_ascii_lowercase();
            assert_eq!(value.replace(' ', ""), "transfer-encoding:chunked");
            assert!(!value.ends_with(' '), "{spelling:?}");
        }
    }
}

#[test]
fn names_that_only_look_like_transfer_encoding_do_not_frame() {
    for name in [
        "Transfer_Encoding",
        "Transfer-Encoding2",
        "X-Transfer-Encoding",
    ] {
        assert_eq!(framing(&format!("{name}: chunked\r\n")), Framing::Length(0));
    }
}

#[test]
fn transfer_encoding_is_exactly_chunked_once_and_in_http_1_1_only() {
    assert_eq!(framing("Transfer-Encoding: chunked\r\n"), Framing::Chunked);
    assert_eq!(framing("tRANSFER-eNCODING: CHUnked\r\n"), Framing::Chunked);
    assert_eq!(
        refused("Transfer-Encoding: gzip, chunked\r\n"),
        Violation::CodingInvalid
    );
    assert_eq!(
        refused("Transfer-Encoding: chunked\r\nX: y\r\nTransfer-Encoding: chunked\r\n"),
        Violation::CodingTwice
    );
    assert_eq!(
        judge(b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"),
        Err(Violation::CodingInHttp10)
    );
    assert_eq!(
        refused("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n"),
        Violation::BothLengths
    );
}

#[test]
fn a_content_length_is_plain_digits_once() {
    assert_eq!(framing("Content-Length: 0\r\n"), Framing::Length(0));
    assert_eq!(framing("Content-Length:42\r\n"), Framing::Length(42));
    assert_eq!(framing("Content-Length: 007\r\n"), Framing::Length(7));
    assert_eq!(
        framing("Content-Length: 9223372036854775807\r\n"),
        Framing::Length(MAX_LENGTH)
    );
    for value in [
        "", " ", "+5", "-5", "-0", "0x5", "5h", "5 ", "5\t", "\t5", "5 5", "5.0", "1e3", "5;",
        "five", "\u{665}", "5_0", "\"5\"",
    ] {
        let found = refused(&format!("Content-Length: {value}\r\n"));
        assert_eq!(found, Violation::LengthInvalid, "{value:?}");
    }
    for value in ["5, 5", "5,5", "5,6", ",5", "5,"] {
        let found = refused(&format!("Content-Length: {value}\r\n"));
        assert_eq!(found, Violation::LengthTwice, "{value:?}");
    }
    for value in [
        "9223372036854775808",
        "18446744073709551616",
        &"9".repeat(400),
    ] {
        let found = refused(&format!("Content-Length: {value}\r\n"));
        assert_eq!(found, Violation::LengthTooLarge, "{value:?}");
    }
    for (first, second) in [("5", "5"), ("5", "6"), ("0", "0")] {
        let found = refused(&format!(
            "Content-Length: {first}\r\ncontent-length: {second}\r\n"
        ));
        assert_eq!(found, Violation::LengthTwice);
    }
    assert_eq!(refused("Content-Length: 5\0\r\n"), Violation::Nul);
    assert_eq!(
        refused("Content-Length : 5\r\n"),
        Violation::BlankBeforeColon
    );
}

#[test]
fn lines_end_with_crlf_and_nothing_else() {
    assert_eq!(refused("X: y\n"), Violation::BareLf);
    assert_eq!(refused("X: y\rZ: z\r\n"), Violation::BareCr);
    assert_eq!(refused("X: y\r\r\n"), Violation::BareCr);
    assert_eq!(refused("X\r: y\r\n"), Violation::BareCr);
    assert_eq!(refused("\n"), Violation::BareLf);
    assert_eq!(
        judge(b"GET / HTTP/1.1\nHost: a\r\n\r\n"),
        Err(Violation::BareLf)
    );
    assert_eq!(
        judge(b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n"),
        Err(Violation::BareCr)
    );
    assert_eq!(
        judge(b"GET /\rx HTTP/1.1\r\nHost: a\r\n\r\n"),
        Err(Violation::BareCr)
    );
}

#[test]
fn a_field_line_is_a_name_a_colon_and_a_value() {
    assert_eq!(refused(" X: y\r\n"), Violation::ObsFold);
    assert_eq!(refused("X: y\r\n z\r\n"), Violation::ObsFold);
    assert_eq!(refused("X : y\r\n"), Violation::BlankBeforeColon);
    assert_eq!(refused(": y\r\n"), Violation::EmptyName);
    assert_eq!(refused("X\r\n"), Violation::NoColon);
    assert_eq!(refused("X y\r\n"), Violation::NoColon);
    assert_eq!(refused("X\0: y\r\n"), Violation::NameByte);
    assert_eq!(refused("X(: y\r\n"), Violation::NameByte);
    assert_eq!(refused("\u{fc}: y\r\n"), Violation::NameByte);
    assert_eq!(refused("X: \0\r\n"), Violation::Nul);
    assert_eq!(refused("X: \u{1b}[31m\r\n"), Violation::Control);
    assert_eq!(
        refused(&format!("{}: y\r\n", "n".repeat(257))),
        Violation::NameTooLong
    );
    assert!(get(&format!("{}: y\r\nX:\r\nY: \t \r\n", "n".repeat(256))).is_ok());
}

#[test]
fn host_is_there_once() {
    assert_eq!(
        judge(b"GET / HTTP/1.1\r\n\r\n"),
        Err(Violation::HostMissing)
    );
    assert_eq!(refused("Host: a.test\r\n"), Violation::HostTwice);
    assert_eq!(refused("hOST: b.test\r\n"), Violation::HostTwice);
    assert!(judge(b"GET / HTTP/1.0\r\n\r\n").is_ok());
    assert_eq!(
        judge(b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"),
        Err(Violation::HostTwice)
    );
}

#[test]
fn a_request_line_is_three_words_and_two_blanks() {
    assert_eq!(line("GET / HTTP/1.1"), Ok(true));
    assert_eq!(line("GET / HTTP/1.0"), Ok(true));
    assert_eq!(line("M-SEARCH /~a?b=[c]|{d} HTTP/1.1"), Ok(true));
    for junk in [
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET / HTTP/1.1 x",
        "GET / x HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET",
        "G\0T / HTTP/1.1",
        "GE(T / HTTP/1.1",
        "G\u{c9}T / HTTP/1.1",
        "GET / http/1.1",
        "GET / HTTPS/1.1",
        "GET /\tHTTP/1.1 x",
    ] {
        assert_eq!(line(junk), Err(Violation::RequestLine), "{junk:?}");
    }
    for early in [
        " GET / HTTP/1.1",
        "\tGET / HTTP/1.1",
        ":GET / HTTP/1.1",
        "\0",
        "{\"a\": 1}",
    ] {
        assert_eq!(line(early), Err(Violation::RequestLine), "{early:?}");
    }
    for version in [
        "HTTP/0.9",
        "HTTP/1.2",
        "HTTP/2.0",
        "HTTP/1.10",
        "HTTP/01.1",
        "HTTP/1",
        "HTTP/",
    ] {
        assert_eq!(line(&format!("GET / {version}")), Err(Violation::Version));
    }
    for early in ["GET /", "GET /\tHTTP/1.1"] {
        assert_eq!(line(early), Err(Violation::NoVersion), "{early:?}");
    }
}

#[test]
fn a_target_has_the_form_that_its_method_takes() {
    for good in [
        "GET /",
        "GET /a/b;c=d?e=f&g=%20",
        "GET //",
        "GET /?",
        "GET http://a.test/x",
        "GET HTTPS://a.test",
        "OPTIONS *",
        "OPTIONS /",
        "CONNECT a.test:443",
    ] {
        assert_eq!(line(&format!("{good} HTTP/1.1")), Ok(true), "{good}");
    }
    for bad in [
        "GET *",
        "GET a.test:443",
        "GET x",
        "GET ?x",
        "GET http:///x",
        "GET http://",
        "GET ftp://a.test/",
        "GET javascript:alert(1)",
        "CONNECT /",
        "CONNECT http://a.test/",
        "CONNECT *",
    ] {
        assert_eq!(
            line(&format!("{bad} HTTP/1.1")),
            Err(Violation::TargetForm),
            "{bad}"
        );
    }
    assert_eq!(line("GET /#x HTTP/1.1"), Err(Violation::TargetFragment));
    assert_eq!(line("GET /?a#x HTTP/1.1"), Err(Violation::TargetFragment));
    assert_eq!(line("GET /a\\b HTTP/1.1"), Err(Violation::TargetBackslash));
    assert_eq!(line("GET /\u{e4} HTTP/1.1"), Err(Violation::TargetByte));
    assert_eq!(line("GET /\0 HTTP/1.1"), Err(Violation::TargetByte));
    assert_eq!(line("GET /\u{7f} HTTP/1.1"), Err(Violation::TargetByte));
    assert_eq!(line("GET /a\tb HTTP/1.1"), Err(Violation::TargetByte));
}

#[test]
fn one_empty_line_may_stand_before_a_request() {
    let request = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let head = judge(format!("\r\n{request}").as_bytes()).unwrap().unwrap();
    assert_eq!(head.len, request.len() + 2);
    for (before, violation) in [
        ("\r\n\r\n", Violation::EmptyLines),
        ("\n", Violation::BareLf),
        ("\r\n\n", Violation::BareLf),
        ("\r", Violation::BareCr),
        ("\r\n\r", Violation::EmptyLines),
    ] {
        let found = judge(format!("{before}{request}").as_bytes());
        assert_eq!(found, Err(violation), "{before:?}");
    }
}

#[test]
fn other_protocols_are_told_by_their_first_bytes() {
    assert_eq!(judge(b"\x16\x03\x01\x02"), Err(Violation::TlsHello));
    assert_eq!(
        judge(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        Err(Violation::Http2Preface)
    );
    assert_eq!(judge(b"\0\0\0\x04"), Err(Violation::RequestLine));
}

#[test]
fn only_a_websocket_without_a_body_is_held() {
    let upgrade = |lines: &str| get(lines).map(|head| head.unwrap().upgrade);
    assert_eq!(upgrade("Upgrade: websocket\r\n"), Ok(true));
    assert_eq!(upgrade("uPGRADE: h2c, WebSocket\r\n"), Ok(true));
    assert_eq!(upgrade("Upgrade: websocket/13\r\n"), Ok(true));
    assert_eq!(
        upgrade("Upgrade: websocket\r\nContent-Length: 0\r\n"),
        Ok(true)
    );
    for other in ["h2c", "TLS/1.0", "foo", "websocket2", "xwebsocket", ""] {
        assert_eq!(upgrade(&format!("Upgrade: {other}\r\n")), Ok(false));
    }
    for body in ["Content-Length: 1", "Transfer-Encoding: chunked"] {
        for lines in [
            format!("Upgrade: websocket\r\n{body}\r\n"),
            format!("{body}\r\nUpgrade: websocket\r\n"),
        ] {
            assert_eq!(refused(&lines), Violation::UpgradeWithBody);
        }
    }
    // Such clients exist (Java's speaks h2c first), and this is framed like any request.
    assert_eq!(
        framing("Upgrade: h2c\r\nContent-Length: 3\r\n"),
        Framing::Length(3)
    );
}

#[test]
fn limits_hold_to_the_byte() {
    let limits = Limits {
        request_line: 20,
        headers: 60,
        header_count: 2,
    };
    let judge = |head: &str| {
        Head::default()
            .advance(head.as_bytes(), &limits)
            .map(|h| h.is_some())
    };
    // `GET /23456 HTTP/1.1` is 19 bytes.
    assert_eq!(judge("GET /234567 HTTP/1.1\r\nHost: a\r\n\r\n"), Ok(true));
    for long in [
        "GET /2345678 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /2345678 HTTP/1.1\r",
        "GET /234567890123456789",
    ] {
        assert_eq!(judge(long), Err(Violation::RequestLineTooLong), "{long}");
    }
    assert_eq!(judge("GET /234567 HTTP/1.1\r"), Ok(false));
    // 18 + 9 + 2 and what X adds.
    let with_x = |value: usize| {
        format!(
            "GET /2345 HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
            "x".repeat(value)
        )
    };
    assert_eq!(with_x(24).len(), 60);
    assert_eq!(judge(&with_x(24)), Ok(true));
    assert_eq!(judge(&with_x(25)), Err(Violation::HeadTooLarge));
    assert_eq!(judge(&with_x(2500)), Err(Violation::HeadTooLarge));
    assert_eq!(judge(with_x(2500).trim_end()), Err(Violation::HeadTooLarge));
    assert_eq!(
        judge("GET / HTTP/1.1\r\nHost: a\r\nA: b\r\nB: c\r\n\r\n"),
        Err(Violation::TooManyFields)
    );
}

fn request(head: &str) -> http::request::Parts {
    let mut judge = Head::default();
    let clean = judge.advance(head.as_bytes(), &LIMITS).unwrap().unwrap();
    let bytes = Bytes::copy_from_slice(&head.as_bytes()[..clean.len]);
    judge.take(&clean, &bytes).unwrap()
}

#[test]
fn a_request_has_what_its_head_says_and_values_without_the_blanks_around_them() {
    let parts = request(
        "\r\nPUT /a%20b?c=d HTTP/1.0\r\nHost: a.test\r\nX-One: \t two  words \t\r\nx-one:\r\nX-Two:   \r\n\r\n",
    );
    assert_eq!(
        (parts.method.as_str(), parts.version),
        ("PUT", Version::HTTP_10)
    );
    assert_eq!(parts.uri, "/a%20b?c=d");
    let values: Vec<_> = parts.headers.get_all("x-one").iter().collect();
    assert_eq!(values, ["two  words", ""]);
    assert_eq!(parts.headers["x-two"], "");
    assert_eq!(parts.headers.len(), 4);
}

#[test]
fn an_upgrade_to_something_other_than_a_websocket_is_disregarded() {
    let asks = |lines: &str| {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n{lines}\r\n");
        request(&head).headers.contains_key("upgrade")
    };
    assert!(asks("Upgrade: websocket\r\n"));
    assert!(!asks("Upgrade: h2c\r\n"));
    let old = "GET / HTTP/1.0\r\nUpgrade: websocket\r\n\r\n";
    assert!(!request(old).headers.contains_key("upgrade"));
}

#[test]
fn a_connection_persists_as_its_version_and_its_options_say() {
    let persists = |version: &str, lines: &str| {
        let head = format!("GET / HTTP/{version}\r\nHost: a\r\n{lines}\r\n");
        judge(head.as_bytes()).unwrap().unwrap().persists
    };
    assert!(persists("1.1", ""));
    assert!(!persists("1.1", "Connection: x, Close\r\n"));
    assert!(!persists(
        "1.1",
        "Connection: keep-alive\r\nConnection: close\r\n"
    ));
    assert!(!persists("1.0", ""));
    assert!(persists("1.0", "Connection: Keep-Alive\r\n"));
    assert!(!persists("1.0", "Connection: keep-alive, close\r\n"));
}

#[test]
fn only_a_client_that_says_so_waits_for_100_and_every_other_expectation_is_unclear() {
    let expects = |version: &str, value: &str| {
        let head = format!("GET / HTTP/{version}\r\nHost: a\r\nExpect: {value}\r\n\r\n");
        judge(head.as_bytes()).unwrap().unwrap().expects
    };
    assert_eq!(expects("1.1", "100-Continue"), Expects::Continue);
    assert_eq!(expects("1.0", "100-continue"), Expects::Unclear);
    assert_eq!(expects("1.1", "100-continue, x"), Expects::Unclear);
    let both = "x\r\nExpect: 100-continue";
    assert_eq!(expects("1.1", both), Expects::Unclear);
}
