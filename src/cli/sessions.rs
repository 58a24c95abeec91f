//! `portcullis sessions list|revoke`: the gateway's own sessions, asked for at its admin address.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::{ArgGroup, Args, Subcommand};
use http::{Method, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::admin_call::{Admin, call};
use super::{complain, count, load, print};
use crate::admin::{SessionPage, SessionRow};

/// Pages that are printed at most.
const MOST_PAGES: usize = 200;

/// What is to be done with sessions.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print the sessions that live.
    List(List),
    /// End a session, revoke a token, or end everything of a user, now and at every gateway.
    Revoke(Revoke),
}

/// Which sessions.
#[derive(Debug, Args)]
pub(super) struct List {
    /// Of this user alone.
    #[arg(long)]
    user: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// What is to hold no more.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true))]
pub(super) struct Revoke {
    /// All sessions of a user, and all their tokens that were issued before now.
    #[arg(long, group = "what")]
    user: Option<String>,
    /// The token with this `jti`.
    #[arg(long, group = "what")]
    jti: Option<String>,
    /// The session whose key begins so, as `sessions list` prints it.
    #[arg(long, value_name = "KEY", group = "what")]
    session: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Exit 0 when it is done, 1 otherwise.
pub(super) fn run(
    file: &Path,
    command: &Command,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> ExitCode {
    let settings = match load::configuration(file, err) {
        Ok(loaded) => loaded.settings,
        Err(code) => return code,
    };
    let admin = Admin::of(&settings);
    let done = match command {
        Command::List(options) => list(&admin, options, out),
        Command::Revoke(options) => revoke(&admin, options, out),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(words) => {
            complain(err, &words);
            ExitCode::FAILURE
        }
    }
}

fn list(admin: &Admin, options: &List, out: &mut dyn Write) -> Result<(), String> {
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let user = options.user.as_deref().map(encoded);
    let (mut rows, mut after) = (Vec::new(), None::<String>);
    for _ in 0..MOST_PAGES {
        let mut path = "/api/sessions?most=500".to_owned();
        if let Some(user) = &user {
            path = format!("{path}&user={user}");
        }
        if let Some(after) = &after {
            path = format!("{path}&after={}", encoded(after));
        }
        let answer = asked(admin, &Method::GET, &path, None)?;
        let page: SessionPage = serde_json::from_value(answer)
            .map_err(|error| format!("the gateway's answer cannot be read: {error}"))?;
        rows.extend(page.sessions);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    if options.json {
        let page = SessionPage {
            sessions: rows,
            next: after,
        };
        print(out, &format_args!("{}\n", json!(page)));
        return Ok(());
    }
    for row in &rows {
        let SessionRow {
            session,
            user,
            handler,
            client,
            seen,
            expires,
            ..
        } = row;
        let user = user.escape_debug();
        print(
            out,
            &format_args!(
                "{session}  {user}  by {handler}, from {client}, seen {seen}, ends {expires}\n"
            ),
        );
    }
    print(out, &format_args!("{}\n", count(rows.len(), "session")));
    after.map_or(Ok(()), |_| {
        Err(
            "there are more sessions than are printed: ask for those of a user with --user"
                .to_owned(),
        )
    })
}

fn revoke(admin: &Admin, options: &Revoke, out: &mut dyn Write) -> Result<(), String> {
    let Revoke {
        user, jti, session, ..
    } = options;
    let body = match (user, jti, session) {
        (Some(user), _, _) => json!({ "user": user }),
        (_, Some(jti), _) => json!({ "jti": jti }),
        (_, _, session) => json!({ "session": session }),
    };
    let answer = asked(admin, &Method::POST, "/api/revocations", Some(&body))?;
    if options.json {
        print(out, &format_args!("{answer}\n"));
        return Ok(());
    }
    let ended = answer.get("ended").and_then(Value::as_u64).unwrap_or(0);
    let ended = usize::try_from(ended).unwrap_or(usize::MAX);
    print(
        out,
        &format_args!("revoked; {} ended\n", count(ended, "session")),
    );
    Ok(())
}

fn asked(
    admin: &Admin,
    method: &Method,
    path: &str,
    body: Option<&Value>,
) -> Result<Value, String> {
    let (status, answer) = call(admin, method, path, body)?;
    let read: Value = serde_json::from_slice(&answer).unwrap_or_default();
    if status == StatusCode::OK {
        return Ok(read);
    }
    let words = read
        .get("error")
        .or_else(|| read.get("detail"))
        .and_then(Value::as_str);
    Err(match words {
        Some(words) => words.to_owned(),
        None => format!("the admin address {} answers {status}", admin.address),
    })
}
