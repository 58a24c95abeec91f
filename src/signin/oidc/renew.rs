//! A provider is asked for new tokens, so that what it says of the user stays true.

use std::time::Duration;

use serde_json::{Map, Value};

use super::Provider;
use super::client::{Granted, NoTokens};
use crate::auth::Expected;
use crate::clock::{self, Timestamp};
use crate::config::settings::ForwardedToken;
use crate::policy::denial::{Code, Denial};
use crate::secret::Secret;
use crate::signin::tokens::{Provided, Tokens};

/// How long an access token is taken to be good where nobody says it.
const UNTOLD: Duration = Duration::from_mins(5);

/// Why there are no new tokens.
#[derive(Debug)]
pub(in crate::signin) enum NotRenewed {
    /// The provider says that the sign-in is over, or is another's; in words.
    Over(String),
    /// It could not be asked.
    Failed(Denial),
}

impl Provider {
    /// Exchanges a session's refresh token. The refresh token may be good for one time, so what came
    /// with a new one is never dropped: where the rest cannot be asked, what was told before stands.
    pub(in crate::signin) async fn renew(
        &self,
        tokens: &Tokens,
        refresh: &Secret<String>,
    ) -> Result<Tokens, NotRenewed> {
        let endpoints = self.endpoints().await.map_err(NotRenewed::Failed)?;
        let client = self.client(&endpoints, None).map_err(NotRenewed::Failed)?;
        let granted = client.refresh(refresh).await.map_err(|why| match why {
            NoTokens::Refused(words) => NotRenewed::Over(words),
            NoTokens::Failed(words) => NotRenewed::Failed(self.unusable(words)),
        })?;
        let now = clock::now();
        let Some(before) = tokens.told() else {
            return Err(NotRenewed::Over("the session holds no ID token".to_owned()));
        };
        let sub = before.id.get("sub").and_then(Value::as_str);
        let sub = sub.unwrap_or_default().to_owned();
        let (id_token, id) = match &granted.id_token {
            None => (before.id_token.clone(), before.id.clone()),
            Some(token) => {
                let expected = Expected::Subject(&sub);
                match self.issuer.verify(token.expose(), expected, now).await {
                    Ok(id) => (token.clone(), kept(id, &before.id)),
                    Err(denial) => {
                        let id = self.unverified(&denial, &before)?;
                        (before.id_token.clone(), id)
                    }
                }
            }
        };
        let info = match self.userinfo(&endpoints, &granted.access, &sub).await {
            Ok(info) => info,
            Err(denial) => {
                self.unverified(&denial, &before)?;
                before.info
            }
        };
        let ends = self.ends(&granted, &id, now);
        let provided = Provided { id_token, id, info };
        let refresh = granted.refresh.or_else(|| Some(refresh.clone()));
        Ok(Tokens::provided(
            (granted.access, refresh),
            provided,
            ends,
            now,
        ))
    }

    /// What was told before, where the provider could not be asked; an end where it told something
    /// that does not hold.
    fn unverified(
        &self,
        denial: &Denial,
        before: &Provided,
    ) -> Result<Map<String, Value>, NotRenewed> {
        let note = denial.operator_note().unwrap_or_default();
        if denial.code() != Code::AuthUnavailable {
            return Err(NotRenewed::Over(format!("{}: {note}", denial.detail())));
        }
        tracing::warn!(
            provider = &*self.settings.name,
            note,
            "a session was renewed, and what the provider told of its user before stands"
        );
        Ok(before.id.clone())
    }

    /// When the tokens have to be renewed. Without a refresh token, and where the app gets none of
    /// them, the session goes on to its own end.
    pub(super) fn ends(
        &self,
        granted: &Granted,
        id: &Map<String, Value>,
        now: Timestamp,
    ) -> Timestamp {
        let of_id = || {
            let ends = id.get("exp").and_then(Value::as_i64);
            ends.map(Timestamp::from_unix_seconds)
        };
        let of_access = granted.lasts.map(|lasts| now.saturating_add(lasts));
        let untold = now.saturating_add(UNTOLD);
        match self.settings.forward_token {
            ForwardedToken::None if granted.refresh.is_none() => Timestamp::MAX,
            ForwardedToken::None | ForwardedToken::Access => {
                of_access.or_else(of_id).unwrap_or(untold)
            }
            ForwardedToken::Id => of_id().or(of_access).unwrap_or(untold),
        }
    }
}

/// A new ID token's claims, with the session at the provider that only the first may have named.
fn kept(mut id: Map<String, Value>, before: &Map<String, Value>) -> Map<String, Value> {
    if let (false, Some(sid)) = (id.contains_key("sid"), before.get("sid")) {
        id.insert("sid".to_owned(), sid.clone());
    }
    id
}
