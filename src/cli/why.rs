//! `portcullis why REQUEST_ID`: asks the running gateway why it refused a request.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use http::{Method, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::admin_call::{Admin, call};
use super::{complain, load, print};
use crate::telemetry::Refusal;

/// Exit 0 when the refusal is known, 1 otherwise.
pub(super) fn run(
    file: &Path,
    request_id: &str,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> ExitCode {
    let settings = match load::configuration(file, err) {
        Ok(loaded) => loaded.settings,
        Err(code) => return code,
    };
    match ask(&Admin::of(&settings), request_id) {
        Ok(refusal) => {
            print(out, &refusal);
            ExitCode::SUCCESS
        }
        Err(words) => {
            complain(err, &words);
            ExitCode::FAILURE
        }
    }
}

fn ask(admin: &Admin, request_id: &str) -> Result<Refusal, String> {
    let id = utf8_percent_encode(request_id, NON_ALPHANUMERIC);
    // Dashes are part of every id, and plain to read in a log.
    let path = format!("/api/why/{id}").replace("%2D", "-");
    let (status, body) = call(admin, &Method::GET, &path, None)?;
    let address = admin.address;
    match status {
        StatusCode::OK => serde_json::from_slice(&body)
            .map_err(|error| format!("the answer of {address} cannot be read: {error}")),
        StatusCode::NOT_FOUND => Err(format!(
            "no recent refusal has the id {}: it was not refused by the gateway, or is too long ago",
            request_id.escape_debug()
        )),
        other => Err(format!("the admin address {address} answers {other}")),
    }
}
