//! `[[expect]]`: the rules as tests, in the same file.

use http::{HeaderName, Method, StatusCode};
use serde_json::{Map, Value};

/// One expectation: a request, as whom, and the answer wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Expectation {
    /// Its place in the file, from 0.
    pub index: usize,
    /// The request's method.
    pub method: Method,
    /// The request's whole URL.
    pub url: url::Url,
    /// Who asks; `None` for nobody.
    pub caller: Option<ExpectedCaller>,
    /// Request headers, such as `Origin`.
    pub headers: Vec<(HeaderName, String)>,
    /// What must come of it.
    pub answer: ExpectedAnswer,
}

/// Who asks in an expectation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExpectedCaller {
    /// The user.
    pub user: String,
    /// Roles.
    pub roles: Vec<String>,
    /// E-mail address.
    pub email: Option<String>,
    /// Name.
    pub name: Option<String>,
    /// Further claims.
    pub claims: Map<String, Value>,
    /// The authenticator to have made it; the route's first where `None`.
    pub authenticator: Option<String>,
}

/// What must come of an expectation's request. Everything that is set must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExpectedAnswer {
    /// The status of an answer that the gateway makes.
    pub status: Option<StatusCode>,
    /// The code of a refusal.
    pub code: Option<String>,
    /// The upstream that gets the request.
    pub forward: Option<String>,
    /// Headers that the app (or, for an answer of the gateway, the client) gets.
    pub headers: Vec<(HeaderName, String)>,
}
