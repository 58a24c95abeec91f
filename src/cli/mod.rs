//! The command line: argv to exit code, one file a command, output through a given writer.

mod admin_call;
mod ask;
mod check;
mod completions;
mod demo;
mod doctor;
mod explain;
mod foresee;
mod init;
mod load;
mod manual;
mod redact;
mod routes;
mod run;
mod sessions;
mod test;
mod token;
mod why;
mod writable;

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use doctor::CHECKS;

use crate::config::Problem;

/// Exit code of a command line that makes no sense.
const USAGE: u8 = 2;

/// One binary and one file in front of Django and Flask apps.
#[derive(Debug, Parser)]
#[command(
    name = "portcullis",
    version,
    long_version = BUILT,
    disable_help_subcommand = true,
    after_help = EXIT_CODES
)]
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

// Asked of the compiler here: a build script is not told it of targets where static is the default, as
// it is with musl.
#[cfg(target_feature = "crt-static")]
macro_rules! linked {
    () => {
        "statically"
    };
}
#[cfg(not(target_feature = "crt-static"))]
macro_rules! linked {
    () => {
        "dynamically"
    };
}

/// What `--version` tells; `-V` tells the number alone.
const BUILT: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\ncommit: ",
    env!("BUILT_COMMIT"),
    "\ntarget: ",
    env!("BUILT_FOR"),
    ", linked ",
    linked!(),
    "\nprofile: ",
    env!("BUILT_PROFILE"),
    "\nfeatures: ",
    env!("BUILT_FEATURES"),
);

const EXIT_CODES: &str = "\
Exit codes:
  0  done: run and demo stopped as told, check and test found nothing wrong, explain: the request would
     pass, token inspect: an authenticator takes the token, why: the refusal was found, sessions:
     listed or revoked, init, completions and man: the text is written, doctor: nothing is a problem
  1  not so: mistakes in the configuration, an expectation that fails, a request that would be refused,
     a token that nobody takes, a request id that is not known, an address that is taken, an app that
     could not be read, a problem that doctor found
  2  the command line makes no sense, or the file that doctor is to look at cannot be read";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve (the default).
    Run,
    /// Show the gateway at work in front of a small built-in app, with nothing else installed.
    Demo,
    /// Read the file and everything it names, run its [[expect]], and print every mistake.
    Check,
    /// Run the file's [[expect]], without a network.
    Test,
    /// Say step by step what would come of a request, without sending it.
    Explain(explain::Options),
    /// Say why a recent request was refused, as the running gateway remembers it.
    Why {
        /// The id: X-Request-Id, `request_id` in the answer's body and in the log.
        request_id: String,
    },
    /// Print the routes in the order in which they win.
    Routes {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write a gateway.toml to begin with, from the app's own settings where one is named.
    Init(init::Options),
    /// Look at a token.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Go and look at everything that the file names, and say what to do about what is wrong.
    Doctor(doctor::Options),
    /// The gateway's own sessions, and what is revoked, at the running gateway.
    #[command(subcommand)]
    Sessions(sessions::Command),
    /// Print what a shell needs to complete the command line.
    Completions {
        /// The shell.
        #[arg(value_enum)]
        shell: completions::For,
    },
    /// Print the manual's page, or that of a command; `portcullis man | man -l -` shows it.
    Man(manual::Options),
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Decode a token, check it against the configured authenticators, say what is wrong with it.
    Inspect {
        /// The token, as it is or as it stands in a header; `-` reads it from stdin.
        #[arg(allow_hyphen_values = true)]
        token: String,
    },
}

/// Runs the command that the arguments name.
pub fn main(
    arguments: impl IntoIterator<Item = OsString>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> ExitCode {
    let given: Vec<OsString> = arguments.into_iter().collect();
    let arguments = match Arguments::try_parse_from(&given) {
        Ok(arguments) => arguments,
        Err(usage) => return usage_code(&usage, out, err),
    };
    let file = &arguments.config;
    match arguments.command.unwrap_or(Command::Run) {
        Command::Run => serve(file, &given, err),
        Command::Demo => demo::run(out, err),
        Command::Check => check::run(file, out, err),
        Command::Test => test::run(file, out, err),
        Command::Explain(options) => explain::run(file, &options, out, err),
        Command::Why { request_id } => why::run(file, &request_id, out, err),
        Command::Routes { json } => routes::run(file, json, out, err),
        Command::Init(options) => init::run(&options, out, err),
        Command::Token(TokenCommand::Inspect { token }) => {
            token::run(file, &token, &mut std::io::stdin().lock(), out, err)
        }
        Command::Doctor(options) => {
            doctor::run(file, &options, &mut std::io::stdin().lock(), out, err)
        }
        Command::Sessions(command) => sessions::run(file, &command, out, err),
        Command::Completions { shell } => completions::run(shell, out),
        Command::Man(options) => manual::run(&options, out, err),
    }
}

/// Serves, and starts the next process as this one was started when it is told to.
fn serve(file: &Path, given: &[OsString], err: &mut dyn Write) -> ExitCode {
    let again = run::Again::of(given).ok();
    let run = run::Run {
        file,
        again: again.as_ref(),
    };
    run::run(run, err, &mut || {})
}

fn usage_code(usage: &clap::Error, out: &mut dyn Write, err: &mut dyn Write) -> ExitCode {
    let text = usage.render();
    if usage.use_stderr() {
        print(err, &text);
    } else {
        print(out, &text);
    }
    ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(USAGE))
}

/// Writes text. Whoever closed the other end of the pipe does not want to read it.
fn print(to: &mut dyn Write, text: &dyn std::fmt::Display) {
    let _unread = write!(to, "{text}").and_then(|()| to.flush());
}

/// Says on one line what is wrong.
fn complain(err: &mut dyn Write, words: &dyn std::fmt::Display) {
    print(err, &format_args!("portcullis: {words}\n"));
}

/// Prints every mistake; exit 1.
fn problems(problems: &[Problem], err: &mut dyn Write) -> ExitCode {
    for problem in problems {
        print(err, &format_args!("error: {problem}\n"));
    }
    print(err, &format_args!("{}\n", count(problems.len(), "error")));
    ExitCode::FAILURE
}

/// `1 route`, `2 routes`.
fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests;
