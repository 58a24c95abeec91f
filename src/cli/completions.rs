//! `portcullis completions`: what a shell needs to complete the command line.

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, ValueEnum};
use clap_complete::{Shell, generate};

use super::Arguments;

/// The shells.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum For {
    Bash,
    Elvish,
    Fish,
    #[value(name = "powershell")]
    PowerShell,
    Zsh,
}

/// Prints the script for a shell.
pub(super) fn run(shell: For, out: &mut dyn Write) -> ExitCode {
    let shell = match shell {
        For::Bash => Shell::Bash,
        For::Elvish => Shell::Elvish,
        For::Fish => Shell::Fish,
        For::PowerShell => Shell::PowerShell,
        For::Zsh => Shell::Zsh,
    };
    // The library does not tell what it could not write: it writes to memory.
    let mut script = Vec::new();
    generate(shell, &mut Arguments::command(), "portcullis", &mut script);
    super::print(out, &String::from_utf8_lossy(&script));
    ExitCode::SUCCESS
}
