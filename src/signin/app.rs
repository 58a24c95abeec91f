//! What is asked of an app that issues tokens: one `POST`, answered whole. The room that speaks
//! to apps implements it.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;

use crate::auth::ports::Asked;
use crate::secret::Secret;

/// Largest answer that is read, in bytes.
pub const MOST_ANSWER: usize = 256 * 1024;

/// One errand of the gateway's own at an app.
#[derive(Clone, Debug)]
pub struct Post {
    /// The path, as the app sees it.
    pub path: Box<str>,
    /// What the app is told of the request that gave rise to it.
    pub asked: Asked,
    /// Goes as `Authorization: Bearer`.
    pub bearer: Option<Secret<String>>,
    /// A JSON body; without one the body is empty.
    pub json: Option<Secret<Vec<u8>>>,
    /// For all of it, connecting included.
    pub limit: Duration,
}

/// An app's answer.
#[derive(Clone)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its body, at most [`MOST_ANSWER`] bytes.
    pub body: Bytes,
}

impl Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The body may hold tokens.
        f.debug_struct("Reply")
            .field("status", &self.status)
            .field("bytes", &self.body.len())
            .finish()
    }
}

/// Why there is no answer, with its causes in words.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct AppError(pub String);

/// What comes of an errand, some time later.
pub type Errand = Pin<Box<dyn Future<Output = Result<Reply, AppError>> + Send>>;

/// An app that issues tokens.
pub trait App: Debug + Send + Sync {
    /// Posts, once: an answer that is lost is not asked for again, because a refresh token may be
    /// good for one time alone.
    ///
    /// # Errors
    ///
    /// [`AppError`] where no whole answer came in time.
    fn post(&self, post: Post) -> Errand;
}
