//! Basic authentication (RFC 7617) against an htpasswd file of bcrypt and argon2 hashes.
//!
//! Hashing is slow on purpose. It runs apart from the workers, a few at a time, and what was
//! verified is kept for a minute under a salted digest. An unknown user costs the same time.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::{PasswordHash, PasswordVerifier};
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Map;
use tokio::sync::Semaphore;

use crate::auth::verdicts::{Epoch, VerdictKey, Verdicts};
use crate::clock::Timestamp;
use crate::policy::denial::{Challenge, Code, Denial};
use crate::policy::identity::{Caller, Identity, IdentityNames};
use crate::secret::Secret;

/// How long a verified password is not hashed again.
const KEPT: Duration = Duration::from_mins(1);
/// Hashes under way at a time.
const AT_A_TIME: usize = 2;
/// Longest wait for a turn, and longest wait for a hash.
const PATIENCE: Duration = Duration::from_secs(2);

/// `type = "basic"`, ready to ask.
#[derive(Debug)]
pub(crate) struct BasicReader {
    users: Arc<HashMap<String, String>>,
    /// A hash to check unknown users against; of the kind that most users have.
    stand_in: Arc<str>,
    authenticator: Arc<str>,
    pub(crate) epoch: u64,
    salt: [u8; 32],
    turns: Arc<Semaphore>,
}

/// Reads an htpasswd file.
///
/// # Errors
///
/// Every line that is wrong, as phrases that follow the file's name.
pub(crate) fn read_htpasswd(path: &Path) -> Result<HashMap<String, String>, Vec<String>> {
    let text =
        std::fs::read_to_string(path).map_err(|error| vec![format!("cannot be read: {error}")])?;
    parse_htpasswd(&text)
}

fn parse_htpasswd(text: &str) -> Result<HashMap<String, String>, Vec<String>> {
    let mut users = HashMap::new();
    let mut wrong = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_end();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut note = |what: &str| wrong.push(format!("line {}: {what}", index + 1));
        match line.split_once(':') {
            None => note("is not `user:hash`"),
            Some(("", _)) => note("has no user name"),
            Some((_, hash)) if !is_taken(hash) => note(
                "has a hash that is neither bcrypt (`htpasswd -B`, $2y$) nor argon2 ($argon2id$)",
            ),
            Some((user, hash)) => {
                if users.insert(user.to_owned(), hash.to_owned()).is_some() {
                    note("names a user who stands further up already");
                }
            }
        }
    }
    if wrong.is_empty() && users.is_empty() {
        wrong.push("names no user".to_owned());
    }
    if wrong.is_empty() {
        Ok(users)
    } else {
        Err(wrong)
    }
}

fn is_taken(hash: &str) -> bool {
    if hash.starts_with("$argon2") {
        return PasswordHash::new(hash).is_ok();
    }
    ["$2y$", "$2b$", "$2a$"]
        .iter()
        .any(|kind| hash.starts_with(kind))
        && hash.parse::<bcrypt::HashParts>().is_ok()
}

impl BasicReader {
    /// A reader for the users of an htpasswd file.
    pub(crate) fn new(users: HashMap<String, String>, authenticator: Arc<str>, epoch: u64) -> Self {
        let mut salt = [0; 32];
        // Without randomness the digests are unsalted; they never leave the process.
        let _ = rand::fill(&mut salt);
        let mut hashes: Vec<_> = users.values().collect();
        hashes.sort_unstable();
        let stand_in = hashes.first().map_or("", |hash| hash.as_str());
        Self {
            stand_in: Arc::from(stand_in),
            users: Arc::new(users),
            authenticator,
            epoch,
            salt,
            turns: Arc::new(Semaphore::new(AT_A_TIME)),
        }
    }

    /// Whether a later file says the same.
    pub(crate) fn has_users(&self, users: &HashMap<String, String>) -> bool {
        *self.users == *users
    }

    /// The caller, if these credentials were verified a short while ago.
    pub(crate) fn recall(
        &self,
        credentials: &str,
        verdicts: &Verdicts,
        now: Timestamp,
    ) -> Option<Arc<Caller>> {
        verdicts.recall(&self.key(credentials), now)
    }

    /// Verifies credentials: the base64 part of the header.
    ///
    /// # Errors
    ///
    /// `token_malformed`; `key_unknown`, the same for an unknown user and a wrong password;
    /// `auth_unavailable` when no turn came in time.
    pub(crate) async fn verify(
        &self,
        credentials: &str,
        verdicts: &Verdicts,
        names: &IdentityNames,
        now: Timestamp,
    ) -> Result<Arc<Caller>, Denial> {
        let (user, password) = decode(credentials)?;
        let (hash, known) = match self.users.get(&user) {
            Some(hash) => (hash.clone(), true),
            None => (self.stand_in.as_ref().to_owned(), false),
        };
        let fits = self.hash(password, hash).await?;
        if !(fits && known) {
            return Err(Denial::new(
                Code::KeyUnknown,
                "the user name or the password is not right",
            )
            .challenge(Challenge::Basic));
        }
        let until = now.saturating_add(KEPT);
        let identity = Identity {
            user,
            roles: Vec::new(),
            email: None,
            name: None,
            claims: Map::new(),
            expires_at: None,
            authenticator: Arc::clone(&self.authenticator),
        };
        let caller = Arc::new(names.introduce(identity));
        verdicts.keep(self.key(credentials), Arc::clone(&caller), now, until, 800);
        Ok(caller)
    }

    async fn hash(&self, password: Secret<Vec<u8>>, hash: String) -> Result<bool, Denial> {
        let busy = || {
            Denial::new(
                Code::AuthUnavailable,
                "passwords cannot be checked right now",
            )
            .note("too many password checks at once: hashing is slow, and a few run at a time")
            .retry_after(Duration::from_secs(2))
        };
        let turn = tokio::time::timeout(PATIENCE, Arc::clone(&self.turns).acquire_owned());
        let Ok(Ok(turn)) = turn.await else {
            return Err(busy());
        };
        let work = tokio::task::spawn_blocking(move || {
            // Given back when the hash is done, not when the waiter gives up.
            let _turn = turn;
            password_fits(password.expose(), &hash)
        });
        match tokio::time::timeout(PATIENCE, work).await {
            Ok(Ok(fits)) => Ok(fits),
            Ok(Err(_)) | Err(_) => Err(busy()),
        }
    }

    fn key(&self, credentials: &str) -> VerdictKey {
        let mut salted = Vec::with_capacity(self.salt.len() + credentials.len());
        salted.extend_from_slice(&self.salt);
        salted.extend_from_slice(credentials.as_bytes());
        let epoch = Epoch {
            settings: self.epoch,
            keys: 0,
        };
        VerdictKey::of(epoch, &salted)
    }
}

fn decode(credentials: &str) -> Result<(String, Secret<Vec<u8>>), Denial> {
    let wrong = || {
        Denial::new(
            Code::TokenMalformed,
            "the Basic credentials are not base64 of `user:password`",
        )
        .challenge(Challenge::Basic)
    };
    let bytes = Secret::new(STANDARD.decode(credentials).map_err(|_why| wrong())?);
    let colon = memchr::memchr(b':', bytes.expose()).ok_or_else(wrong)?;
    let (user, password) = bytes.expose().split_at(colon);
    let user = std::str::from_utf8(user).map_err(|_why| wrong())?;
    if user.trim().is_empty() || user.chars().any(char::is_control) {
        return Err(wrong());
    }
    let password = password.get(1..).unwrap_or_default().to_vec();
    Ok((user.to_owned(), Secret::new(password)))
}

fn password_fits(password: &[u8], hash: &str) -> bool {
    if hash.starts_with("$argon2") {
        return PasswordHash::new(hash).is_ok_and(|hash| {
            argon2::Argon2::default()
                .verify_password(password, &hash)
                .is_ok()
        });
    }
    // bcrypt stops at the first NUL and at 72 bytes; a longer password would be cut unseen.
    password.len() <= 72
        && !password.contains(&0)
        && bcrypt::verify(password, hash).unwrap_or(false)
}
