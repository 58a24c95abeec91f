//! `portcullis check`: reads the file and everything it names, and runs its `[[expect]]`.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use super::load::{self, Built};
use super::{count, print, test, writable};
use crate::clock;
use crate::config::Problem;
use crate::config::settings::Settings;
use crate::policy::Policy;

/// Exit 0 when nothing is wrong; 1 with every mistake otherwise. Warnings change nothing.
pub(super) fn run(file: &Path, out: &mut dyn Write, err: &mut dyn Write) -> ExitCode {
    let Built {
        gate,
        warnings,
        places,
        written,
    } = match load::gateway(file, err) {
        Ok(built) => built,
        Err(code) => return code,
    };
    for warning in &warnings {
        print(err, &format_args!("warning: {warning}\n"));
    }
    for warning in gate.tls.warnings(clock::now()) {
        print(err, &format_args!("warning: {warning}\n"));
    }
    for place in writable::unwritable(&written) {
        print(err, &format_args!("warning: {place}\n"));
    }
    let results = match test::results(&gate) {
        Ok(results) => results,
        Err(error) => {
            super::complain(err, &error);
            return ExitCode::FAILURE;
        }
    };
    let failed: Vec<_> = results.iter().filter(|one| !one.holds()).collect();
    for result in &failed {
        let problem = Problem::at_key(&places, &result.key(), result.to_string());
        print(err, &format_args!("error: {problem}\n"));
    }
    if !failed.is_empty() {
        let line = format_args!("{}\n", count(failed.len(), "error"));
        print(err, &line);
        return ExitCode::FAILURE;
    }
    let summary = summary(file, &gate.policy, &gate.settings);
    print(out, &format_args!("{summary}\n"));
    ExitCode::SUCCESS
}

/// One line that says what is there.
pub(super) fn summary(file: &Path, policy: &Policy, settings: &Settings) -> String {
    let name = file.file_name().unwrap_or(file.as_os_str());
    let mut parts = vec![
        count(policy.routes.all().len(), "route"),
        count(settings.upstreams.len(), "upstream"),
        count(settings.authenticators.len(), "authenticator"),
    ];
    match policy.expectations.len() {
        0 => {}
        some => parts.push(format!("{} that hold", count(some, "expectation"))),
    }
    format!("{} is fine: {}", name.to_string_lossy(), parts.join(", "))
}
