//! Serves the demo's app and its page on loopback, on a thread of their own, until told to stop.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::app::{Answer, App, page};

/// Connections at most, each site.
const CONNECTIONS: usize = 256;
/// To the end of a request's head.
const PATIENCE: Duration = Duration::from_secs(10);
/// Wait after a connection could not be taken.
const PAUSE: Duration = Duration::from_millis(100);

/// What is served.
#[derive(Debug)]
pub(super) enum Site {
    /// The app.
    App(App),
    /// One page of HTML, whatever the path.
    Page(String),
}

impl Site {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        match self {
            Self::App(app) => app.answer(request).await,
            Self::Page(html) => page(html.clone()),
        }
    }
}

/// The thread that serves the sites. Dropping it stops them.
#[derive(Debug)]
pub(super) struct Sites {
    cancel: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Sites {
    /// Starts to serve.
    ///
    /// # Errors
    ///
    /// What the system says when it gives no thread.
    pub(super) fn start(sites: Vec<(TcpListener, Site)>) -> io::Result<Self> {
        let cancel = CancellationToken::new();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let stop = cancel.clone();
        let serve = move || {
            runtime.block_on(async {
                let mut doors = JoinSet::new();
                for (listener, site) in sites {
                    doors.spawn(accept(listener, Arc::new(site)));
                }
                stop.cancelled().await;
            });
        };
        let thread = std::thread::Builder::new()
            .name("demo".to_owned())
            .spawn(serve)?;
        Ok(Self {
            cancel,
            thread: Some(thread),
        })
    }
}

impl Drop for Sites {
    fn drop(&mut self) {
        self.cancel.cancel();
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

async fn accept(listener: TcpListener, site: Arc<Site>) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut open = JoinSet::new();
    loop {
        while open.try_join_next().is_some() || open.len() >= CONNECTIONS {
            if open.len() >= CONNECTIONS {
                let _ended = open.join_next().await;
            }
        }
        match listener.accept().await {
            Ok((stream, _)) => drop(open.spawn(converse(stream, Arc::clone(&site)))),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn converse(stream: TcpStream, site: Arc<Site>) {
    let answer = service_fn(move |request| {
        let site = Arc::clone(&site);
        async move { Ok::<_, Infallible>(site.answer(request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), answer)
        .with_upgrades();
    // A client that goes away is no news.
    let _ended = connection.await;
}
