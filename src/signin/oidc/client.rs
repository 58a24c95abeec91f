//! A provider's token endpoint, and the address where a browser signs in: OAuth 2.0 as the `oauth2`
//! crate speaks it, over the project's own connections.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use oauth2::basic::{
    BasicErrorResponse, BasicErrorResponseType, BasicRevocationErrorResponse,
    BasicTokenIntrospectionResponse, BasicTokenType,
};
use oauth2::{
    AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointNotSet,
    EndpointSet, ExtraTokenFields, HttpRequest, HttpResponse, PkceCodeChallenge, PkceCodeVerifier,
    RedirectUrl, RefreshToken, RequestTokenError, Scope, StandardRevocableToken,
    StandardTokenResponse, TokenResponse, TokenUrl,
};
use serde::{Deserialize, Serialize};
use url::Url;

use super::CALL;
use super::endpoints::Endpoints;
use super::flow::Flow;
use crate::auth::web::{self, WebError};
use crate::auth::words::chain;
use crate::config::settings::Oidc;
use crate::secret::Secret;

/// Longest token that is taken, in bytes.
const MOST_TOKEN: usize = 16 * 1024;

/// What OpenID Connect adds to an answer with tokens (Core 1.0 §3.1.3.3).
#[derive(Serialize, Deserialize)]
struct Extra {
    #[serde(default)]
    id_token: Option<String>,
}

impl fmt::Debug for Extra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extra").finish_non_exhaustive()
    }
}

impl ExtraTokenFields for Extra {}

type Answer = StandardTokenResponse<Extra, BasicTokenType>;
type Error = RequestTokenError<WebError, BasicErrorResponse>;
type OAuth = oauth2::Client<
    BasicErrorResponse,
    Answer,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

/// The gateway as a provider's client.
#[derive(Debug)]
pub(super) struct Client {
    oauth: OAuth,
    scopes: Vec<Scope>,
    /// Whether a refresh token is asked for that outlives the user's presence.
    is_offline: bool,
}

/// Tokens that a provider gave.
#[derive(Debug)]
pub(super) struct Granted {
    pub(super) access: Secret<String>,
    pub(super) refresh: Option<Secret<String>>,
    pub(super) id_token: Option<Secret<String>>,
    /// How long the access token is good, where the provider says it.
    pub(super) lasts: Option<Duration>,
}

/// Why there are no tokens, in words without any secret.
#[derive(Debug)]
pub(super) enum NoTokens {
    /// The provider does not take the code or the refresh token.
    Refused(String),
    /// It could not be asked, or something else is wrong.
    Failed(String),
}

impl Client {
    /// `redirect` is where the browser comes back to; a renewal has none. `None` where an address
    /// cannot be written.
    pub(super) fn new(
        settings: &Oidc,
        endpoints: &Endpoints,
        redirect: Option<&str>,
    ) -> Option<Self> {
        let auth_type = if endpoints.secret_in_body {
            AuthType::RequestBody
        } else {
            AuthType::BasicAuth
        };
        let secret = settings.client_secret.expose().clone();
        let mut oauth: OAuth = oauth2::Client::new(ClientId::new(settings.client_id.to_string()))
            .set_client_secret(ClientSecret::new(secret))
            .set_auth_type(auth_type)
            .set_auth_uri(AuthUrl::from_url(endpoints.authorization.clone()))
            .set_token_uri(TokenUrl::from_url(endpoints.token.clone()));
        if let Some(redirect) = redirect {
            oauth = oauth.set_redirect_uri(RedirectUrl::new(redirect.to_owned()).ok()?);
        }
        let scopes = settings.scopes.iter();
        Some(Self {
            oauth,
            scopes: scopes.map(|one| Scope::new(one.to_string())).collect(),
            is_offline: settings.scopes.iter().any(|one| **one == *"offline_access"),
        })
    }

    /// Where a browser begins a sign-in.
    pub(super) fn authorization(&self, flow: &Flow) -> Url {
        let verifier = PkceCodeVerifier::new(flow.verifier.expose().clone());
        let challenge = PkceCodeChallenge::from_code_verifier_sha256(&verifier);
        let state = flow.state.expose().clone();
        let mut request = self
            .oauth
            .authorize_url(|| CsrfToken::new(state))
            .add_scopes(self.scopes.iter().cloned())
            .set_pkce_challenge(challenge)
            .add_extra_param("nonce", flow.nonce.expose().clone());
        if self.is_offline {
            // Core 1.0 §11: without it the scope is ignored.
            request = request.add_extra_param("prompt", "consent");
        }
        request.url().0
    }

    /// Exchanges a code for tokens.
    pub(super) async fn exchange(
        &self,
        code: &Secret<String>,
        flow: &Flow,
    ) -> Result<Granted, NoTokens> {
        let code = AuthorizationCode::new(code.expose().clone());
        let verifier = PkceCodeVerifier::new(flow.verifier.expose().clone());
        let request = self.oauth.exchange_code(code).set_pkce_verifier(verifier);
        let answer = tokio::time::timeout(CALL, request.request_async(&send)).await;
        granted(answer.map_err(|_elapsed| late())?)
    }

    /// Exchanges a refresh token for new tokens.
    pub(super) async fn refresh(&self, token: &Secret<String>) -> Result<Granted, NoTokens> {
        let token = RefreshToken::new(token.expose().clone());
        let request = self.oauth.exchange_refresh_token(&token);
        let answer = tokio::time::timeout(CALL, request.request_async(&send)).await;
        granted(answer.map_err(|_elapsed| late())?)
    }
}

fn late() -> NoTokens {
    NoTokens::Failed(format!(
        "its token endpoint gave no whole answer within {CALL:?}"
    ))
}

/// Sends what the crate made. The address was read from the provider's configuration before.
async fn send(request: HttpRequest) -> Result<HttpResponse, WebError> {
    let url = Url::parse(&request.uri().to_string()).map_err(|_why| WebError::NoHost)?;
    let answer = web::send(&url, request.map(Bytes::from)).await?;
    Ok(answer.map(Into::into))
}

fn granted(answer: Result<Answer, Error>) -> Result<Granted, NoTokens> {
    let answer = answer.map_err(|error| refused(&error))?;
    if !matches!(answer.token_type(), BasicTokenType::Bearer) {
        let words = "its token endpoint gave tokens that are no bearer tokens";
        return Err(NoTokens::Failed(words.to_owned()));
    }
    let refresh = answer.refresh_token().map(RefreshToken::secret);
    let id_token = answer.extra_fields().id_token.as_ref();
    let access = answer.access_token().secret();
    let all = [Some(access), refresh, id_token];
    if all
        .into_iter()
        .flatten()
        .any(|token| token.len() > MOST_TOKEN)
    {
        return Err(NoTokens::Failed(
            "it gave a token of more than 16 KiB".to_owned(),
        ));
    }
    let hidden = |token: &String| Secret::new(token.clone());
    Ok(Granted {
        access: hidden(access),
        refresh: refresh.filter(|token| !token.is_empty()).map(hidden),
        id_token: id_token.map(hidden),
        lasts: answer.expires_in(),
    })
}

/// What went wrong. A provider's own words may repeat a token, so only its error's name is told.
fn refused(error: &Error) -> NoTokens {
    match error {
        RequestTokenError::ServerResponse(said) => {
            let words = format!("its token endpoint says {}", said.error().as_ref());
            match said.error() {
                BasicErrorResponseType::InvalidGrant => NoTokens::Refused(words),
                BasicErrorResponseType::InvalidClient
                | BasicErrorResponseType::UnauthorizedClient => NoTokens::Failed(format!(
                    "{words}: compare `client_id` and `client_secret` with what the provider has"
                )),
                BasicErrorResponseType::InvalidRequest
                | BasicErrorResponseType::InvalidScope
                | BasicErrorResponseType::UnsupportedGrantType
                | BasicErrorResponseType::Extension(_) => NoTokens::Failed(words),
            }
        }
        RequestTokenError::Request(error) => NoTokens::Failed(format!(
            "its token endpoint cannot be asked: {}",
            chain(error)
        )),
        // The crate's words may hold the answer, and that a token.
        RequestTokenError::Parse(..) | RequestTokenError::Other(_) => {
            NoTokens::Failed("its token endpoint's answer cannot be read".to_owned())
        }
    }
}
