//! Looks at a server as an operator would: its addresses, whether each takes a connection, what it
//! answers to one question.
//!
//! For `doctor`, on the runtime of whoever asks, over connections of its own. Only methods that
//! change nothing are sent, with the headers that are given and no others. Nothing here waits
//! longer than it is told to.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use rustls_pki_types::CertificateDer;
use tokio::net::TcpStream;

use super::check;
use super::error::UpstreamError;
use super::http1::ask;
use super::name;
use super::server::{Place, Server, Upstream};
use super::stream::{Stream, connect};

/// Addresses of one name that are looked at.
const MOST_ADDRESSES: usize = 8;

/// A question without a body.
#[derive(Clone, Debug)]
pub struct Question {
    /// GET, HEAD or OPTIONS.
    pub method: Method,
    /// Path and query.
    pub target: Uri,
    /// `Host` among them.
    pub headers: HeaderMap,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// What was read of its body, a little more than 64 KiB at most.
    pub body: Vec<u8>,
}

impl Server {
    /// The addresses that its name leads to, in the resolver's order; none of a unix socket.
    /// Connections to it use them from then on.
    ///
    /// # Errors
    ///
    /// The name does not resolve, or not within `limit`.
    pub async fn addresses(&self, limit: Duration) -> io::Result<Vec<SocketAddr>> {
        match &self.place {
            Place::Unix => Ok(Vec::new()),
            Place::At(address) => Ok(vec![*address]),
            Place::Named(name) => {
                let mut found = name.ask(&mut name::Question::default(), limit).await;
                if let Ok(addresses) = &found {
                    name.learn(Ok(addresses.clone()));
                }
                if let Ok(addresses) = &mut found {
                    addresses.truncate(MOST_ADDRESSES);
                }
                found
            }
        }
    }

    /// The `Host` that names the server itself.
    #[must_use]
    pub fn own_host(&self) -> &HeaderValue {
        &self.authority
    }

    /// Opens a connection, TLS included, and gives the certificate that the server showed.
    ///
    /// # Errors
    ///
    /// As for a request.
    pub async fn greet(
        &self,
        limit: Duration,
    ) -> Result<Option<CertificateDer<'static>>, UpstreamError> {
        Ok(match connect(self, limit).await?.stream {
            Stream::Tls(stream) => {
                let (_, session) = stream.get_ref();
                let shown = session.peer_certificates().and_then(|chain| chain.first());
                shown.map(|certificate| certificate.clone().into_owned())
            }
            Stream::Tcp(_) | Stream::Unix(_) => None,
        })
    }

    /// Asks one question on a connection of its own, within `limit` in all.
    ///
    /// # Errors
    ///
    /// As for a request.
    pub async fn ask(&self, question: &Question, limit: Duration) -> Result<Seen, UpstreamError> {
        let label = || Box::from(&*self.settings.label);
        let work = async {
            let stream = connect(self, limit).await?.stream;
            let line = (&question.method, &question.target);
            let answer = ask::ask_with(stream, line, &question.headers).await;
            answer.map_err(|source| {
                let server = label();
                if source.kind() == io::ErrorKind::InvalidData {
                    let found = source.to_string().into();
                    UpstreamError::Invalid { server, found }
                } else {
                    UpstreamError::Reset { server, source }
                }
            })
        };
        let answer = tokio::time::timeout(limit, work).await;
        let answer =
            answer.unwrap_or_else(|_elapsed| Err(UpstreamError::Timeout { server: label() }));
        answer.map(Seen::from)
    }
}

impl Upstream {
    /// What is wrong with a server by `health`, if something is; `None` where the upstream has no
    /// `health`.
    pub async fn examine(&self, server: &Server) -> Option<Result<(), String>> {
        let how = self.settings.health.as_ref()?;
        let problem = check::examine_in_time(self, server, how).await;
        Some(problem.map_or(Ok(()), Err))
    }
}

impl From<ask::Whole> for Seen {
    fn from(answer: ask::Whole) -> Self {
        Self {
            status: answer.status,
            headers: answer.headers,
            body: answer.body,
        }
    }
}

/// Whether an address takes a connection within `limit`.
///
/// # Errors
///
/// Why not.
pub async fn knock(address: SocketAddr, limit: Duration) -> io::Result<()> {
    within(limit, TcpStream::connect(address)).await.map(drop)
}

/// Asks whoever listens on an address, without TLS, within `limit` in all.
///
/// # Errors
///
/// No connection, or no answer that can be read.
pub async fn ask_at(address: SocketAddr, question: &Question, limit: Duration) -> io::Result<Seen> {
    let work = async {
        let stream = Stream::Tcp(TcpStream::connect(address).await?);
        let line = (&question.method, &question.target);
        ask::ask_with(stream, line, &question.headers).await
    };
    within(limit, work).await.map(Seen::from)
}

async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = |_elapsed| {
        let words = format!("nothing came of it within {limit:?}");
        Err(io::Error::new(io::ErrorKind::TimedOut, words))
    };
    tokio::time::timeout(limit, work).await.unwrap_or_else(late)
}
