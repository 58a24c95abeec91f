//! `portcullis explain METHOD URL`: what would come of a request, step by step, and why.

mod steps;
mod tell;

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::ask::{Ask, Wish, header};
use super::foresee::{Foreseen, Outcome, foresee};
use super::{complain, load, print};
use crate::auth::PeerCertificate;
use crate::clock;
use crate::gateway::Snapshot;
use crate::pipeline::judge::Who;

/// What to explain.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// GET, POST, …
    method: String,
    /// The whole address, such as <https://localhost:8443/api/>.
    url: String,
    /// A request header, as with curl. May be given more than once.
    #[arg(
        short = 'H',
        long = "header",
        value_name = "NAME: VALUE",
        allow_hyphen_values = true
    )]
    headers: Vec<String>,
    /// A WebSocket handshake: adds the headers that make it one.
    #[arg(long)]
    websocket: bool,
    /// The client certificate (PEM) that the request shows, taken as verified by the handshake.
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// As JSON.
    #[arg(long)]
    json: bool,
    /// The address that the request comes from.
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    from: IpAddr,
}

/// Exit 0 when the request would pass, 1 when it would be refused or the configuration has
/// mistakes, 2 when it is no request.
pub(super) fn run(
    file: &Path,
    options: &Options,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> ExitCode {
    let gate = match load::gateway(file, err) {
        Ok(built) => built.gate,
        Err(code) => return code,
    };
    let ask = match ask(options, &gate) {
        Ok(ask) => ask,
        Err(words) => {
            complain(err, &words);
            return ExitCode::from(super::USAGE);
        }
    };
    let now = clock::now();
    let work = foresee(&gate, &ask, Who::Bearer, now);
    let mut foreseen = match load::fetching_keys(&gate, work) {
        Ok(foreseen) => foreseen,
        Err(error) => {
            complain(err, &error);
            return ExitCode::FAILURE;
        }
    };
    steps::add(&mut foreseen, &gate, &ask);
    let told = tell::Told {
        foreseen: &foreseen,
        ask: &ask,
        gate: &gate,
    };
    if options.json {
        print(out, &format_args!("{:#}\n", told.json()));
    } else {
        print(out, &told);
    }
    exit(&foreseen)
}

fn ask(options: &Options, gate: &Snapshot) -> Result<Ask, String> {
    let headers = options.headers.iter().map(|text| header(text));
    let certificate = options.certificate.as_deref().map(certificate);
    let wish = Wish {
        method: &options.method,
        url: &options.url,
        headers: headers.collect::<Result<_, _>>()?,
        websocket: options.websocket,
        from: options.from,
        certificate: certificate.transpose()?,
        by_port: true,
    };
    wish.ask(gate)
}

/// The first certificate of a PEM file.
fn certificate(file: &Path) -> Result<Arc<PeerCertificate>, String> {
    let told = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let der = CertificateDer::from_pem_file(file).map_err(|error| told(&error))?;
    let read = PeerCertificate::parse(&der).map_err(|error| told(&error))?;
    Ok(Arc::new(read))
}

fn exit(foreseen: &Foreseen) -> ExitCode {
    match foreseen.outcome {
        Outcome::Forward { .. } | Outcome::Answer { .. } => ExitCode::SUCCESS,
        Outcome::Refused { .. } => ExitCode::FAILURE,
    }
}
