//! `portcullis doctor`: goes and looks at everything that an operator would look at by hand when it
//! does not work, and says what to do.
//!
//! `look` is the edge that opens, asks and waits; every verdict is a pure function over what was
//! seen. It works whether the gateway runs or not, and changes nothing: no row, no key, no file.

mod app;
mod certificates;
mod clocks;
mod collector;
mod cors;
mod credentials;
mod doors;
mod files;
mod finding;
mod keys;
mod look;
mod probes;
mod round;
mod servers;
mod stores;
mod tell;

use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::{complain, load, print};
use crate::clock::{self, Timestamp};
use crate::config::settings::{LedgerHome, Settings};
use crate::config::{self, Loaded, Places, Problem, ProcessEnvironment, Report as Mistakes};
use crate::gateway::Snapshot;
use crate::reload;
use crate::store;
use crate::telemetry::{Log, Metrics};
use crate::tls::{Known, Looked, Roots};
use crate::upstream::Upstreams;
use crate::upstream::server::Upstream;

use self::credentials::Credentials;
use self::finding::Finding;
use self::look::Scene;
use self::tell::Report;

/// The names of all checks. They are an interface and do not change.
pub const CHECKS: &[&str] = &[
    "configuration.file",
    "configuration.warning",
    "file.readable",
    "file.private",
    "file.writable",
    "gateway.ready",
    "door.port",
    "door.redirect",
    "certificate.files",
    "certificate.expiry",
    "certificate.chain",
    "certificate.names",
    "upstream.tls",
    "upstream.resolve",
    "upstream.connect",
    "upstream.health",
    "upstream.answer",
    "app.host",
    "app.scheme",
    "app.links",
    "app.cors",
    "clock.app",
    "clock.jwks",
    "clock.store",
    "store.answers",
    "secret.sessions",
    "secret.token",
    "secret.cookie",
    "jwks.keys",
    "endpoint.answers",
    "collector.answers",
];

/// What to look at beyond the file.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// As JSON.
    #[arg(long)]
    json: bool,
    /// A token that should be good, to try the secret with; `-` reads it from stdin.
    #[arg(long, value_name = "TOKEN", allow_hyphen_values = true)]
    token: Option<String>,
    /// A session cookie that should be good, to try the secret with; `-` reads it from stdin. May be
    /// given more than once.
    #[arg(long = "cookie", value_name = "NAME=VALUE", allow_hyphen_values = true)]
    cookies: Vec<String>,
}

/// Exit 0 when nothing is a problem, 1 when something is, 2 when the file cannot be read or the
/// command line makes no sense.
pub(super) fn run(
    file: &Path,
    options: &Options,
    stdin: &mut dyn Read,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> ExitCode {
    let given = Credentials::read(options.token.as_deref(), &options.cookies, stdin);
    let credentials = match given {
        Ok(credentials) => credentials,
        Err(words) => {
            complain(err, &words);
            return ExitCode::from(super::USAGE);
        }
    };
    if let Err(error) = std::fs::File::open(file) {
        complain(
            err,
            &format_args!("{} cannot be read: {error}", file.display()),
        );
        return ExitCode::from(super::USAGE);
    }
    let findings = match examine(file, credentials) {
        Ok(findings) => findings,
        Err(error) => {
            complain(err, &error);
            return ExitCode::FAILURE;
        }
    };
    let report = Report {
        file: finding::clean(&file.display().to_string()),
        findings,
    };
    if options.json {
        print(out, &format_args!("{:#}\n", report.json()));
    } else {
        print(out, &report);
    }
    if report.has_problem() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// All findings, in the order in which they are told.
fn examine(file: &Path, credentials: Credentials) -> std::io::Result<Vec<Finding>> {
    let mut loaded = match config::load(file, &ProcessEnvironment) {
        Ok(loaded) => loaded,
        Err(mistakes) => return Ok(of_mistakes(&mistakes)),
    };
    let mut found: Vec<_> = std::mem::take(&mut loaded.warnings)
        .iter()
        .map(warned)
        .collect();
    let scene = scene(file, loaded, credentials, &mut found);
    if !found.iter().any(|one| one.check == "configuration.file") {
        let words = super::check::summary(file, &scene.policy, &scene.settings);
        found.insert(
            0,
            Finding::ok("configuration.file", &file.display().to_string(), &words),
        );
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let work = look::everything(&scene);
    let looked = runtime.block_on(async {
        match &scene.gate {
            Some(gate) => load::beside_keys(gate, work).await,
            None => work.await,
        }
    });
    // A resolver that hangs is not waited for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    found.extend(looked);
    Ok(found)
}

/// The mistakes of a file that cannot be compiled: all of them, and that nothing else was looked at.
fn of_mistakes(mistakes: &Mistakes) -> Vec<Finding> {
    let mut found: Vec<_> = mistakes.problems.iter().map(mistaken).collect();
    found.extend(mistakes.warnings.iter().map(warned));
    if mistakes.unlisted > 0 {
        let words = format!("{} more mistakes", mistakes.unlisted);
        let advice = "mend those above first";
        found.push(Finding::problem(
            "configuration.file",
            "the file",
            &words,
            advice,
        ));
    }
    let why = "the file has mistakes: what it asks for is looked at when they are mended";
    found.push(Finding::skipped("upstream.answer", "everything else", why));
    found
}

fn place(problem: &Problem) -> String {
    let place = problem.place.as_ref().map(ToString::to_string);
    match (place, problem.key.as_str()) {
        (Some(place), "") => place,
        (Some(place), key) => format!("{place}, {key}"),
        (None, "") => "the file".to_owned(),
        (None, key) => key.to_owned(),
    }
}

fn words(problem: &Problem) -> String {
    let found = problem
        .found
        .as_ref()
        .map(|found| format!("; found {found}"));
    format!("{}{}", problem.message, found.unwrap_or_default())
}

fn advice(problem: &Problem) -> String {
    let nearest = problem
        .nearest
        .as_ref()
        .map(|name| format!("did you mean {name}?"));
    let allowed = problem
        .allowed
        .as_ref()
        .map(|allowed| format!("write {allowed}"));
    nearest
        .or(allowed)
        .unwrap_or_else(|| "correct it there; `portcullis check` tells when it is right".to_owned())
}

fn mistaken(problem: &Problem) -> Finding {
    let (place, words) = (place(problem), words(problem));
    Finding::problem("configuration.file", &place, &words, &advice(problem))
}

fn warned(problem: &Problem) -> Finding {
    let (place, words) = (place(problem), words(problem));
    Finding::warning("configuration.warning", &place, &words, &advice(problem))
}

/// Makes ready what can be: a part that cannot is told, and keeps no other from being looked at.
fn scene(file: &Path, loaded: Loaded, credentials: Credentials, found: &mut Vec<Finding>) -> Scene {
    let now = clock::now();
    let Loaded {
        policy,
        mut settings,
        places,
        ..
    } = loaded;
    let roots = Roots::of_this_machine();
    let pairs = Known::of(&settings.tls).into_iter().filter_map(|known| {
        let looked = look_at_pair(&known, &roots, now)?;
        Some((known, looked))
    });
    let pairs: Vec<_> = pairs.collect();
    let gate = match gate(file, &pairs) {
        Ok(gate) => Some(gate),
        Err(problems) => {
            found.extend(problems.iter().map(mistaken));
            None
        }
    };
    if let Some(gate) = &gate {
        found.extend(expectations(gate, &pairs, &places));
    }
    let own = (settings.sessions.take(), settings.counts.take());
    let stores = store::assemble(&settings, None).ok();
    (settings.sessions, settings.counts) = own;
    let upstreams = settings
        .upstreams
        .iter()
        .map(|one| upstream(one, found))
        .collect();
    Scene {
        policy,
        settings,
        stores,
        upstreams,
        pairs,
        gate,
        credentials,
        now,
    }
}

/// `None` for one that the gateway makes itself when it starts, and has not made yet.
fn look_at_pair(known: &Known, roots: &Roots, now: Timestamp) -> Option<Result<Looked, String>> {
    if known.made_here && !known.files.cert.exists() {
        return None;
    }
    let looked = crate::tls::look(&known.files, roots, now);
    Some(looked.map_err(|error| error.line()))
}

/// One app by itself.
fn upstream(
    settings: &config::settings::Upstream,
    found: &mut Vec<Finding>,
) -> Option<Arc<Upstream>> {
    let built = Upstreams::assemble(slice::from_ref(settings), None, |one| {
        crate::tls::client_config(&one.tls)
    });
    match built {
        Ok(upstreams) => upstreams.iter().next().cloned(),
        Err(errors) => {
            let about = format!("upstream {}", settings.name);
            let errors = errors.into_iter();
            found.extend(errors.map(|error| {
                let words = error.line();
                let advice = "correct `tls` of the upstream";
                Finding::problem("upstream.tls", &about, &words, advice)
            }));
            None
        }
    }
}

/// The file's `[[expect]]` that do not hold. Which certificate is served is part of what they ask,
/// so they are run where all certificates are there.
fn expectations(
    gate: &Snapshot,
    pairs: &[(Known, Result<Looked, String>)],
    places: &Places,
) -> Vec<Finding> {
    let serves = !pairs.is_empty() && pairs.iter().all(|(_, looked)| looked.is_ok());
    if !serves && !gate.settings.server.https.is_empty() {
        return Vec::new();
    }
    let Ok(results) = super::test::results(gate) else {
        return Vec::new();
    };
    let failed = results.iter().filter(|one| !one.holds());
    let problems = failed.map(|one| Problem::at_key(places, &one.key(), one.to_string()));
    problems.map(|problem| mistaken(&problem)).collect()
}

/// The gateway that the file asks for, without what is looked at by itself or would be made by
/// making it: certificates that cannot serve, the apps' TLS, the home of sessions, the key of
/// assertions.
fn gate(file: &Path, pairs: &[(Known, Result<Looked, String>)]) -> Result<Snapshot, Vec<Problem>> {
    let mut loaded =
        config::load(file, &ProcessEnvironment).map_err(|mistakes| mistakes.problems)?;
    let settings = &mut loaded.settings;
    let sound = pairs.iter().filter(|(_, looked)| looked.is_ok());
    settings.tls.certificates = sound.map(|(known, _)| known.files.clone()).collect();
    settings.tls.development = None;
    for upstream in &mut settings.upstreams {
        for server in &mut upstream.servers {
            server.tls = false;
        }
    }
    if let Some(sessions) = &mut settings.sessions {
        sessions.home = LedgerHome::Memory;
    }
    // Who counts together with others also clears away what is over.
    settings.counts = None;
    without_missing_assertion(settings);
    let metrics = Metrics::new(Log::default(), clock::now());
    reload::build(loaded, None, &metrics)
}

fn without_missing_assertion(settings: &mut Settings) {
    let missing = |key: &Path| !key.exists();
    if settings
        .assertion
        .as_ref()
        .is_some_and(|one| missing(&one.key))
    {
        settings.assertion = None;
    }
}

#[cfg(test)]
mod app_tests;
#[cfg(test)]
mod certificates_tests;
