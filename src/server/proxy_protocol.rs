//! Reads the PROXY protocol's header (versions 1 and 2) from the start of a connection.
//!
//! Only for peers that the configuration trusts: the caller decides that, and anyone else's header
//! is what it looks like, garbage. Exactly the header is taken from the stream, the bytes behind it
//! are the client's. HAProxy's proxy-protocol.txt, sections 2.1 and 2.2.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use ppp::{v1, v2};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Most bytes of a version 1 header (section 2.1: 107 with its line end).
const V1_BYTES: usize = 107;
/// Fewest: `PROXY UNKNOWN\r\n`.
const V1_LEAST: usize = 15;
/// Most bytes of a version 2 header: what every receiver must take (section 2.2).
const V2_BYTES: usize = 536;
/// Signature, version, family and length, before the addresses.
const V2_LEAST: usize = 16;

const V1_PREFIX: &[u8] = b"PROXY ";
const V1_UNKNOWN: &[u8] = b"PROXY UNKNOWN";

/// Who speaks on the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// A client, behind the proxy.
    Client {
        /// The client.
        source: SocketAddr,
        /// The address that the client connected to.
        destination: SocketAddr,
    },
    /// The proxy itself (`LOCAL`, as in its health checks), or a client that it cannot tell
    /// (`UNKNOWN`, a unix socket): the connection's own peer stands.
    Peer,
}

/// Why a connection of a trusted proxy cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// It begins otherwise.
    #[error(
        "the connection does not begin with a PROXY protocol header; either make the proxy send it \
         (HAProxy `send-proxy-v2`, nginx `proxy_protocol on`), or set `proxy_protocol = false`"
    )]
    Missing,
    /// More than the protocol allows.
    #[error("the PROXY protocol header is longer than the {limit} bytes that its version may have")]
    TooLong {
        /// Most bytes of this version.
        limit: usize,
    },
    /// Version 1, not as it should be.
    #[error("the PROXY protocol header (version 1) is malformed")]
    V1(#[source] v1::BinaryParseError),
    /// Version 1, with more than its grammar has.
    #[error("the PROXY protocol header (version 1) is malformed: {0}")]
    V1Line(&'static str),
    /// Version 2, not as it should be.
    #[error("the PROXY protocol header (version 2) is malformed")]
    V2(#[source] v2::ParseError),
    /// About datagrams, on a stream.
    #[error("the PROXY protocol header tells of a datagram, but this is a TCP connection")]
    Datagram,
    /// Closed within the header.
    #[error("the connection was closed before the PROXY protocol header was whole")]
    Closed,
    /// Not whole in time.
    #[error("the PROXY protocol header did not arrive in time")]
    Late,
    /// The connection broke.
    #[error("the PROXY protocol header could not be read")]
    Io(#[from] io::Error),
}

/// Reads the header and tells who speaks. What follows it stays in the stream.
///
/// # Errors
///
/// [`ProxyError`] when there is no sound header by `deadline`; the connection must be closed, for
/// nothing tells whose it is.
pub async fn read(stream: &mut TcpStream, deadline: Instant) -> Result<Speaker, ProxyError> {
    let header = tokio::time::timeout_at(deadline.into(), take(stream))
        .await
        .map_err(|_elapsed| ProxyError::Late)??;
    parse(&header)
}

async fn take(stream: &mut TcpStream) -> Result<Vec<u8>, ProxyError> {
    let mut header = Vec::with_capacity(V1_BYTES);
    loop {
        let most = match next(&header)? {
            Next::Done => return Ok(header),
            Next::Bytes(most) => most,
            Next::Line(most) => line_bytes(stream, most).await?,
        };
        let most = u64::try_from(most).unwrap_or(0);
        if stream.take(most).read_buf(&mut header).await? == 0 {
            return Err(ProxyError::Closed);
        }
    }
}

/// How many of the bytes that have arrived belong to the line; at most `most`.
async fn line_bytes(stream: &TcpStream, most: usize) -> Result<usize, ProxyError> {
    let mut ahead = [0; V1_BYTES];
    let room = ahead.get_mut(..most).unwrap_or_default();
    let arrived = stream.peek(room).await?;
    if arrived == 0 {
        return Err(ProxyError::Closed);
    }
    let end = memchr::memchr(b'\n', room.get(..arrived).unwrap_or_default());
    Ok(end.map_or(arrived, |end| end.saturating_add(1)))
}

/// What may be taken from the stream next.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// So many bytes are the header's for sure.
    Bytes(usize),
    /// Whatever comes up to the line's end, and so many bytes at most.
    Line(usize),
    /// Nothing: the header is whole.
    Done,
}

/// Decides by what has been taken so far.
fn next(taken: &[u8]) -> Result<Next, ProxyError> {
    if begins_alike(taken, v2::PROTOCOL_PREFIX) {
        next_v2(taken)
    } else if begins_alike(taken, V1_PREFIX) {
        next_v1(taken)
    } else {
        Err(ProxyError::Missing)
    }
}

/// Whether they are equal as far as both go.
fn begins_alike(taken: &[u8], prefix: &[u8]) -> bool {
    taken.iter().zip(prefix).all(|(one, other)| one == other)
}

fn next_v1(taken: &[u8]) -> Result<Next, ProxyError> {
    if taken.ends_with(b"\n") {
        Ok(Next::Done)
    } else if taken.len() < V1_LEAST {
        Ok(Next::Bytes(V1_LEAST.saturating_sub(taken.len())))
    } else if taken.len() < V1_BYTES {
        Ok(Next::Line(V1_BYTES.saturating_sub(taken.len())))
    } else {
        Err(ProxyError::TooLong { limit: V1_BYTES })
    }
}

fn next_v2(taken: &[u8]) -> Result<Next, ProxyError> {
    // An empty header comes here too: fifteen bytes belong to either version.
    let Some(&[.., high, low]) = taken.first_chunk::<V2_LEAST>() else {
        return Ok(Next::Bytes(V1_LEAST.saturating_sub(taken.len()).max(1)));
    };
    let whole = V2_LEAST.saturating_add(u16::from_be_bytes([high, low]).into());
    if whole > V2_BYTES {
        return Err(ProxyError::TooLong { limit: V2_BYTES });
    }
    Ok(match whole.saturating_sub(taken.len()) {
        0 => Next::Done,
        missing => Next::Bytes(missing),
    })
}

/// Reads a header that is whole.
fn parse(header: &[u8]) -> Result<Speaker, ProxyError> {
    if header.starts_with(V1_PREFIX) {
        parse_v1(header)
    } else {
        parse_v2(header)
    }
}

fn parse_v1(line: &[u8]) -> Result<Speaker, ProxyError> {
    let Some(content) = line.strip_suffix(b"\r\n") else {
        return Err(ProxyError::V1Line("it does not end in CR LF"));
    };
    // "The receiver must ignore anything presented before the CRLF is found" after UNKNOWN.
    if let Some(rest) = content.strip_prefix(V1_UNKNOWN)
        && matches!(rest.first(), None | Some(b' '))
    {
        return Ok(Speaker::Peer);
    }
    // The parser of integers takes a plus sign, the protocol does not.
    if content.contains(&b'+') {
        return Err(ProxyError::V1Line("a port has a sign"));
    }
    let header = v1::Header::try_from(line).map_err(ProxyError::V1)?;
    if header.header.len() != line.len() {
        return Err(ProxyError::V1Line("its line ends twice"));
    }
    Ok(match header.addresses {
        v1::Addresses::Unknown => Speaker::Peer,
        v1::Addresses::Tcp4(a) => client(
            (a.source_address, a.source_port),
            (a.destination_address, a.destination_port),
        ),
        v1::Addresses::Tcp6(a) => client(
            (a.source_address, a.source_port),
            (a.destination_address, a.destination_port),
        ),
    })
}

fn parse_v2(bytes: &[u8]) -> Result<Speaker, ProxyError> {
    let header = v2::Header::try_from(bytes).map_err(ProxyError::V2)?;
    if header.command == v2::Command::Local {
        return Ok(Speaker::Peer);
    }
    match header.protocol {
        v2::Protocol::Stream => {}
        v2::Protocol::Unspecified => return Ok(Speaker::Peer),
        v2::Protocol::Datagram => return Err(ProxyError::Datagram),
    }
    Ok(match header.addresses {
        v2::Addresses::Unspecified | v2::Addresses::Unix(_) => Speaker::Peer,
        v2::Addresses::IPv4(a) => client(
            (a.source_address, a.source_port),
            (a.destination_address, a.destination_port),
        ),
        v2::Addresses::IPv6(a) => client(
            (a.source_address, a.source_port),
            (a.destination_address, a.destination_port),
        ),
    })
}

/// With IPv4 addresses written as IPv6 turned back, so that lists of networks hold for them.
fn client(source: impl Into<SocketAddr>, destination: impl Into<SocketAddr>) -> Speaker {
    Speaker::Client {
        source: canonical(source.into()),
        destination: canonical(destination.into()),
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    /// Sends `parts` one after the other, then tells what was read and what stayed behind.
    async fn exchange(parts: &[&[u8]], pause: Duration) -> (Result<Speaker, ProxyError>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let sender = async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            for part in parts {
                if stream.write_all(part).await.is_err() {
                    break;
                }
                tokio::time::sleep(pause).await;
            }
            let _closed = stream.shutdown().await;
        };
        let reader = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let deadline = crate::clock::monotonic() + Duration::from_millis(900);
            let outcome = read(&mut stream, deadline).await;
            let mut rest = Vec::new();
            if outcome.is_ok() {
                stream.read_to_end(&mut rest).await.unwrap();
            }
            (outcome, rest)
        };
        let ((), told) = tokio::join!(sender, reader);
        told
    }

    async fn told(bytes: &[u8]) -> (Result<Speaker, ProxyError>, Vec<u8>) {
        exchange(&[bytes], Duration::ZERO).await
    }

    fn v2(command: u8, family: u8, content: &[u8]) -> Vec<u8> {
        let mut header = v2::PROTOCOL_PREFIX.to_vec();
        header.extend([0x20 | command, family]);
        header.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
        header.extend(content);
        header
    }

    fn speaker(source: &str, destination: &str) -> Speaker {
        client(
            source.parse::<SocketAddr>().unwrap(),
            destination.parse::<SocketAddr>().unwrap(),
        )
    }

    const IPV4: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0x30, 0x39, 0x01, 0xbb];

    #[tokio::test]
    async fn both_versions_tell_the_client_and_leave_its_bytes_alone() {
        let wanted = speaker("192.0.2.7:12345", "10.0.0.1:443");
        let mut one = b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 443\r\n".to_vec();
        let mut two = v2(1, 0x11, &IPV4);
        let mut two_with_extras = v2(1, 0x11, &[&IPV4[..], &[4, 0, 2, 9, 9]].concat());
        for header in [&mut one, &mut two, &mut two_with_extras] {
            header.extend(b"\x16\x03\x01hello\r\nPROXY UNKNOWN\r\n");
            let (outcome, rest) = told(header).await;
            assert_eq!(outcome.unwrap(), wanted);
            assert_eq!(rest, b"\x16\x03\x01hello\r\nPROXY UNKNOWN\r\n");
        }
    }

    #[tokio::test]
    async fn ipv6_and_mapped_ipv4_addresses_are_told() {
        let (outcome, _) = told(b"PROXY TCP6 2001:db8::7 ::1 1 2\r\n").await;
        assert_eq!(outcome.unwrap(), speaker("[2001:db8::7]:1", "[::1]:2"));
        let (outcome, _) = told(b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n").await;
        assert_eq!(outcome.unwrap(), speaker("192.0.2.7:1", "[::1]:2"));
        let mut content = [0_u8; 36];
        content[15] = 7;
        content[31] = 1;
        let (outcome, _) = told(&v2(1, 0x21, &content)).await;
        assert_eq!(outcome.unwrap(), speaker("[::7]:0", "[::1]:0"));
    }

    #[tokio::test]
    async fn a_proxy_that_speaks_for_itself_leaves_the_peer_as_it_is() {
        let locals = [
            v2(0, 0x00, b""),
            v2(0, 0x11, &IPV4),
            v2(1, 0x00, b""),
            v2(1, 0x10, &IPV4),
            v2(1, 0x31, &[0; 216]),
            b"PROXY UNKNOWN\r\n".to_vec(),
            b"PROXY UNKNOWN and anything else that it likes to tell\r\n".to_vec(),
        ];
        for header in locals {
            let (outcome, rest) = told(&[&header[..], b"rest"].concat()).await;
            assert_eq!(outcome.unwrap(), Speaker::Peer, "{header:?}");
            assert_eq!(rest, b"rest");
        }
    }

    #[tokio::test]
    async fn a_header_in_small_pieces_is_read_all_the_same() {
        let one: &[u8] = b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 443\r\nrest";
        let two = [&v2(1, 0x11, &IPV4)[..], b"rest"].concat();
        for header in [one, &two] {
            let pieces: Vec<&[u8]> = header.chunks(5).collect();
            let (outcome, rest) = exchange(&pieces, Duration::from_millis(5)).await;
            assert_eq!(outcome.unwrap(), speaker("192.0.2.7:12345", "10.0.0.1:443"));
            assert_eq!(rest, b"rest");
        }
    }

    #[tokio::test]
    async fn whatever_is_no_sound_header_is_refused() {
        type Check = fn(&ProxyError) -> bool;
        let long_line = [b"PROXY TCP4 ", &[b'1'; 200][..]].concat();
        let cases: [(&[u8], Check); 15] = [
            (b"GET / HTTP/1.1\r\n\r\n", |e| {
                matches!(e, ProxyError::Missing)
            }),
            (b"\x16\x03\x01\x00\xee\x01\x00", |e| {
                matches!(e, ProxyError::Missing)
            }),
            (b"\r\n\r\n\0\r\nQUIX\n", |e| {
                matches!(e, ProxyError::Missing)
            }),
            (b"proxy tcp4 1.1.1.1 1.1.1.1 1 1\r\n", |e| {
                matches!(e, ProxyError::Missing)
            }),
            (b"PROXY", |e| matches!(e, ProxyError::Closed)),
            (b"", |e| matches!(e, ProxyError::Closed)),
            (b"PROXY TCP4 1.1.1.1 1.1", |e| {
                matches!(e, ProxyError::Closed)
            }),
            (b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1\n", |e| {
                matches!(e, ProxyError::V1Line(_))
            }),
            (b"PROXY TCP4 1.1.1.1 1.1.1.1 +1 1\r\n", |e| {
                matches!(e, ProxyError::V1Line(_))
            }),
            (b"PROXY TCP4 1.1.1.1 1.1.1.1 65536 1\r\n", |e| {
                matches!(e, ProxyError::V1(_))
            }),
            (b"PROXY TCP4 ::1 1.1.1.1 1 1\r\n", |e| {
                matches!(e, ProxyError::V1(_))
            }),
            (b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1 1\r\n", |e| {
                matches!(e, ProxyError::V1(_))
            }),
            (b"PROXY TCP4 1.1.1.1 1.1.1.1\r1 1\r\n", |e| {
                matches!(e, ProxyError::V1(_))
            }),
            (b"PROXY TCP5 1.1.1.1 1.1.1.1 1 1\r\n", |e| {
                matches!(e, ProxyError::V1(_))
            }),
            (&long_line, |e| {
                matches!(e, ProxyError::TooLong { limit: 107 })
            }),
        ];
        for (bytes, expected) in cases {
            let error = told(bytes).await.0.unwrap_err();
            assert!(expected(&error), "{bytes:?} gave {error:?}");
        }
        let cases: [(Vec<u8>, Check); 5] = [
            (v2(1, 0x12, &IPV4), |e| matches!(e, ProxyError::Datagram)),
            (v2(2, 0x11, &IPV4), |e| matches!(e, ProxyError::V2(_))),
            (v2(1, 0x41, &IPV4), |e| matches!(e, ProxyError::V2(_))),
            (v2(1, 0x11, &IPV4[..8]), |e| matches!(e, ProxyError::V2(_))),
            (v2(1, 0x11, &[0; 600]), |e| {
                matches!(e, ProxyError::TooLong { limit: 536 })
            }),
        ];
        for (bytes, expected) in cases {
            let error = told(&bytes).await.0.unwrap_err();
            assert!(expected(&error), "{bytes:?} gave {error:?}");
        }
    }

    #[tokio::test]
    async fn a_header_that_is_not_whole_in_time_is_refused() {
        let parts: [&[u8]; 2] = [b"PROXY TCP4 1.1", b".1.1 1.1.1.1 1 1\r\n"];
        let (outcome, _) = exchange(&parts, Duration::from_secs(1)).await;
        assert!(matches!(outcome.unwrap_err(), ProxyError::Late));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_take_more_than_the_bound_or_panic(
            start in prop_oneof![
                Just(v2::PROTOCOL_PREFIX.to_vec()),
                Just(V1_PREFIX.to_vec()),
                Just(Vec::new()),
            ],
            rest in proptest::collection::vec(any::<u8>(), 0..700),
        ) {
            let bytes = [start, rest].concat();
            let mut taken = 0;
            while let Ok(step) = next(&bytes[..taken]) {
                let most = match step {
                    Next::Done => {
                        let _either_way = parse(&bytes[..taken]);
                        break;
                    }
                    Next::Bytes(most) => most,
                    Next::Line(_) => 1,
                };
                prop_assert!(most > 0);
                taken += most;
                if taken > bytes.len() {
                    break;
                }
                prop_assert!(taken <= V2_BYTES);
            }
        }
    }
}
