//! `portcullis man`: the manual's pages, made from the same definitions as `--help`.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Command, CommandFactory};
use clap_mangen::Man;

use super::Arguments;

/// Which pages.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// A command, such as `explain` or `sessions revoke`; without one the page of all.
    #[arg(value_name = "COMMAND", num_args = 0..=2)]
    command: Vec<String>,
    /// Write all pages into this folder instead.
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    folder: Option<PathBuf>,
}

/// Prints a page, or writes all.
pub(super) fn run(options: &Options, out: &mut dyn Write, err: &mut dyn Write) -> ExitCode {
    let all = definitions();
    if let Some(folder) = &options.folder {
        return match write_all(&all, folder) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                let folder = folder.display();
                super::complain(
                    err,
                    &format_args!("the pages cannot be written to {folder}: {error}"),
                );
                ExitCode::FAILURE
            }
        };
    }
    let mut command = Some(&all);
    for name in &options.command {
        command = command.and_then(|command| command.find_subcommand(name));
    }
    let Some(command) = command else {
        let name = options.command.join(" ");
        super::complain(
            err,
            &format_args!("there is no command `{name}`; `portcullis --help` lists them"),
        );
        return ExitCode::from(super::USAGE);
    };
    match page(command) {
        Ok(page) => {
            super::print(out, &page);
            ExitCode::SUCCESS
        }
        Err(error) => {
            super::complain(err, &error);
            ExitCode::FAILURE
        }
    }
}

/// The commands, each with its whole name.
fn definitions() -> Command {
    let mut all = Arguments::command().disable_help_subcommand(true);
    all.build();
    all
}

fn page(command: &Command) -> io::Result<String> {
    let mut bytes = Vec::new();
    let name = file_name(command);
    let title = name.to_uppercase();
    let version = format!("portcullis {}", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone())
        .title(title)
        .section("1")
        .date(env!("BUILT_ON"))
        .source(version)
        .manual("Portcullis");
    man.render(&mut bytes)?;
    // The library breaks the line twice before possible values, which a strict reader complains of.
    Ok(String::from_utf8_lossy(&bytes).replace(".br\n\n.br\n", ".sp\n"))
}

fn file_name(command: &Command) -> String {
    let name = command.get_display_name();
    name.unwrap_or_else(|| command.get_name()).to_owned()
}

fn write_all(command: &Command, folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let file = folder.join(format!("{}.1", file_name(command)));
    fs::write(file, page(command)?)?;
    for inner in command.get_subcommands().filter(|one| !one.is_hide_set()) {
        write_all(inner, folder)?;
    }
    Ok(())
}
