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
        let (argon2, bcrypt): (Vec<_>, Vec<_>) =
            users.values().partition(|hash| hash.starts_with("$argon2"));
        let most = if argon2.len() > bcrypt.len() {
            argon2
        } else {
            bcrypt
        };
        let stand_in = most.first().map_or("", |hash| hash.as_str());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::testing::{NOW, run};

    /// `bcrypt` of "correct horse" at the lowest cost, `argon2id` of the same at low cost.
    fn htpasswd() -> String {
        use argon2::password_hash::{PasswordHasher, SaltString};
        let bcrypt = bcrypt::hash("correct horse", 4).unwrap();
        let salt = SaltString::from_b64("c29tZXNhbHRzb21lc2FsdA").unwrap();
        let params = argon2::Params::new(64, 1, 1, None).unwrap();
        let argon2 =
            argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params)
                .hash_password(b"correct horse", &salt)
                .unwrap();
        format!("# users\nalice:{bcrypt}\n\nbob:{argon2}\n")
    }

    fn reader() -> BasicReader {
        BasicReader::new(parse_htpasswd(&htpasswd()).unwrap(), Arc::from("basic"), 1)
    }

    fn sent(text: &str) -> String {
        STANDARD.encode(text)
    }

    fn ask(reader: &BasicReader, verdicts: &Verdicts, text: &str) -> Result<String, Code> {
        let names = IdentityNames::default();
        run(reader.verify(&sent(text), verdicts, &names, NOW))
            .map(|caller| caller.identity().user.clone())
            .map_err(|denial| denial.code())
    }

    #[test]
    fn bcrypt_and_argon2_passwords_are_known_and_wrong_ones_are_not() {
        let (reader, verdicts) = (reader(), Verdicts::default());
        for user in ["alice", "bob"] {
            let good = format!("{user}:correct horse");
            assert_eq!(ask(&reader, &verdicts, &good), Ok(user.to_owned()));
            let wrong = format!("{user}:correct horse ");
            assert_eq!(ask(&reader, &verdicts, &wrong), Err(Code::KeyUnknown));
        }
        assert_eq!(
            ask(&reader, &verdicts, "eve:correct horse"),
            Err(Code::KeyUnknown)
        );
        for malformed in ["alice", ":x", " :x", "al\nice:x"] {
            assert_eq!(
                ask(&reader, &verdicts, malformed),
                Err(Code::TokenMalformed)
            );
        }
    }

    #[test]
    fn what_was_verified_is_remembered_for_a_minute_and_nothing_else_is() {
        let (reader, verdicts) = (reader(), Verdicts::default());
        ask(&reader, &verdicts, "alice:correct horse").unwrap();
        ask(&reader, &verdicts, "alice:wrong").unwrap_err();
        let recalled = |text: &str, now| reader.recall(&sent(text), &verdicts, now).is_some();
        assert!(recalled("alice:correct horse", NOW));
        assert!(!recalled("alice:wrong", NOW));
        assert!(!recalled("alice:correct horse", NOW.saturating_add(KEPT)));
    }

    #[test]
    fn a_password_that_bcrypt_would_cut_is_refused() {
        let cut = format!("{}{}", "x".repeat(72), "y");
        let hash = bcrypt::hash("x".repeat(72), 4).unwrap();
        assert!(password_fits("x".repeat(72).as_bytes(), &hash));
        assert!(!password_fits(cut.as_bytes(), &hash));
    }

    #[test]
    fn every_wrong_line_of_an_htpasswd_file_is_told() {
        let wrong =
            parse_htpasswd("alice\n:x\nbob:$apr1$x$y\ncarol:{SHA}x\ndan:$2y$x\n").unwrap_err();
        assert_eq!(wrong.len(), 5, "{wrong:?}");
        assert!(wrong[2].contains("line 3") && wrong[2].contains("htpasswd -B"));
        assert!(parse_htpasswd("").is_err());
        let hash = bcrypt::hash("x", 4).unwrap();
        assert!(parse_htpasswd(&format!("a:{hash}\na:{hash}")).is_err());
    }
}
