//! How the gateway stands, as one value: shown as JSON and on the dashboard.

use serde::Serialize;

use crate::clock::Timestamp;
use crate::telemetry::{
    AcmeReading, CertificateReading, JwksReading, LastReload, Metrics, Reading, SecretChange,
    ServerReading, StoreReading,
};

/// From this many days before its end a certificate is worth a warning.
const CERTIFICATE_WARNING_DAYS: i64 = 14;

const DAY_S: i64 = 24 * 60 * 60;

/// How the gateway stands.
#[derive(Debug, Serialize)]
pub struct Status {
    /// Version that runs.
    pub version: &'static str,
    /// The process's number: another one after another process has taken over.
    pub process: u32,
    /// Now.
    pub now: String,
    /// When the process started.
    pub started: String,
    /// Whether `/ready` says yes.
    pub ready: bool,
    /// Whether the gateway is stopping.
    pub draining: bool,
    /// The configuration in force.
    pub configuration: Configuration,
    /// Secrets that seem to have changed: what to look at before all else.
    pub secret_changes: Vec<SecretChangeRow>,
    /// What someone should look at.
    pub warnings: Vec<String>,
    /// Certificates served.
    pub certificates: Vec<CertificateRow>,
    /// What orders certificates by ACME; `null` where nothing does.
    pub acme: Option<AcmeRow>,
    /// Keys that come by URL.
    pub jwks: Vec<JwksRow>,
    /// Stores of sessions and users.
    pub stores: Vec<StoreRow>,
    /// Servers of the apps.
    pub servers: Vec<ServerReading>,
}

/// The configuration in force.
#[derive(Debug, Serialize)]
pub struct Configuration {
    /// When it was loaded.
    pub loaded: String,
    /// Whether the last reload worked; when it did not, the configuration before it serves.
    pub last_reload_worked: bool,
    /// What the last reload came to; `null` where there was none.
    pub last_reload: Option<LastReload>,
}

/// A certificate that is served.
#[derive(Debug, Serialize)]
pub struct CertificateRow {
    /// Its file.
    pub file: String,
    /// Names that it vouches for.
    pub names: Vec<String>,
    /// Valid until then.
    pub not_after: String,
    /// Whole days until then; negative when it is over.
    pub days_left: i64,
}

/// What orders certificates by ACME.
#[derive(Debug, Serialize)]
pub struct AcmeRow {
    /// The names.
    pub domains: Vec<String>,
    /// Certificates that were issued.
    pub issued: u64,
    /// Orders that came to nothing.
    pub failed: u64,
    /// Why the last one came to nothing, until one succeeds.
    pub problem: Option<String>,
    /// When the next is due.
    pub next: Option<String>,
}

/// The keys of one authenticator.
#[derive(Debug, Serialize)]
pub struct JwksRow {
    /// Its name.
    pub authenticator: String,
    /// Keys in use.
    pub keys: usize,
    /// Seconds since they were fetched; `null` while they never were.
    pub age_s: Option<u64>,
    /// Fetches that failed.
    pub failures: u64,
    /// What was wrong with the last fetch.
    pub problem: Option<String>,
}

/// A secret that seems to have changed.
#[derive(Debug, Serialize)]
pub struct SecretChangeRow {
    /// The authenticator whose credentials fail.
    pub authenticator: String,
    /// Since when.
    pub since: String,
    /// What an operator is asked, and what to do.
    pub question: String,
}

/// A store of sessions or users.
#[derive(Debug, Serialize)]
pub struct StoreRow {
    /// For whom it is asked.
    pub store: String,
    /// What it is.
    pub kind: &'static str,
    /// Questions that were answered.
    pub answered: u64,
    /// Questions that were not.
    pub failed: u64,
    /// Milliseconds that an answer took, on average; `null` while there was none.
    pub mean_ms: Option<f64>,
    /// What was wrong with the last question.
    pub problem: Option<String>,
}

/// What a status is made from.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub(super) now: Timestamp,
    pub(super) started: Timestamp,
    pub(super) loaded: Timestamp,
    pub(super) last_reload_worked: bool,
    pub(super) last_reload: Option<LastReload>,
    pub(super) draining: bool,
    /// Labels of the routes that only observe.
    pub(super) observing: Vec<&'a str>,
    pub(super) secret_changes: Vec<SecretChange>,
    pub(super) reading: Reading,
}

impl Status {
    /// What stands in the metrics, put together.
    pub(super) fn of(metrics: &Metrics, draining: bool, now: Timestamp) -> Self {
        let counts = metrics.route_counts();
        let observing = counts.iter().filter(|count| count.observes);
        Self::compose(Facts {
            now,
            started: metrics.started(),
            loaded: metrics.loaded_at(),
            last_reload_worked: metrics.last_reload_worked(),
            last_reload: metrics.last_reload(),
            draining,
            observing: observing.map(|count| &*count.route).collect(),
            secret_changes: metrics.secret_changes(),
            reading: metrics.reading(),
        })
    }

    fn compose(facts: Facts<'_>) -> Self {
        let warnings = warnings(&facts);
        let Reading {
            servers,
            jwks,
            certificates,
            acme,
            stores,
            ..
        } = facts.reading;
        let stores: Vec<_> = stores.into_iter().map(StoreRow::of).collect();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            process: std::process::id(),
            now: facts.now.to_string(),
            started: facts.started.to_string(),
            ready: !facts.draining && stores.iter().all(StoreRow::is_up),
            draining: facts.draining,
            configuration: Configuration {
                loaded: facts.loaded.to_string(),
                last_reload_worked: facts.last_reload_worked,
                last_reload: facts.last_reload,
            },
            secret_changes: (facts.secret_changes.iter())
                .map(SecretChangeRow::of)
                .collect(),
            warnings,
            certificates: (certificates.into_iter())
                .map(|known| CertificateRow::of(known, facts.now))
                .collect(),
            acme: acme.map(AcmeRow::of),
            jwks: jwks.into_iter().map(JwksRow::of).collect(),
            stores,
            servers,
        }
    }

    /// What `/ready` tells. Anyone may ask, so it names nothing but the stores that do not answer.
    ///
    /// Keys that were never loaded do not make the gateway unready: routes that need none of them
    /// work, and those that do answer `auth_unavailable`. A reload that was refused does not either:
    /// the configuration before it serves.
    pub(super) fn readiness(&self) -> Readiness {
        Readiness {
            ready: self.ready,
            draining: self.draining,
            configuration_loaded: true,
            last_reload_worked: self.configuration.last_reload_worked,
            jwks_loaded: self.jwks.iter().all(|set| set.age_s.is_some()),
            stores_out: (self.stores.iter())
                .filter(|known| !known.is_up())
                .map(|known| known.store.clone())
                .collect(),
        }
    }
}

/// What `/ready` tells.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "it is a list of yes and no")]
pub(super) struct Readiness {
    pub(super) ready: bool,
    pub(super) draining: bool,
    pub(super) configuration_loaded: bool,
    pub(super) last_reload_worked: bool,
    pub(super) jwks_loaded: bool,
    /// Stores that did not answer their last question.
    pub(super) stores_out: Vec<String>,
}

impl CertificateRow {
    fn of(known: CertificateReading, now: Timestamp) -> Self {
        Self {
            file: known.file,
            names: known.names,
            not_after: known.not_after.to_string(),
            days_left: days_left(known.not_after, now),
        }
    }

    /// Whether its end is near, or over.
    pub(super) const fn is_worth_a_warning(&self) -> bool {
        self.days_left < CERTIFICATE_WARNING_DAYS
    }
}

impl AcmeRow {
    fn of(known: AcmeReading) -> Self {
        Self {
            domains: known.domains,
            issued: known.issued,
            failed: known.failed,
            problem: known.problem,
            next: known.next.map(|at| at.to_string()),
        }
    }
}

impl JwksRow {
    fn of(known: JwksReading) -> Self {
        Self {
            authenticator: known.authenticator.to_string(),
            keys: known.keys,
            age_s: known.age.map(|age| age.as_secs()),
            failures: known.failures,
            problem: known.problem,
        }
    }
}

impl SecretChangeRow {
    fn of(known: &SecretChange) -> Self {
        Self {
            question: known.question(),
            authenticator: known.authenticator.to_string(),
            since: known.since.to_string(),
        }
    }
}

impl StoreRow {
    fn of(known: StoreReading) -> Self {
        let answered = u32::try_from(known.answered).unwrap_or(u32::MAX);
        let mean = known.spent.checked_div(answered);
        Self {
            store: known.name.to_string(),
            kind: known.kind,
            answered: known.answered,
            failed: known.failed,
            mean_ms: mean.map(|mean| mean.as_secs_f64() * 1e3),
            problem: known.problem,
        }
    }

    /// Whether it answered its last question.
    pub(super) const fn is_up(&self) -> bool {
        self.problem.is_none()
    }
}

/// Whole days from `now` to `end`, rounded down.
fn days_left(end: Timestamp, now: Timestamp) -> i64 {
    (end.unix_seconds() - now.unix_seconds()).div_euclid(DAY_S)
}

fn warnings(facts: &Facts<'_>) -> Vec<String> {
    let mut found = Vec::new();
    if facts.draining {
        found.push("The gateway is stopping.".to_owned());
    }
    if !facts.last_reload_worked {
        let text = "The last reload was refused; the configuration before it serves. \
                    `portcullis check` and the log say why.";
        found.push(text.to_owned());
    }
    if !facts.observing.is_empty() {
        let routes = facts.observing.join(", ");
        found.push(format!("Refusing nobody (`observe = true`): {routes}"));
    }
    for known in &facts.reading.certificates {
        let days = days_left(known.not_after, facts.now);
        let (file, end) = (&known.file, known.not_after);
        if days < 0 {
            found.push(format!("The certificate {file} EXPIRED at {end}."));
        } else if days < CERTIFICATE_WARNING_DAYS {
            found.push(format!(
                "The certificate {file} expires in {days} days, at {end}."
            ));
        }
    }
    found.extend(facts.reading.acme.as_ref().and_then(no_certificate));
    for set in &facts.reading.jwks {
        let name = &set.authenticator;
        let why = set.problem.as_deref().unwrap_or("no fetch has ended yet");
        if set.age.is_none() {
            found.push(format!("The keys of {name} were never loaded: {why}"));
        } else if set.problem.is_some() {
            found.push(format!("The keys of {name} cannot be refreshed: {why}"));
        }
    }
    for store in &facts.reading.stores {
        if let Some(why) = &store.problem {
            let (name, kind) = (&store.name, store.kind);
            found.push(format!(
                "The store of {name} ({kind}) does not answer: {why}"
            ));
        }
    }
    for server in facts.reading.servers.iter().filter(|server| !server.up) {
        let why = server.check_problem.as_deref();
        let why = why.map_or_else(String::new, |why| format!("; its last check: {why}"));
        let (label, upstream, state) = (&server.server, &server.upstream, server.state);
        found.push(format!("{label} ({upstream}) is out: {state}{why}."));
    }
    found.extend(facts.reading.servers.iter().filter_map(nameless));
    found
}

/// What is wrong with a server's name, if something is.
fn nameless(server: &ServerReading) -> Option<String> {
    let name = server.name.as_ref()?;
    let why = name.problem.as_deref()?;
    let (label, upstream) = (&server.server, &server.upstream);
    let so = if name.addresses.is_empty() {
        "requests for it are refused"
    } else {
        "the addresses that were known stay in use"
    };
    Some(format!(
        "The name of {label} ({upstream}) does not resolve, and {so}: {why}."
    ))
}

/// What is wrong with the orders of certificates.
fn no_certificate(acme: &AcmeReading) -> Option<String> {
    let names = acme.domains.join(", ");
    match (&acme.problem, acme.serves) {
        (None, true) => None,
        (None, false) => Some(format!(
            "The first certificate for {names} is being ordered; handshakes for these names fail until then."
        )),
        (Some(why), true) => Some(format!(
            "The certificate for {names} cannot be renewed: {why}"
        )),
        (Some(why), false) => Some(format!(
            "There is no certificate for {names}, and handshakes for these names fail: {why}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_seconds(1_767_323_045);

    fn facts() -> Facts<'static> {
        Facts {
            now: NOW,
            started: NOW,
            loaded: NOW,
            last_reload_worked: true,
            last_reload: None,
            draining: false,
            observing: Vec::new(),
            secret_changes: Vec::new(),
            reading: Reading::default(),
        }
    }

    fn certificate(not_after: Timestamp) -> Reading {
        Reading {
            certificates: vec![CertificateReading {
                file: "app.pem".to_owned(),
                names: Vec::new(),
                not_after,
            }],
            ..Reading::default()
        }
    }

    fn keys(age: Option<Duration>, problem: Option<&str>) -> Reading {
        Reading {
            jwks: vec![JwksReading {
                authenticator: "idp".into(),
                keys: 0,
                age,
                failures: 1,
                problem: problem.map(str::to_owned),
            }],
            ..Reading::default()
        }
    }

    fn warned(facts: Facts<'_>) -> String {
        Status::compose(facts).warnings.join("\n")
    }

    #[test]
    fn all_is_well_when_nothing_is_wrong() {
        let status = Status::compose(facts());
        assert!(status.ready && status.warnings.is_empty());
    }

    #[test]
    fn a_draining_gateway_is_not_ready() {
        let draining = Facts {
            draining: true,
            ..facts()
        };
        let readiness = Status::compose(draining).readiness();
        assert!(!readiness.ready && readiness.draining);
    }

    #[test]
    fn a_refused_reload_is_shown_and_the_gateway_stays_ready() {
        let refused = Facts {
            last_reload_worked: false,
            ..facts()
        };
        let status = Status::compose(refused);
        assert!(status.readiness().ready && !status.readiness().last_reload_worked);
        assert!(status.warnings[0].contains("last reload was refused"));
    }

    #[test]
    fn keys_that_were_never_loaded_are_shown_and_do_not_stop_the_rest() {
        let status = Status::compose(Facts {
            reading: keys(None, Some("connection refused")),
            ..facts()
        });
        assert!(status.readiness().ready && !status.readiness().jwks_loaded);
        assert!(status.warnings[0].contains("never loaded: connection refused"));
        let stale = keys(Some(Duration::from_mins(1)), Some("timed out"));
        assert!(
            warned(Facts {
                reading: stale,
                ..facts()
            })
            .contains("cannot be refreshed")
        );
    }

    #[test]
    fn a_store_that_does_not_answer_makes_the_gateway_unready_and_is_named() {
        let store = |name: &str, problem: Option<&str>| StoreReading {
            name: name.into(),
            kind: "postgres",
            answered: 4,
            failed: 1,
            spent: Duration::from_millis(6),
            problem: problem.map(str::to_owned),
        };
        let with = |problem| Facts {
            reading: Reading {
                stores: vec![store("auth.edms", None), store("directory.edms", problem)],
                ..Reading::default()
            },
            ..facts()
        };
        let status = Status::compose(with(Some("connection refused")));
        let readiness = status.readiness();
        assert!(!readiness.ready && readiness.stores_out == ["directory.edms"]);
        assert!(status.warnings[0].contains("directory.edms (postgres) does not answer"));
        assert_eq!(status.stores[0].mean_ms, Some(1.5));
        let status = Status::compose(with(None));
        assert!(status.readiness().ready && status.warnings.is_empty());
    }

    #[test]
    fn a_secret_that_seems_to_have_changed_is_asked_about_and_nobody_is_sent_away() {
        let status = Status::compose(Facts {
            secret_changes: vec![SecretChange {
                authenticator: "token".into(),
                since: NOW,
            }],
            ..facts()
        });
        let row = &status.secret_changes[0];
        assert!(
            row.question
                .contains("was SECRET_KEY changed at 03:04:05 UTC")
        );
        assert!(status.readiness().ready);
    }

    #[test]
    fn a_certificate_warns_in_time_and_aloud_when_it_is_over() {
        let in_days = |days| Timestamp::from_unix_seconds(NOW.unix_seconds() + days * DAY_S + 60);
        let warned = |days| {
            warned(Facts {
                reading: certificate(in_days(days)),
                ..facts()
            })
        };
        assert_eq!(warned(14), "");
        assert!(warned(13).contains("expires in 13 days"));
        assert!(warned(-1).contains("EXPIRED"));
    }

    #[test]
    fn a_certificate_that_cannot_be_ordered_or_renewed_is_shown_with_the_reason() {
        let warned = |serves, problem: Option<&str>| {
            let acme = AcmeReading {
                domains: vec!["app.example".to_owned()],
                serves,
                issued: 0,
                failed: 1,
                problem: problem.map(str::to_owned),
                next: None,
            };
            warned(Facts {
                reading: Reading {
                    acme: Some(acme),
                    ..Reading::default()
                },
                ..facts()
            })
        };
        assert_eq!(warned(true, None), "");
        assert!(warned(true, Some("no")).contains("app.example cannot be renewed: no"));
        assert!(warned(false, Some("no")).contains("handshakes for these names fail: no"));
        assert!(warned(false, None).contains("is being ordered"));
    }

    #[test]
    fn routes_that_only_observe_are_named() {
        let observing = Facts {
            observing: vec!["/old"],
            ..facts()
        };
        assert!(warned(observing).contains("/old"));
    }
}
