//! `portcullis init`: writes a gateway.toml to begin with, from the app's own settings where one is named.
//!
//! `interpreter` runs a script with the app's own Python, `findings` is what it prints, `django` and
//! `flask` make a `sheet` of it, pure. What is written was accepted by the code that reads it.

mod blocks;
mod cross_origin;
mod django;
mod findings;
mod flask;
mod interpreter;
mod names;
mod plan;
mod routes;
mod sheet;
mod tree;

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use blocks::Asked;
use findings::Findings;
use interpreter::Script;
use sheet::{Refused, Sheet, Variables};

use super::{complain, print};
use crate::config;

/// The file without an app: the repository's own.
const PLAIN: &str = include_str!("../../../gateway.toml");
/// What stands for stdout.
const STDOUT: &str = "-";

const DJANGO: &str = concat!(include_str!("common.py"), "\n\n", include_str!("django.py"));
const FLASK: &str = concat!(include_str!("common.py"), "\n\n", include_str!("flask.py"));

/// `portcullis init`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("app"))]
pub(super) struct Options {
    /// Read the settings and addresses of this Django app.
    #[arg(long, value_name = "manage.py", group = "app")]
    django: Option<PathBuf>,
    /// Read the settings and addresses of this Flask app.
    #[arg(long, value_name = "MODULE:APP", group = "app")]
    flask: Option<String>,
    /// The app's interpreter; found in $`VIRTUAL_ENV`, or in .venv or venv beside the app, else python3.
    #[arg(long, value_name = "PATH", requires = "app")]
    python: Option<PathBuf>,
    /// Where the app listens.
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// A name that clients use; may stand several times.
    #[arg(long = "host", value_name = "NAME", requires = "app")]
    hosts: Vec<String>,
    /// The file to write; - is stdout.
    #[arg(long, value_name = "FILE", default_value = "gateway.toml")]
    output: PathBuf,
    /// Write over a file that is there.
    #[arg(long)]
    force: bool,
}

/// Exit 0 when the file is written; 1 with the reason otherwise.
pub(super) fn run(options: &Options, out: &mut dyn Write, err: &mut dyn Write) -> ExitCode {
    let to_stdout = options.output.as_os_str() == STDOUT;
    if !to_stdout && !options.force && options.output.exists() {
        complain(err, &there(&options.output));
        return ExitCode::FAILURE;
    }
    let findings = match looked(options) {
        Ok(findings) => findings,
        Err(words) => {
            complain(err, &words);
            return ExitCode::FAILURE;
        }
    };
    let (text, variables) = match written(findings.as_ref(), options) {
        Ok(written) => written,
        Err(report) => {
            complain(err, &"with what was given the file would have mistakes");
            print(err, &format_args!("{report}\n"));
            return ExitCode::FAILURE;
        }
    };
    if to_stdout {
        print(out, &text);
        return ExitCode::SUCCESS;
    }
    if let Err(error) = put(&options.output, &text, options.force) {
        let words = if error.kind() == io::ErrorKind::AlreadyExists {
            there(&options.output)
        } else {
            format!("{} cannot be written: {error}", options.output.display())
        };
        complain(err, &words);
        return ExitCode::FAILURE;
    }
    print(out, &next_steps(&options.output, &variables));
    ExitCode::SUCCESS
}

fn there(file: &Path) -> String {
    format!(
        "{} is there already; `--force` writes over it, `--output FILE` writes elsewhere",
        file.display()
    )
}

/// What is found of the app that is named; `None` where none is.
fn looked(options: &Options) -> Result<Option<Findings>, String> {
    let script = match (&options.django, &options.flask) {
        (Some(manage), _) => django_script(manage)?,
        (None, Some(app)) => flask_script(app)?,
        (None, None) => return Ok(None),
    };
    interpreter::look(options.python.as_deref(), &script).map(Some)
}

/// The file, and what it wants in its environment. It is accepted by the code that reads it.
fn written(
    findings: Option<&Findings>,
    options: &Options,
) -> Result<(String, Variables), config::Report> {
    let upstream = options.upstream.as_deref();
    let Some(findings) = findings else {
        let (text, variables) = plain(upstream);
        config::load_text(&options.output, &text, &variables)?;
        return Ok((text, variables));
    };
    let hosts = options.hosts.clone();
    let sheet = |upstream: &str| accepted(findings, &asked(upstream, hosts), &options.output);
    let sheet = match findings {
        Findings::Django(_) => sheet(upstream.unwrap_or(django::UPSTREAM)),
        Findings::Flask(_) => sheet(upstream.unwrap_or(flask::UPSTREAM)),
    }?;
    Ok((sheet.text(), sheet.variables))
}

fn asked(upstream: &str, hosts: Vec<String>) -> Asked {
    Asked {
        upstream: upstream.to_owned(),
        hosts,
    }
}

/// The sheet of an app. A table that the configuration refuses becomes a comment with the reason; what
/// depends on it is made anew.
fn accepted(findings: &Findings, asked: &Asked, file: &Path) -> Result<Sheet, config::Report> {
    let mut refused = Refused::default();
    loop {
        let sheet = match findings {
            Findings::Django(found) => django::sheet(found, asked, &refused),
            Findings::Flask(found) => flask::sheet(found, asked, &refused),
        };
        let Err(report) = config::load_text(file, &sheet.text(), &sheet.variables) else {
            return Ok(sheet);
        };
        let before = refused.clone();
        for problem in &report.problems {
            refused.note(problem);
        }
        if refused == before {
            return Err(report);
        }
    }
}

fn django_script(manage: &Path) -> Result<Script, String> {
    let manage = if manage.is_dir() {
        manage.join("manage.py")
    } else {
        manage.to_path_buf()
    };
    let manage = manage.canonicalize().map_err(|error| {
        format!(
            "{} cannot be read: {error}; name the app's manage.py",
            manage.display()
        )
    })?;
    let folder = manage.parent().unwrap_or(Path::new("/")).to_path_buf();
    Ok(Script {
        text: DJANGO,
        argument: manage.into_os_string(),
        folder,
    })
}

fn flask_script(app: &str) -> Result<Script, String> {
    let folder = Path::new(".").canonicalize();
    Ok(Script {
        text: FLASK,
        argument: app.into(),
        folder: folder.map_err(|error| format!("the current folder cannot be read: {error}"))?,
    })
}

/// The repository's own file, with another upstream where one is given.
fn plain(upstream: Option<&str>) -> (String, Variables) {
    let mut variables = Variables::default();
    let example = "an-example-secret-of-more-than-32-bytes";
    let _reference = variables.ask("DJANGO_SECRET_KEY", "the app's own SECRET_KEY", example);
    let text = match upstream {
        Some(url) => PLAIN.replacen(&sheet::quote(django::UPSTREAM), &sheet::quote(url), 1),
        None => PLAIN.to_owned(),
    };
    (text, variables)
}

fn put(file: &Path, text: &str, force: bool) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true);
    if force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    options.open(file)?.write_all(text.as_bytes())
}

fn next_steps(file: &Path, variables: &Variables) -> String {
    use std::fmt::Write as _;
    let mut text = format!("{} is written. Next:\n", file.display());
    for variable in variables.all() {
        let holds = sheet::one_line(&variable.holds);
        let name = sheet::one_line(&variable.name);
        let _always_fits = writeln!(text, "  export {name}=...   # {holds}");
    }
    let name = match file.to_str() {
        Some("gateway.toml") | None => String::new(),
        Some(name) => format!(" --config {name}"),
    };
    let _always_fits = write!(text, "  portcullis check{name}\n  portcullis run{name}\n");
    text
}

#[cfg(test)]
mod tests;
