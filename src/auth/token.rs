//! `type = "jwt"`, ready to ask: keys from wherever they come, verdicts kept, the double submit.

use std::sync::Arc;

use http::Method;
use subtle::ConstantTimeEq;

use crate::auth::attempt::Request;
use crate::auth::claims::{Rules, refuse, seconds};
use crate::auth::jwks::Jwks;
use crate::auth::jwt::{self, Unverified, signed_part};
use crate::auth::keys::{Family, Key, KeySet, algorithm_name, from_pem, secret_problem};
use crate::auth::ledger::TokenMark;
use crate::auth::ports::User;
use crate::auth::revoked::{Revoked, Standing};
use crate::auth::session::password_digest;
use crate::auth::verdicts::{Epoch, VerdictKey, Verdicts};
use crate::auth::{Problem, jwks};
use crate::clock::Timestamp;
use crate::config::settings::{Jwt, KeySource, Source};
use crate::policy::denial::{Challenge, Code, Denial};
use crate::policy::identity::{Bond, Caller, Identity, IdentityNames, Issue};

/// Bytes that a caller holds beside its claims, about.
const CALLER: usize = 700;

/// Where a reader's keys come from.
#[derive(Debug)]
pub(crate) enum Keys {
    /// From the configuration and the files it names.
    Fixed(KeySet),
    /// From a JWKS by URL.
    Fetched(Arc<Jwks>),
}

/// One JWT authenticator.
#[derive(Debug)]
pub(crate) struct TokenReader {
    pub(crate) settings: Jwt,
    pub(crate) keys: Keys,
    pub(crate) rules: Rules,
    /// A number for these settings and fixed keys.
    pub(crate) epoch: u64,
    /// What was revoked, where tokens may be.
    pub(crate) revoked: Option<Arc<Revoked>>,
    /// The authenticator's name.
    pub(crate) name: Arc<str>,
}

/// What came of a token without waiting for anything.
#[derive(Debug)]
pub(crate) enum Checked {
    /// It holds.
    Valid {
        /// Whom it names.
        caller: Arc<Caller>,
        /// Whether the verdict was known.
        reused: bool,
    },
    /// It does not.
    Refused(Denial),
    /// Its key is not known yet: a fetch may bring it.
    Waits(Lack),
}

/// What a token waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lack {
    /// No set of keys was ever loaded, or the last one is too old.
    Set,
    /// The set has no key for this token.
    Key,
}

impl TokenReader {
    /// Checks a token with the keys there are.
    pub(crate) fn check(
        &self,
        token: &str,
        verdicts: &Verdicts,
        names: &IdentityNames,
        now: Timestamp,
    ) -> Checked {
        let checked = self.check_alone(token, verdicts, names, now);
        let (Some(revoked), Checked::Valid { caller, .. }) = (&self.revoked, &checked) else {
            return checked;
        };
        match check_standing(revoked, caller) {
            Ok(()) => checked,
            Err(denial) => Checked::Refused(denial),
        }
    }

    /// Checks a token, waiting for keys where a fetch may bring them.
    ///
    /// # Errors
    ///
    /// The `token_…` codes, and `auth_unavailable`.
    pub(crate) async fn verify(
        &self,
        token: &str,
        verdicts: &Verdicts,
        names: &IdentityNames,
        now: Timestamp,
    ) -> Result<Arc<Caller>, Denial> {
        let checked = match self.check(token, verdicts, names, now) {
            Checked::Waits(lack) => self.wait(token, lack, verdicts, names, now).await,
            checked @ (Checked::Valid { .. } | Checked::Refused(_)) => checked,
        };
        match checked {
            Checked::Valid { caller, .. } => Ok(caller),
            Checked::Refused(denial) => Err(denial),
            Checked::Waits(_) => Err(self.key_unknown(token)),
        }
    }

    /// Waits for keys, and checks once more.
    pub(crate) async fn wait(
        &self,
        token: &str,
        lack: Lack,
        verdicts: &Verdicts,
        names: &IdentityNames,
        now: Timestamp,
    ) -> Checked {
        let Keys::Fetched(jwks) = &self.keys else {
            return Checked::Refused(self.key_unknown(token));
        };
        jwks.await_change(lack).await;
        match self.check(token, verdicts, names, now) {
            Checked::Waits(Lack::Set) => Checked::Refused(jwks.unavailable()),
            Checked::Waits(Lack::Key) => Checked::Refused(self.key_unknown(token)),
            decided @ (Checked::Valid { .. } | Checked::Refused(_)) => decided,
        }
    }

    /// Under which names a token's `jti` is unique: its issuers, else this authenticator.
    pub(crate) fn issuers(&self) -> Vec<&str> {
        if self.settings.issuer.is_empty() {
            return vec![&self.name];
        }
        self.settings.issuer.iter().map(String::as_str).collect()
    }

    /// What a revocation of this token names: its `jti`, or what it says where it has none.
    fn mark(&self, identity: &Identity, token: &str) -> TokenMark {
        let text = |name| {
            identity
                .claims
                .get(name)
                .and_then(serde_json::Value::as_str)
        };
        let Some(jti) = text("jti") else {
            return TokenMark::of_token(signed_part(token));
        };
        let issuer = text("iss").filter(|_| !self.settings.issuer.is_empty());
        TokenMark::of_jti(issuer.unwrap_or(&self.name), jti)
    }

    /// What a verified token is known by.
    fn bond(&self, identity: &Identity, token: &str) -> Option<Bond> {
        self.revoked.as_ref()?;
        // One that does not say when it was issued is older than everything.
        let issued = identity.claims.get("iat").and_then(seconds);
        Some(Bond::Token(Issue {
            mark: *self.mark(identity, token).as_bytes(),
            issued: issued.unwrap_or(Timestamp::from_unix_seconds(0)),
        }))
    }

    fn check_alone(
        &self,
        token: &str,
        verdicts: &Verdicts,
        names: &IdentityNames,
        now: Timestamp,
    ) -> Checked {
        // The epoch is read before the keys: a verdict by old keys never stands under a new epoch.
        let key = VerdictKey::of(self.epoch(), token.as_bytes());
        if let Some(caller) = verdicts.recall(&key, now) {
            return Checked::Valid {
                caller,
                reused: true,
            };
        }
        let unverified = match Unverified::read(token, &self.settings.algorithms) {
            Ok(unverified) => unverified,
            Err(denial) => return Checked::Refused(denial),
        };
        let payload = match &self.keys {
            Keys::Fixed(set) => unverified.verified_by(set),
            Keys::Fetched(jwks) => match jwks.current() {
                None => return self.lacking_all(&unverified),
                Some(set) if unverified.has_key_in(&set) => unverified.verified_by(&set),
                Some(_) => return self.lacking(&unverified, jwks),
            },
        };
        let verified = payload.and_then(|payload| jwt::judge(&payload, &self.rules, now));
        match verified {
            Err(denial) => Checked::Refused(denial),
            Ok(verified) => {
                let until = verified.identity.expires_at.unwrap_or(Timestamp::MAX);
                let bond = self.bond(&verified.identity, token);
                let caller = Arc::new(names.introduce(verified.identity).bound(bond));
                let bytes = CALLER + 4 * token.len();
                verdicts.keep(key, Arc::clone(&caller), verified.valid_from, until, bytes);
                Checked::Valid {
                    caller,
                    reused: false,
                }
            }
        }
    }

    /// A key that is not in the set may have come since, unless the token says it is from an
    /// issuer that would be refused anyway: then nothing is fetched for it.
    fn lacking(&self, unverified: &Unverified<'_>, jwks: &Jwks) -> Checked {
        let issuer = unverified.unverified_claim("iss");
        if self.rules.may_come_from(issuer.as_ref()) {
            return Checked::Waits(Lack::Key);
        }
        Checked::Refused(jwks.explain_unknown(unverified).note(
            "a token of another issuer: neither its key nor its `iss` is the one of this authenticator",
        ))
    }

    /// Without any keys nothing can be let in; but a token that says it is from an issuer that is
    /// not ours needs no key to be refused, and does not wait for one.
    fn lacking_all(&self, unverified: &Unverified<'_>) -> Checked {
        let issuer = unverified.unverified_claim("iss");
        if self.rules.may_come_from(issuer.as_ref()) {
            return Checked::Waits(Lack::Set);
        }
        Checked::Refused(self.rules.other_issuer(issuer.as_ref()))
    }

    /// The refusal of a token whose key did not come.
    pub(crate) fn key_unknown(&self, token: &str) -> Denial {
        match (
            Unverified::read(token, &self.settings.algorithms),
            &self.keys,
        ) {
            (Err(denial), _) => denial,
            (Ok(unverified), Keys::Fetched(jwks)) => jwks.explain_unknown(&unverified),
            (Ok(unverified), Keys::Fixed(_)) => unverified.key_unknown(),
        }
    }

    /// What its verdicts stand under now.
    pub(crate) fn epoch(&self) -> Epoch {
        let keys = match &self.keys {
            Keys::Fixed(_) => 0,
            Keys::Fetched(jwks) => jwks.epoch(),
        };
        Epoch {
            settings: self.epoch,
            keys,
        }
    }

    /// SimpleJWT's `CHECK_REVOKE_TOKEN`: the token names the password it was issued under
    /// (`authentication.py: JWTAuthentication.get_user`).
    ///
    /// # Errors
    ///
    /// `token_revoked`; `auth_unavailable` where the directory tells no password.
    pub(crate) fn check_unrevoked(&self, identity: &Identity, user: &User) -> Result<(), Denial> {
        let Some(claim) = &self.settings.revoke_claim else {
            return Ok(());
        };
        let Some(password) = &user.password else {
            let detail = "the token cannot be compared with its user";
            return Err(Denial::new(Code::AuthUnavailable, detail)
                .note("the directory tells no stored password, which `revoke_claim` needs"));
        };
        let wanted = password_digest(password.expose());
        let held = identity.claim(claim).and_then(serde_json::Value::as_str);
        let same = held.is_some_and(|held| bool::from(held.as_bytes().ct_eq(wanted.as_bytes())));
        if same {
            return Ok(());
        }
        let note = format!(
            "the claim `{claim}` is not that of the user's stored password: it was changed since, or the app does not set CHECK_REVOKE_TOKEN"
        );
        let detail = "the token was issued before the account was last changed";
        Err(Denial::new(Code::TokenRevoked, detail)
            .challenge(Challenge::InvalidToken)
            .note(note))
    }

    /// Flask-JWT-Extended's double submit: an unsafe request whose token came in a cookie must
    /// repeat the token's `csrf` claim in `X-CSRF-TOKEN` (`view_decorators.py: _decode_jwt_from_cookies`).
    ///
    /// # Errors
    ///
    /// `csrf_failed`.
    pub(crate) fn check_double_submit(
        &self,
        source: &Source,
        caller: &Caller,
        request: &Request<'_>,
    ) -> Result<(), Denial> {
        let unsafe_method =
            [Method::POST, Method::PUT, Method::PATCH, Method::DELETE].contains(request.method);
        if !self.settings.csrf_double_submit
            || !matches!(source, Source::Cookie(_))
            || !unsafe_method
        {
            return Ok(());
        }
        let refuse = |detail: &'static str| Err(Denial::new(Code::CsrfFailed, detail));
        let mut sent = request.headers.get_all("x-csrf-token").iter();
        let (Some(sent), None) = (sent.next(), sent.next()) else {
            return refuse(
                "an unsafe request with the token in a cookie needs the header X-CSRF-TOKEN once",
            );
        };
        let claim = caller
            .identity()
            .claims
            .get("csrf")
            .and_then(serde_json::Value::as_str);
        match claim {
            Some(claim)
                if !claim.is_empty() && bool::from(claim.as_bytes().ct_eq(sent.as_bytes())) =>
            {
                Ok(())
            }
            Some(_) => refuse("X-CSRF-TOKEN is not the token's `csrf` claim"),
            None => refuse("the token has no `csrf` claim to compare X-CSRF-TOKEN with"),
        }
    }
}

/// Whether a verified token was revoked.
fn check_standing(revoked: &Revoked, caller: &Caller) -> Result<(), Denial> {
    match revoked.standing(caller) {
        Standing::Holds => Ok(()),
        Standing::Revoked => Err(refuse(Code::TokenRevoked, "the token was revoked")
            .note("revoked by a sign-out, or by an operator: `portcullis sessions`")),
        Standing::Unknown => {
            let detail = "whether the token was revoked cannot be looked up right now";
            Err(Denial::new(Code::AuthUnavailable, detail)
                .note("the store of [session] was not read yet, or holds too much"))
        }
    }
}

/// Reads the keys that the configuration names, noting what is wrong with them.
///
/// A JWKS by URL has nothing to read yet and gives `None`.
pub(crate) fn fixed_keys(settings: &Jwt, at: &str, problems: &mut Vec<Problem>) -> Option<KeySet> {
    match &settings.keys {
        KeySource::JwksUrl(_) => None,
        KeySource::Secrets(secrets) => {
            for problem in secrets
                .iter()
                .filter_map(|one| secret_problem(one.expose()))
            {
                problems.push(Problem::new(
                    format!("{at}.secret"),
                    format!("the secret {problem}"),
                ));
            }
            let keys = secrets.iter().map(|one| Key::secret(one.expose()));
            let set = KeySet::fixed(keys.collect());
            check_families(settings, &set, &format!("{at}.secret"), problems);
            Some(set)
        }
        KeySource::PublicKeys(paths) => {
            let mut keys = Vec::new();
            let at = format!("{at}.public_key");
            for path in paths {
                let read = std::fs::read(path)
                    .map_err(|error| format!("cannot be read: {error}").into())
                    .and_then(|text| from_pem(&text));
                match read {
                    Ok(more) => keys.extend(more),
                    Err(what) => {
                        problems.push(Problem::new(&at, format!("{} {what}", path.display())));
                    }
                }
            }
            let set = KeySet::fixed(keys);
            if !set.keys().is_empty() {
                check_families(settings, &set, &at, problems);
            }
            Some(set)
        }
        KeySource::JwksFile(path) => {
            let at = format!("{at}.jwks");
            let read = std::fs::read(path)
                .map_err(|error| format!("cannot be read: {error}"))
                .and_then(|text| {
                    jwks::parse(&text, &settings.algorithms).map_err(|bad| bad.to_string())
                });
            match read {
                Ok(parsed) => Some(KeySet::published(parsed.keys)),
                Err(what) => {
                    problems.push(Problem::new(at, format!("{} {what}", path.display())));
                    None
                }
            }
        }
    }
}

/// Every algorithm needs a key of its family, and every key an algorithm.
fn check_families(settings: &Jwt, set: &KeySet, at: &str, problems: &mut Vec<Problem>) {
    for algorithm in &settings.algorithms {
        if !set.keys().iter().any(|key| key.serves(*algorithm)) {
            let message = format!(
                "no key here fits the algorithm {}, which needs a key of type {}",
                algorithm_name(*algorithm),
                Family::of(*algorithm).name()
            );
            problems.push(Problem::new(at, message));
        }
    }
    for key in set.keys() {
        if !settings
            .algorithms
            .iter()
            .any(|algorithm| key.serves(*algorithm))
        {
            let message = format!(
                "a key of type {} fits none of the algorithms listed",
                key.family.name()
            );
            problems.push(Problem::new(at, message));
        }
    }
}
