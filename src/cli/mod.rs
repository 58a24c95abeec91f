//! The command line: argv to exit code, one file a command, output through a given writer.

mod run;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::Problem;

/// One binary and one file in front of Django and Flask apps.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, disable_help_subcommand = true)]
struct Arguments {
    /// The configuration.
    #[arg(
        long,
        global = true,
        default_value = "gateway.toml",
        value_name = "FILE"
    )]
    config: PathBuf,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve (the default).
    Run,
}

/// Runs the command that the arguments name.
pub fn main(
    arguments: impl IntoIterator<Item = OsString>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(usage) => return usage_code(&usage, out, err),
    };
    let file = &arguments.config;
    match arguments.command.unwrap_or(Command::Run) {
        Command::Run => run::run(file, err),
    }
}

fn usage_code(usage: &clap::Error, out: &mut dyn Write, err: &mut dyn Write) -> ExitCode {
    let text = usage.render();
    let told = if usage.use_stderr() {
        write!(err, "{text}")
    } else {
        write!(out, "{text}")
    };
    let _unread = told;
    ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2))
}

/// Prints every mistake; exit 1.
fn problems(problems: &[Problem], err: &mut dyn Write) -> ExitCode {
    for problem in problems {
        let _unread = writeln!(err, "{problem}");
    }
    let count = problems.len();
    let _unread = writeln!(err, "{count} mistake{}", if count == 1 { "" } else { "s" });
    ExitCode::FAILURE
}
