//! An explanation as text and as JSON.

use std::fmt;

use http::HeaderMap;
use serde_json::{Map, Value, json};

use crate::cli::ask::Ask;
use crate::cli::foresee::{Foreseen, Outcome};
use crate::cli::redact::{Redact, title};
use crate::gateway::Snapshot;
use crate::policy::denial::Denial;

/// What is told.
#[derive(Debug)]
pub(super) struct Told<'a> {
    pub(super) foreseen: &'a Foreseen,
    pub(super) ask: &'a Ask,
    pub(super) gate: &'a Snapshot,
}

impl Told<'_> {
    fn redact(&self) -> Redact {
        Redact::new(&self.gate.settings)
    }

    /// The same keys whatever comes of the request; `null` where one has no meaning.
    pub(super) fn json(&self) -> Value {
        let redact = self.redact();
        let headers = |headers: &HeaderMap| shown(&redact, headers);
        let mut told = json!({
            "outcome": "",
            "status": null,
            "code": null,
            "route": self.foreseen.route.as_ref().map(|route| route.label.as_ref()),
            "steps": self.foreseen.trace.steps,
            "upstream": null,
            "target": null,
            "headers": {},
            "detail": null,
            "note": null,
            "observed": self.foreseen.overlooked.as_ref().map(|denial| denial.code().as_str()),
        });
        let mut set = |key: &str, value: Value| {
            if let Some(place) = told.get_mut(key) {
                *place = value;
            }
        };
        match &self.foreseen.outcome {
            Outcome::Forward {
                upstream,
                target,
                headers: forwarded,
            } => {
                set("outcome", json!("forward"));
                set("upstream", json!(upstream.as_ref()));
                set("target", json!(redact.target(target)));
                set("headers", headers(forwarded));
            }
            Outcome::Answer {
                status,
                headers: answered,
                words,
            } => {
                set("outcome", json!("answer"));
                set("status", json!(status.map(|status| status.as_u16())));
                set("headers", headers(answered));
                set("detail", json!(words));
            }
            Outcome::Refused {
                status,
                headers: answered,
                denial,
            } => {
                set("outcome", json!("refused"));
                set("status", json!(status.as_u16()));
                set("code", json!(denial.code().as_str()));
                set("headers", headers(answered));
                set("detail", json!(denial.detail()));
                set("note", json!(denial.operator_note()));
            }
        }
        told
    }

    fn headers(&self, f: &mut fmt::Formatter<'_>, headers: &HeaderMap) -> fmt::Result {
        let redact = self.redact();
        for (name, value) in headers {
            writeln!(f, "    {}: {}", title(name), redact.value(name, value))?;
        }
        Ok(())
    }
}

/// Headers by name; several values of one name as a list.
fn shown(redact: &Redact, headers: &HeaderMap) -> Value {
    let mut map = Map::new();
    for name in headers.keys() {
        let values = headers.get_all(name).iter();
        let mut texts: Vec<_> = values
            .map(|value| Value::String(redact.value(name, value)))
            .collect();
        let value = match texts.pop() {
            Some(only) if texts.is_empty() => only,
            Some(last) => {
                texts.push(last);
                Value::Array(texts)
            }
            None => Value::Null,
        };
        map.insert(name.as_str().to_owned(), value);
    }
    Value::Object(map)
}

fn refusal(f: &mut fmt::Formatter<'_>, denial: &Denial) -> fmt::Result {
    writeln!(f, "    {}", denial.detail())?;
    for line in denial.operator_note().into_iter().flat_map(str::lines) {
        writeln!(f, "    {line}")?;
    }
    Ok(())
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let redact = self.redact();
        let method = &self.ask.method;
        let target = self.ask.uri.path_and_query();
        let target = target.map_or("/", |target| target.as_str());
        writeln!(f, "{method} {}\n", redact.target(target))?;
        write!(f, "{}", self.foreseen.trace)?;
        match &self.foreseen.outcome {
            Outcome::Forward {
                upstream,
                target,
                headers,
            } => {
                writeln!(f, "\n=>  upstream {upstream} gets")?;
                writeln!(f, "    {method} {}", redact.target(target))?;
                self.headers(f, headers)?;
                if let Some(denial) = &self.foreseen.overlooked {
                    let (status, code) = (denial.status().as_u16(), denial.code());
                    writeln!(
                        f,
                        "    without `observe` it would be refused: {status} {code}"
                    )?;
                }
                Ok(())
            }
            Outcome::Answer {
                status,
                headers,
                words,
            } => {
                let status = status.map_or_else(String::new, |status| format!(" {status}"));
                writeln!(f, "\n=>  the gateway answers{status}: {words}")?;
                self.headers(f, headers)
            }
            Outcome::Refused {
                status,
                headers,
                denial,
            } => {
                let status = status.as_u16();
                writeln!(f, "\n=>  the gateway refuses: {status} {}", denial.code())?;
                refusal(f, denial)?;
                self.headers(f, headers)
            }
        }
    }
}
