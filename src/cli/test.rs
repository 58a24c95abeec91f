//! `portcullis test`: runs the file's `[[expect]]` without a network.

use std::fmt;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method};

use super::ask::Wish;
use super::foresee::{Foreseen, Outcome, foresee};
use super::{complain, count, load, print};
use crate::clock::{self, Timestamp};
use crate::gateway::Snapshot;
use crate::pipeline::judge::Who;
use crate::policy::expect::{Expectation, ExpectedAnswer, ExpectedCaller};
use crate::policy::host::parse_authority;
use crate::policy::identity::{Caller, Identity};
use crate::policy::path::CanonicalPath;
use crate::policy::requirement::Admission;
use crate::policy::route::Route;

/// Exit 0 when every expectation holds, 1 otherwise.
pub(super) fn run(file: &Path, out: &mut dyn Write, err: &mut dyn Write) -> ExitCode {
    let gate = match load::gateway(file, err) {
        Ok(built) => built.gate,
        Err(code) => return code,
    };
    let results = match results(&gate) {
        Ok(results) => results,
        Err(error) => {
            complain(err, &error);
            return ExitCode::FAILURE;
        }
    };
    for result in &results {
        let mark = if result.holds() { "ok" } else { "no" };
        print(out, &format_args!("{mark}  {}: {result}\n", result.key()));
    }
    let failed = results.iter().filter(|one| !one.holds()).count();
    let held = results.len() - failed;
    print(out, &format_args!("{held} hold, {failed} do not\n"));
    if results.is_empty() {
        complain(err, &"the file has no [[expect]]");
    }
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// One expectation and what came of it.
#[derive(Debug)]
pub(super) struct Tested {
    /// Its place in the file, from 0.
    index: usize,
    /// Method and URL.
    request: String,
    /// Who asks.
    caller: String,
    /// What was expected.
    expected: String,
    /// What came.
    came: String,
    /// What does not fit; empty when it holds.
    differences: Vec<String>,
}

impl Tested {
    /// The key's path.
    pub(super) fn key(&self) -> String {
        format!("expect[{}]", self.index)
    }

    /// Whether what came is what was expected.
    pub(super) fn holds(&self) -> bool {
        self.differences.is_empty()
    }
}

impl fmt::Display for Tested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            request, caller, ..
        } = self;
        write!(f, "{request} as {caller}: ")?;
        if self.holds() {
            return write!(f, "{}", self.came);
        }
        write!(f, "expected {}, got {}", self.expected, self.came)?;
        for difference in &self.differences {
            write!(f, "\n    {difference}")?;
        }
        Ok(())
    }
}

/// Runs every expectation of the file.
///
/// # Errors
///
/// What the system says when no runtime can be had.
pub(super) fn results(gate: &Snapshot) -> std::io::Result<Vec<Tested>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let now = clock::now();
    let expectations = gate.policy.expectations.iter();
    Ok(runtime.block_on(async {
        let mut results = Vec::new();
        for expectation in expectations {
            results.push(test(gate, expectation, now).await);
        }
        results
    }))
}

async fn test(gate: &Snapshot, expectation: &Expectation, now: Timestamp) -> Tested {
    let caller = expectation.caller.as_ref();
    let mut tested = Tested {
        index: expectation.index,
        request: format!("{} {}", expectation.method, expectation.url),
        caller: told_caller(caller),
        expected: told_answer(&expectation.answer),
        came: String::new(),
        differences: Vec::new(),
    };
    match foresee_one(gate, expectation, now).await {
        Ok(foreseen) => {
            tested.came = told_outcome(&foreseen);
            tested.differences = differences(&expectation.answer, &foreseen.outcome);
        }
        Err(words) => {
            "nothing: it is no request".clone_into(&mut tested.came);
            tested.differences.push(words);
        }
    }
    tested
}

async fn foresee_one(
    gate: &Snapshot,
    expectation: &Expectation,
    now: Timestamp,
) -> Result<Foreseen, String> {
    let headers = expectation.headers.iter().map(|(name, value)| {
        let value = HeaderValue::try_from(value)
            .map_err(|_bad| format!("the value of {name} cannot stand in a header"))?;
        Ok((name.clone(), value))
    });
    let wish = Wish {
        method: expectation.method.as_str(),
        url: expectation.url.as_str(),
        headers: headers.collect::<Result<_, String>>()?,
        websocket: false,
        from: IpAddr::V4(Ipv4Addr::LOCALHOST),
        certificate: None,
        by_port: false,
    };
    let ask = wish.ask(gate)?;
    let route = route(gate, &expectation.url, &expectation.method);
    let caller = expectation.caller.as_ref();
    let caller = caller.and_then(|caller| introduce(gate, route?, caller));
    Ok(foresee(gate, &ask, Who::Given(caller), now).await)
}

/// The route that the request would take.
fn route<'g>(gate: &'g Snapshot, url: &url::Url, method: &Method) -> Option<&'g Route> {
    let authority = parse_authority(url.authority()).ok()?;
    let path = CanonicalPath::parse(url.path(), gate.policy.merge_slashes).ok()?;
    let found = gate.policy.routes.find(authority.host(), &path, method);
    found.ok().map(AsRef::as_ref)
}

/// The caller that an authenticator of the route would make; nobody on a public route, where no
/// credential is looked at.
fn introduce(gate: &Snapshot, route: &Route, expected: &ExpectedCaller) -> Option<Arc<Caller>> {
    if route.requirement.admission == Admission::Public {
        return None;
    }
    let first = route.authenticators.first();
    let first = first.and_then(|id| gate.settings.authenticators.get(id.0));
    let authenticator = match (&expected.authenticator, first) {
        (Some(name), _) => Arc::from(name.as_str()),
        (None, Some(first)) => Arc::clone(&first.name),
        (None, None) => Arc::from("expect"),
    };
    let identity = Identity {
        user: expected.user.clone(),
        roles: Vec::new(),
        email: expected.email.clone(),
        name: expected.name.clone(),
        claims: expected.claims.clone(),
        expires_at: None,
        authenticator,
    };
    let identity = identity.with_roles(expected.roles.iter().cloned());
    Some(Arc::new(gate.policy.identity.introduce(identity)))
}

/// What does not fit.
fn differences(expected: &ExpectedAnswer, outcome: &Outcome) -> Vec<String> {
    let mut found = Vec::new();
    let (status, code, upstream, headers) = parts(outcome);
    if let Some(wanted) = expected.status
        && status != Some(wanted.as_u16())
    {
        let status = status.map_or("none of the gateway's".to_owned(), |code| code.to_string());
        found.push(format!(
            "status: expected {}, got {status}",
            wanted.as_u16()
        ));
    }
    if let Some(wanted) = &expected.code
        && code != Some(wanted.as_str())
    {
        found.push(format!(
            "code: expected {wanted}, got {}",
            code.unwrap_or("none")
        ));
    }
    if let Some(wanted) = &expected.forward
        && upstream != Some(wanted.as_str())
    {
        let upstream = upstream.unwrap_or("none");
        found.push(format!("upstream: expected {wanted}, got {upstream}"));
    }
    for (name, wanted) in &expected.headers {
        let values: Vec<_> = headers.get_all(name).iter().collect();
        if !matches!(values.as_slice(), [only] if only.as_bytes() == wanted.as_bytes()) {
            let values = values.iter().map(|value| format!("{value:?}"));
            let values = values.collect::<Vec<_>>().join(" and ");
            let values = if values.is_empty() { "none" } else { &values };
            found.push(format!("header {name}: expected {wanted:?}, got {values}"));
        }
    }
    found
}

fn parts(outcome: &Outcome) -> (Option<u16>, Option<&str>, Option<&str>, &HeaderMap) {
    match outcome {
        Outcome::Forward {
            upstream, headers, ..
        } => (None, None, Some(upstream), headers),
        Outcome::Answer {
            status, headers, ..
        } => (status.map(|status| status.as_u16()), None, None, headers),
        Outcome::Refused {
            status,
            headers,
            denial,
        } => {
            let code = Some(denial.code().as_str());
            (Some(status.as_u16()), code, None, headers)
        }
    }
}

fn told_caller(caller: Option<&ExpectedCaller>) -> String {
    match caller {
        None => "nobody".to_owned(),
        Some(caller) if caller.roles.is_empty() => format!("user {}", caller.user),
        Some(caller) => format!("user {} with {}", caller.user, caller.roles.join(", ")),
    }
}

fn told_answer(expected: &ExpectedAnswer) -> String {
    let mut parts = Vec::new();
    parts.extend(expected.status.map(|status| status.as_u16().to_string()));
    parts.extend(expected.code.clone());
    parts.extend(
        expected
            .forward
            .as_ref()
            .map(|name| format!("forward to {name}")),
    );
    if parts.is_empty() {
        parts.push("an answer".to_owned());
    }
    if !expected.headers.is_empty() {
        parts.push(format!("with {}", count(expected.headers.len(), "header")));
    }
    parts.join(" ")
}

fn told_outcome(foreseen: &Foreseen) -> String {
    match &foreseen.outcome {
        Outcome::Forward { upstream, .. } => format!("forward to {upstream}"),
        Outcome::Answer {
            status: Some(status),
            ..
        } => status.as_u16().to_string(),
        Outcome::Answer {
            status: None,
            words,
            ..
        } => words.clone(),
        Outcome::Refused { status, denial, .. } => {
            let note = denial.operator_note();
            let note = note.map_or_else(String::new, |note| format!(" ({note})"));
            format!("{} {}{note}", status.as_u16(), denial.code())
        }
    }
}
