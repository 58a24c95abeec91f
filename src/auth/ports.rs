//! What authentication asks of stores: sessions by their key, users by their id.
//!
//! The rooms that keep them (`store`) implement these; nothing here knows how. "There is none" is
//! an answer, `Ok(None)`; "could not find out" is a [`StoreError`], which becomes
//! `auth_unavailable` and never a refusal or a pass.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use serde_json::{Map, Value};

use crate::auth::ledger::SessionId;
use crate::auth::revoked::Revoked;
use crate::clock::Timestamp;
use crate::config::settings::DirectoryId;
use crate::policy::denial::Denial;
use crate::policy::identity::Endings;
use crate::policy::sign_in::HandlerId;
use crate::secret::Secret;

/// What a store answers, some time later. May be awaited on any runtime, and is bounded in time.
pub type Answer<T> = Pin<Box<dyn Future<Output = Result<Option<T>, StoreError>> + Send>>;

/// Where sessions are kept.
pub trait SessionSource: Debug + Send + Sync {
    /// Fetches what is saved under exactly this key, compared byte for byte, whether its time is over or not.
    ///
    /// Reads only: it touches no time to live and deletes nothing.
    fn load(&self, key: &str) -> Answer<StoredSession>;

    /// How it stands.
    fn status(&self) -> StoreStatus;
}

/// Where users are looked up.
pub trait DirectorySource: Debug + Send + Sync {
    /// Fetches the user of an id, active or not.
    ///
    /// An answer may be as old as the directory's `cache`, unless it has to be `fresh`.
    fn find(&self, id: &str, fresh: bool) -> Answer<User>;

    /// How it stands.
    fn status(&self) -> StoreStatus;
}

/// All stores of a configuration, as the authenticators find theirs.
pub trait Stores: Debug {
    /// Where the sessions of an authenticator are kept: by its place in the settings.
    fn sessions(&self, authenticator: usize) -> Option<Arc<dyn SessionSource>>;

    /// The directory at a place in the settings, where it is asked by a store.
    fn directory(&self, id: DirectoryId) -> Option<Arc<dyn DirectorySource>>;

    /// The runtime that questions are asked on; `None` where nothing has to be asked.
    fn runtime(&self) -> Option<tokio::runtime::Handle>;
}

/// What an app is told of the request that something is asked for.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// The host that the client asked for.
    pub host: Option<HeaderValue>,
    /// Whether it asked over TLS.
    pub https: bool,
}

/// A session of the gateway's own, open.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The access token that the app gets.
    pub access: Secret<String>,
    /// When the session ends, whatever is done with it.
    pub ends: Timestamp,
    /// Until when what was found may be reused, at most.
    pub reusable_until: Timestamp,
    /// What an OpenID provider told, where one signed the user in.
    pub provided: Option<Box<Provided>>,
}

/// What an OpenID provider told of the user whom it signed in.
#[derive(Clone, Debug)]
pub struct Provided {
    /// The claims of its ID token, and those of its `UserInfo` endpoint.
    pub claims: Map<String, Value>,
    /// The token that the app gets, where it gets one.
    pub bearer: Option<Secret<String>>,
    /// Under which names it may say that the sign-in is over.
    pub endings: Endings,
}

/// What comes of opening a session, some time later.
pub type Opening = Pin<Box<dyn Future<Output = Result<Opened, Denial>> + Send>>;

/// The gateway's own sessions: kept and renewed by the room that signs people in.
pub trait OwnSessions: Debug + Send + Sync {
    /// Opens a session that a handler made, its access token renewed where it is time. May be
    /// awaited on any runtime, and is bounded in time.
    ///
    /// # Errors
    ///
    /// `session_unknown`, `session_expired`, and `auth_unavailable` where nobody can say.
    fn open(&self, handler: HandlerId, id: SessionId, asked: Asked, now: Timestamp) -> Opening;

    /// What does not hold any more.
    fn revoked(&self) -> &Arc<Revoked>;
}

/// For configurations that ask nobody.
#[derive(Clone, Copy, Debug)]
pub struct NoStores;

impl Stores for NoStores {
    fn sessions(&self, _authenticator: usize) -> Option<Arc<dyn SessionSource>> {
        None
    }

    fn directory(&self, _id: DirectoryId) -> Option<Arc<dyn DirectorySource>> {
        None
    }

    fn runtime(&self) -> Option<tokio::runtime::Handle> {
        None
    }
}

/// A session as it is stored: nothing of it is decoded.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredSession {
    /// The payload.
    pub data: Vec<u8>,
    /// When it ends.
    pub expiry: Expiry,
    /// Whether it came from a cache, where Django keeps it in another encoding than in the table.
    pub cached: bool,
}

impl Debug for StoredSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The payload is the app's secret.
        f.debug_struct("StoredSession")
            .field("bytes", &self.data.len())
            .field("expiry", &self.expiry)
            .finish_non_exhaustive()
    }
}

/// When a stored session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// The store drops it by itself.
    ByStore,
    /// At a point in time.
    At(Timestamp),
    /// At a time of day in a zone that the app knows and the store does not.
    Local(jiff::civil::DateTime),
    /// The store holds no time where one belongs (`NULL`).
    Missing,
}

/// A user as the directory knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    /// The id as the directory writes it.
    pub id: String,
    /// The stored password hash, where the directory has one to compare sessions with.
    pub password: Option<Secret<String>>,
    /// Whether the user may sign in.
    pub active: bool,
    /// Roles, in any order, repeated or not.
    pub roles: Vec<String>,
    /// E-mail address.
    pub email: Option<String>,
    /// A name to show.
    pub name: Option<String>,
    /// Everything else that was asked for, for rules and headers.
    pub claims: Map<String, Value>,
    /// When the directory was asked.
    pub read_at: Timestamp,
}

/// Why a store could not say. Cheap to clone: everyone who waited for one question gets it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// No connection, or one that broke.
    #[error("{store} cannot be reached")]
    Unreachable {
        /// Which store, without credentials.
        store: Arc<str>,
        /// Why.
        #[source]
        cause: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// It took too long.
    #[error("{store} did not answer within {limit:?}")]
    TimedOut {
        /// Which store.
        store: Arc<str>,
        /// How long it had.
        limit: Duration,
    },
    /// Too many questions are waiting already.
    #[error("too many questions wait for {store}")]
    Busy {
        /// Which store.
        store: Arc<str>,
    },
    /// It answered that it does not serve the question: no such table or column, no right to read it.
    #[error("{store} refuses the question: {what}")]
    Refused {
        /// Which store.
        store: Arc<str>,
        /// What to do about it, in words.
        what: Arc<str>,
    },
    /// It answered with what cannot be read.
    #[error("{store} holds what cannot be read: {what}")]
    Unreadable {
        /// Which store.
        store: Arc<str>,
        /// What was found.
        what: Arc<str>,
    },
}

/// How a store stands, for metrics, `/ready` and the dashboard.
#[derive(Clone, Debug)]
pub struct StoreStatus {
    /// `auth.NAME` or `directory.NAME`: for whom it is asked.
    pub name: Arc<str>,
    /// `postgres`, `mysql`, `sqlite`, `redis`, `files` or `http`.
    pub kind: &'static str,
    /// Questions that were answered.
    pub answered: u64,
    /// Questions that were not.
    pub failed: u64,
    /// Time that the answers took, added up.
    pub spent: Duration,
    /// What was wrong with the last question, if something was.
    pub problem: Option<String>,
}
