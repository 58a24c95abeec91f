//! What happens to requests that sign out at an app whose tokens stay here.
//!
//! The session ends first and the app is told then, so that no failure of the app keeps anyone signed
//! in.

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, EXPECT, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Method, Response};
use http_body_util::{BodyExt, Collected, Limited};

use super::body::Body;
use super::sign_in::{Door, nothing};
use crate::clock;
use crate::policy::denial::Denial;
use crate::secret::Secret;
use crate::signin::Departed;
use crate::upstream::body::RequestBody;

/// Most bytes of a sign-out's body that are read.
const MOST_SIGN_OUT: usize = 64 * 1024;

/// What became of a request that signs out, before it goes to the app.
pub(super) enum Leaving {
    /// Its session has ended. This body goes to the app.
    Ended(RequestBody),
    /// It has no session that lives: it is the app's affair.
    None(RequestBody),
}

impl Door<'_> {
    /// Ends the session of a request that signs out, and makes ready what the app is told.
    pub(super) async fn leave(
        &self,
        method: &Method,
        headers: &mut HeaderMap,
        body: RequestBody,
    ) -> Result<Leaving, Denial> {
        let Ok(Some(id)) = self.session(headers) else {
            return Ok(Leaving::None(body));
        };
        self.check_site(method, headers)?;
        let now = clock::now();
        let Some(departed) = self.sign_in.find(self.handler, &id, now).await? else {
            return Ok(Leaving::None(body));
        };
        let access = departed.tokens.access.expose().as_str();
        let marks = self.authenticators.marks_of_token(access);
        self.sign_in.end(&id, &departed, marks, now).await?;
        if let Ok(mut bearer) = HeaderValue::try_from(format!("Bearer {access}")) {
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
        }
        let body = told(&departed, method, headers, body).await;
        Ok(Leaving::Ended(body))
    }

    /// The answer to a sign-out: the app's, where it did its part; else the gateway's own, because
    /// the session is over whatever the app says. Either takes the cookie away.
    pub(super) fn farewell(&self, answer: Result<Response<Body>, Denial>) -> Response<Body> {
        let mut answer = match answer {
            Ok(answer) if answer.status().as_u16() < 400 => answer,
            Ok(answer) => {
                let status = answer.status().as_u16();
                tracing::warn!(status, "the session is over, but the app's sign-out failed");
                nothing()
            }
            Err(denial) => {
                let note = denial.operator_note().unwrap_or_default();
                tracing::warn!(code = %denial.code(), note, "the session is over, but the app's sign-out failed");
                nothing()
            }
        };
        self.take_cookie(answer.headers_mut());
        answer
    }

    /// Takes the cookie away.
    pub(super) fn take_cookie(&self, headers: &mut HeaderMap) {
        if let Some(line) = self.sign_in.farewell() {
            headers.append(SET_COOKIE, line);
        }
    }
}

/// What the app's sign-out is told: the client's own JSON with the refresh token in it.
async fn told(
    departed: &Departed,
    method: &Method,
    headers: &mut HeaderMap,
    body: RequestBody,
) -> RequestBody {
    let own = match &departed.body {
        Some(own) if *method != Method::DELETE => own,
        Some(_) | None => return body,
    };
    let sent = Limited::new(body, MOST_SIGN_OUT).collect().await;
    let sent = sent.map(Collected::to_bytes).unwrap_or_default();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.remove(CONTENT_ENCODING);
    headers.remove(EXPECT);
    RequestBody::Whole(joined(&sent, own))
}

/// A JSON object with the members of another put in.
fn joined(sent: &[u8], own: &Secret<Vec<u8>>) -> Bytes {
    let read = |text: &[u8]| {
        let read: Result<serde_json::Map<String, serde_json::Value>, _> =
            serde_json::from_slice(text);
        read.unwrap_or_default()
    };
    let mut members = read(sent);
    members.extend(read(own.expose()));
    serde_json::Value::Object(members).to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_out_keeps_what_the_front_end_says_beside_the_token() {
        let own = Secret::new(br#"{"refresh":"R"}"#.to_vec());
        let body = joined(br#"{"refresh":"undefined","all":true}"#, &own);
        assert_eq!(body, r#"{"all":true,"refresh":"R"}"#);
        for sent in [&b""[..], b"null", b"[1]", b"x=1"] {
            assert_eq!(joined(sent, &own), r#"{"refresh":"R"}"#);
        }
    }
}
