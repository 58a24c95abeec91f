//! An errand of the gateway's own at an app: one `POST` on a connection of its own, answered whole.
//!
//! Runs on the runtime of whoever asks, never on a worker's pool. It is not a client's request: it
//! goes through no route and needs no permit, and nothing of a client stands in it but the host
//! that was asked for. It is sent once, to the first server that takes the connection;
//! those that are left out are asked last.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderValue, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;

use super::error::UpstreamError;
use super::server::{Server, Upstream};
use super::stream::{Stream, connect};
use crate::config::settings::UpstreamHost;
use crate::signin::{App, AppError, Errand, MOST_ANSWER, Post, Reply};

impl App for Upstream {
    fn post(&self, post: Post) -> Errand {
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut servers: Vec<Arc<Server>> = self.servers.clone();
        let count = servers.len().max(1);
        servers.rotate_left(first % count);
        // One that is left out may take the connection and hang: it is asked last.
        servers.sort_by_cached_key(|server| !server.state().is_in());
        let settings = (self.settings.host.clone(), self.settings.connect_timeout);
        Box::pin(async move {
            let limit = post.limit;
            let whole = async {
                let (stream, server) = reach(&servers, settings.1).await?;
                let request = request(post, &settings.0, &server)?;
                exchange(stream, request).await
            };
            match tokio::time::timeout(limit, whole).await {
                Ok(outcome) => outcome,
                Err(_elapsed) => Err(AppError(format!("no whole answer within {limit:?}"))),
            }
        })
    }
}

/// A connection to the first server that takes one.
async fn reach(
    servers: &[Arc<Server>],
    limit: std::time::Duration,
) -> Result<(Stream, Arc<Server>), AppError> {
    let mut last = AppError("the app has no server".to_owned());
    for server in servers {
        match connect(server, limit).await {
            Ok(reached) => return Ok((reached.stream, Arc::clone(server))),
            Err(error) => last = told(&error),
        }
    }
    Err(last)
}

fn told(error: &UpstreamError) -> AppError {
    let denial = error.denial();
    AppError(denial.operator_note().unwrap_or(denial.detail()).to_owned())
}

fn request(
    post: Post,
    host: &UpstreamHost,
    server: &Server,
) -> Result<Request<Full<Bytes>>, AppError> {
    let Post {
        path,
        asked,
        bearer,
        json,
        ..
    } = post;
    let has_body = json.is_some();
    let body = json.map_or_else(Bytes::new, |json| Bytes::copy_from_slice(json.expose()));
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = path
        .parse()
        .map_err(|_why| AppError(format!("{path} is not a path")))?;
    let seen = match (host, asked.host) {
        (UpstreamHost::Preserve, Some(host)) => host,
        (UpstreamHost::Fixed(host), _) => host.clone(),
        (UpstreamHost::Preserve | UpstreamHost::Upstream, _) => server.authority.clone(),
    };
    let headers = request.headers_mut();
    headers.insert(HOST, seen.clone());
    headers.insert("x-forwarded-host", seen);
    let scheme = if asked.https { "https" } else { "http" };
    headers.insert("x-forwarded-proto", HeaderValue::from_static(scheme));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(USER_AGENT, HeaderValue::from_static("portcullis"));
    if has_body {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    if let Some(token) = bearer {
        let value = HeaderValue::try_from(format!("Bearer {}", token.expose()));
        let mut value = value.map_err(|_why| AppError("the token fits in no header".to_owned()))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(request)
}

async fn exchange(stream: Stream, request: Request<Full<Bytes>>) -> Result<Reply, AppError> {
    let failed = |error: hyper::Error| AppError(format!("the connection failed: {error}"));
    let shaken = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken.map_err(failed)?;
    let asked = async {
        let answer = sender.send_request(request).await.map_err(failed)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MOST_ANSWER)
            .collect()
            .await;
        let body = body.map_err(|error| AppError(format!("the answer's body failed: {error}")))?;
        Ok(Reply {
            status,
            body: body.to_bytes(),
        })
    };
    // The connection is driven here, by whoever waits for the answer, and ends with it.
    drive(connection, asked).await
}

/// Waits for `asked` while `connection` moves it on.
async fn drive<T>(
    connection: impl Future<Output = hyper::Result<()>>,
    asked: impl Future<Output = Result<T, AppError>>,
) -> Result<T, AppError> {
    tokio::pin!(connection, asked);
    let mut is_open = true;
    loop {
        tokio::select! {
            biased;
            answer = &mut asked => return answer,
            // How it ended is told by the answer, which fails with it.
            _ended = &mut connection, if is_open => is_open = false,
        }
    }
}
