//! The admin address: health, readiness, metrics, the dashboard and what it shows as JSON.
//!
//! A listener of its own with rules of its own (`access`); nothing of it stands on the public
//! door. It only tells, but for one request that changes something: a revocation, whose body alone is
//! read. One request a connection, few connections, short deadlines: nobody can tie it up for long.
//! Those who listen to the dashboard's events stay longer; there are fewer places for them (`live`).

mod access;
mod board;
mod causes;
mod dashboard;
mod inspect;
mod live;
mod pages;
mod rules;
mod sessions;
mod status;
mod traffic;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

pub use inspect::{Inspect, RouteRow};
pub use sessions::{SessionPage, SessionRow};
pub use status::{
    AcmeRow, CertificateRow, Configuration, JwksRow, SecretChangeRow, Status, StoreRow,
};

use crate::gateway::Gateway;
use crate::telemetry::{Door, Metrics};

/// How much of the gateway the admin address may take.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Connections served at one time; further ones wait to be accepted.
    connections: usize,
    /// To the end of a request's head.
    head: Duration,
    /// From a connection's first byte to its last.
    whole: Duration,
    /// The same, where the answer goes on.
    lasting: Duration,
    /// What those under way have left when the listener ends.
    last: Duration,
}

const LIMITS: Limits = Limits {
    connections: 64,
    head: Duration::from_secs(5),
    whole: Duration::from_secs(30),
    lasting: live::LONGEST.saturating_add(Duration::from_secs(30)),
    last: Duration::from_secs(1),
};

/// Rest after the system would not give a connection.
const BACK_OFF: Duration = Duration::from_millis(100);

/// What the admin address shows.
#[derive(Debug)]
pub struct AdminState {
    /// The metrics of the process.
    pub metrics: Arc<Metrics>,
    /// The running gateway.
    pub inspect: Arc<dyn Inspect>,
    /// What goes on, for the dashboard.
    live: live::Live,
}

impl AdminState {
    /// Shows a running gateway.
    #[must_use]
    pub fn new(gateway: Arc<Gateway>) -> Arc<Self> {
        Arc::new(Self {
            metrics: Arc::clone(&gateway.metrics),
            inspect: gateway,
            live: live::Live::default(),
        })
    }
}

/// Serves the admin address until `cancel`; then those under way have a second.
pub async fn serve(listener: TcpListener, state: Arc<AdminState>, cancel: CancellationToken) {
    serve_within(LIMITS, listener, state, cancel).await;
}

async fn serve_within(
    limits: Limits,
    listener: TcpListener,
    state: Arc<AdminState>,
    cancel: CancellationToken,
) {
    let bound = match listener.local_addr() {
        Ok(bound) => bound,
        Err(error) => {
            tracing::error!(%error, "the admin address is not served: the system does not tell it");
            return;
        }
    };
    let keeper = tokio::spawn(live::keep(Arc::clone(&state), cancel.clone()));
    let slots = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    while let Some(accepted) = cancel.run_until_cancelled(accept(&listener, &slots)).await {
        match accepted {
            Ok((stream, slot)) => {
                let state = Arc::clone(&state);
                connections.spawn(async move {
                    converse(limits, bound, stream, &state).await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the admin address cannot take a connection");
                sleep(BACK_OFF).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    let _ended = keeper.await;
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout(limits.last, all).await.is_err() {
        connections.shutdown().await;
    }
}

/// A slot first, then a connection.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let slot = (Arc::clone(slots).acquire_owned().await).map_err(std::io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, slot))
}

/// One request, one answer.
async fn converse(limits: Limits, bound: SocketAddr, stream: TcpStream, state: &Arc<AdminState>) {
    let _held = state.metrics.connection(Door::Admin);
    let local = stream.local_addr().map_or(bound, |local| local).ip();
    let lasts = AtomicBool::new(false);
    let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        let (head, body) = request.into_parts();
        let lasts = &lasts;
        async move {
            let answer = pages::answer(state, (bound, local), (&head, body), lasts).await;
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .keep_alive(false)
        .max_headers(64)
        .max_buf_size(16 << 10)
        .serve_connection(TokioIo::new(stream), service);
    // A client that goes away or sends what is no request is not worth a line.
    tokio::select! {
        ended = connection => if let Err(error) = ended {
            tracing::debug!(%error, "a connection to the admin address broke");
        },
        () = patience(limits, &lasts) => {
            tracing::debug!("a connection to the admin address took too long");
        }
    }
}

/// Ends when a connection has lasted for as long as it may.
async fn patience(limits: Limits, lasts: &AtomicBool) {
    sleep(limits.whole).await;
    if lasts.load(Ordering::Relaxed) {
        sleep(limits.lasting.saturating_sub(limits.whole)).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::JoinHandle;

    use super::*;
    use crate::clock::Timestamp;
    use crate::secret::Secret;
    use crate::telemetry::Log;

    const NOW: Timestamp = Timestamp::from_unix_seconds(1_767_323_045);

    #[derive(Debug, Default)]
    struct Fake {
        token: Option<&'static str>,
        draining: bool,
    }

    impl Inspect for Fake {
        fn token(&self) -> Option<Secret<String>> {
            self.token.map(|token| Secret::new(token.to_owned()))
        }

        fn is_draining(&self) -> bool {
            self.draining
        }

        fn routes(&self) -> Vec<RouteRow> {
            vec![RouteRow {
                route: "/api/{*rest}".to_owned(),
                to: "upstream <edms>".to_owned(),
                access: "token; any role of: staff".to_owned(),
                cors: Some("web".to_owned()),
                rules: vec!["limit login: 10/m".to_owned()],
                observes: false,
            }]
        }

        fn assertion_keys(&self) -> Option<String> {
            Some(r#"{"keys":[]}"#.to_owned())
        }
    }

    struct Running {
        address: SocketAddr,
        cancel: CancellationToken,
        task: JoinHandle<()>,
    }

    /// What is shown of a gateway with this token.
    pub(super) fn state(token: Option<&'static str>) -> Arc<AdminState> {
        let draining = false;
        showing(Fake { token, draining })
    }

    fn showing(gateway: Fake) -> Arc<AdminState> {
        Arc::new(AdminState {
            metrics: Arc::new(Metrics::new(Log::none(), NOW)),
            inspect: Arc::new(gateway),
            live: live::Live::default(),
        })
    }

    async fn start(gateway: Fake, limits: Limits) -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let cancel = CancellationToken::new();
        let state = showing(gateway);
        let task = tokio::spawn(serve_within(limits, listener, state, cancel.clone()));
        Running {
            address,
            cancel,
            task,
        }
    }

    impl Running {
        async fn connect(&self) -> TcpStream {
            TcpStream::connect(self.address).await.unwrap()
        }

        /// Everything that comes back for a request, until the connection is closed.
        async fn ask(&self, request: &str) -> String {
            let mut stream = self.connect().await;
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            let read = stream.read_to_string(&mut answer);
            timeout(Duration::from_secs(10), read)
                .await
                .unwrap()
                .unwrap();
            answer
        }

        async fn get(&self, path: &str) -> String {
            self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
                .await
        }
    }

    fn body(answer: &str) -> &str {
        answer.split_once("\r\n\r\n").unwrap().1
    }

    #[tokio::test]
    async fn every_page_is_there() {
        let running = start(Fake::default(), LIMITS).await;
        for (path, word) in [
            ("/health", "alive"),
            ("/ready", "\"ready\": true"),
            ("/metrics", "portcullis_build_info"),
            ("/", "upstream &lt;edms&gt;"),
            ("/style.css", "font"),
            ("/dashboard.js", "EventSource"),
            ("/icon.svg", "<svg"),
            ("/api/status", "\"version\""),
            ("/api/traffic", "\"requests_per_s\""),
            ("/api/routes", "any role of: staff"),
            ("/api/refusals", "\"refusals\""),
            ("/api/refusals/codes", "\"codes\""),
            ("/.well-known/jwks.json", "\"keys\""),
        ] {
            let answer = running.get(path).await;
            assert!(
                answer.starts_with("HTTP/1.1 200 OK\r\n"),
                "{path}: {answer}"
            );
            assert!(body(&answer).contains(word), "{path}: {answer}");
            for header in [
                "content-security-policy: default-src 'none'",
                "x-content-type-options: nosniff",
            ] {
                assert!(answer.contains(header), "{path} has no {header}");
            }
        }
        let missing = running.get("/api/why/0192").await;
        assert!(
            missing.starts_with("HTTP/1.1 404")
                && missing.contains("no refusal of this request id")
        );
        assert!(running.get("/nothing").await.starts_with("HTTP/1.1 404"));
    }

    #[tokio::test]
    async fn head_has_no_body_and_post_is_refused() {
        let running = start(Fake::default(), LIMITS).await;
        let head = running
            .ask("HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await;
        assert!(head.starts_with("HTTP/1.1 200") && body(&head).is_empty());
        let post = "POST /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc";
        let answer = running.ask(post).await;
        assert!(answer.starts_with("HTTP/1.1 405") && answer.contains("allow: GET, HEAD"));
    }

    #[tokio::test]
    async fn a_foreign_host_sees_nothing() {
        let running = start(Fake::default(), LIMITS).await;
        for path in ["/health", "/metrics", "/", "/nothing"] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: evil.example\r\n\r\n");
            assert!(
                running.ask(&request).await.starts_with("HTTP/1.1 421"),
                "{path}"
            );
        }
    }

    #[tokio::test]
    async fn a_missing_token_is_asked_for() {
        let token = Some("admin-token");
        let running = start(
            Fake {
                token,
                draining: false,
            },
            LIMITS,
        )
        .await;
        let answer = running.get("/metrics").await;
        assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("www-authenticate: Bearer"));
        assert!(!answer.contains("admin-token"));
        assert!(running.get("/ready").await.starts_with("HTTP/1.1 200"));
        let request =
            "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer admin-token\r\n\r\n";
        assert!(running.ask(request).await.starts_with("HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn a_draining_gateway_is_alive_but_not_ready() {
        let draining = Fake {
            token: None,
            draining: true,
        };
        let running = start(draining, LIMITS).await;
        assert!(running.get("/ready").await.starts_with("HTTP/1.1 503"));
        assert!(running.get("/health").await.starts_with("HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn events_go_on_until_the_listener_ends_and_do_not_hold_it_up() {
        let limits = Limits {
            whole: Duration::from_millis(50),
            ..LIMITS
        };
        let running = start(Fake::default(), limits).await;
        let mut stream = running.connect().await;
        let ask = "GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.write_all(ask.as_bytes()).await.unwrap();
        let mut seen = String::new();
        let mut piece = vec![0; 1 << 16];
        while seen.matches("event: sections").count() < 2 {
            let read = timeout(Duration::from_secs(10), stream.read(&mut piece)).await;
            let read = read.unwrap().unwrap();
            assert!(read > 0, "{seen}");
            seen.push_str(&String::from_utf8_lossy(piece.get(..read).unwrap()));
        }
        assert!(seen.starts_with("HTTP/1.1 200") && seen.contains("text/event-stream"));
        running.cancel.cancel();
        let ended = timeout(Duration::from_millis(900), running.task).await;
        ended.unwrap().unwrap();
    }

    #[tokio::test]
    async fn clients_that_say_nothing_do_not_keep_others_out_for_long() {
        let limits = Limits {
            connections: 2,
            head: Duration::from_millis(100),
            ..LIMITS
        };
        let running = start(Fake::default(), limits).await;
        let mut silent = Vec::new();
        for _ in 0..4 {
            let mut stream = running.connect().await;
            stream.write_all(b"GET /health HT").await.unwrap();
            silent.push(stream);
        }
        assert!(running.get("/health").await.starts_with("HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn the_listener_ends_with_its_token_and_cuts_off_who_is_left() {
        let limits = Limits {
            last: Duration::from_millis(50),
            ..LIMITS
        };
        let running = start(Fake::default(), limits).await;
        let silent = running.connect().await;
        running.get("/health").await;
        running.cancel.cancel();
        timeout(Duration::from_secs(5), running.task)
            .await
            .unwrap()
            .unwrap();
        assert!(TcpStream::connect(running.address).await.is_err());
        drop(silent);
    }
}
