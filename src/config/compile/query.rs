//! The one statement of a SQL directory: that it reads, and where the user's id goes.
//!
//! What keeps the gateway from writing is the right of its database user and a read-only
//! connection. This finds mistakes early, and no more.

use crate::config::settings::DatabaseKind;

/// What is wrong with a statement.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) message: &'static str,
    pub(super) allowed: &'static str,
}

const fn wrong(message: &'static str, allowed: &'static str) -> Wrong {
    Wrong { message, allowed }
}

/// The statement without what may stand behind it. `kind` is `None` where the database itself is
/// wrong.
pub(super) fn check(sql: &str, kind: Option<DatabaseKind>) -> Result<&str, Wrong> {
    let end = |letter: char| letter == ';' || letter.is_whitespace();
    let sql = sql.trim_start().trim_end_matches(end);
    let bare = bare(sql, kind).ok_or(wrong(
        "has a quote or a comment that does not end",
        "one whole statement",
    ))?;
    let first = bare.split(|letter: char| !letter.is_alphabetic()).next();
    let first = first.unwrap_or_default().to_lowercase();
    if !matches!(first.as_str(), "select" | "with") {
        return Err(wrong(
            "must be a statement that reads",
            "one that begins with select or with",
        ));
    }
    if bare.contains(';') {
        return Err(wrong("must be one statement", "a `;` at its end alone"));
    }
    check_parameters(&bare, kind)?;
    Ok(sql)
}

fn check_parameters(bare: &str, kind: Option<DatabaseKind>) -> Result<(), Wrong> {
    let (marks, numbered) = (plain_marks(bare), numbers(bare));
    let total = marks.saturating_add(numbered.len());
    let (fits, allowed) = match kind {
        None => return Ok(()),
        // A lone `?` is an operator of PostgreSQL.
        Some(DatabaseKind::Postgres) => (!numbered.is_empty(), "$1"),
        // Its parameters have no numbers.
        Some(DatabaseKind::MySql) => (total == 1, "? or $1, once"),
        Some(DatabaseKind::Sqlite) => (total == 1 || (total > 1 && marks == 0), "$1, or ? once"),
    };
    if numbered.iter().any(|number| number != "1") {
        return Err(wrong("has one parameter alone, the user's id", allowed));
    }
    if !fits {
        return Err(wrong("must hold the user's id as a parameter", allowed));
    }
    Ok(())
}

/// How many `?` have no number.
fn plain_marks(bare: &str) -> usize {
    let behind = bare.split('?').skip(1);
    behind
        .filter(|rest| !rest.starts_with(|letter: char| letter.is_ascii_digit()))
        .count()
}

/// The numbers of the parameters that have one: `$1`, `?1`.
fn numbers(bare: &str) -> Vec<String> {
    let behind = bare.split(['$', '?']).skip(1);
    behind
        .map(|rest| rest.chars().take_while(char::is_ascii_digit).collect())
        .filter(|number: &String| !number.is_empty())
        .collect()
}

/// The statement with a blank for everything in quotes and comments; `None` where one of them does
/// not end. MySQL takes `\` in quotes for an escape and `#` for a comment; PostgreSQL has `$tag$`.
fn bare(sql: &str, kind: Option<DatabaseKind>) -> Option<String> {
    let mut bare = String::with_capacity(sql.len());
    let mut rest = sql;
    while let Some(letter) = rest.chars().next() {
        let after = rest.get(letter.len_utf8()..)?;
        rest = match behind(letter, after, kind) {
            Part::Plain => {
                bare.push(letter);
                after
            }
            Part::Ends(behind) => {
                bare.push(' ');
                behind
            }
            Part::Open => return None,
        };
    }
    // A comment may stand before the first word.
    Some(bare.trim_start().to_owned())
}

/// What begins with a letter.
enum Part<'t> {
    /// Nothing in quotes.
    Plain,
    /// Something in quotes, with what stands behind it.
    Ends(&'t str),
    /// Something in quotes that does not end.
    Open,
}

fn behind(letter: char, after: &str, kind: Option<DatabaseKind>) -> Part<'_> {
    let is_mysql = kind == Some(DatabaseKind::MySql);
    let has_tags = matches!(kind, None | Some(DatabaseKind::Postgres));
    let behind = match letter {
        '\'' | '"' | '`' => quoted(after, letter, is_mysql),
        '-' if after.starts_with('-') => Some(line(after)),
        '#' if is_mysql => Some(line(after)),
        '/' if after.starts_with('*') => {
            let inside = after.strip_prefix('*').unwrap_or(after);
            inside.split_once("*/").map(|(_, behind)| behind)
        }
        '$' if has_tags => match dollar_quoted(after) {
            Some((tag, body)) => body
                .split_once(&format!("${tag}$"))
                .map(|(_, behind)| behind),
            None => return Part::Plain,
        },
        _ => return Part::Plain,
    };
    behind.map_or(Part::Open, Part::Ends)
}

/// What stands behind a quoted part.
fn quoted(text: &str, quote: char, has_escapes: bool) -> Option<&str> {
    let mut escaped = false;
    for (at, letter) in text.char_indices() {
        if escaped {
            escaped = false;
        } else if has_escapes && letter == '\\' && quote != '`' {
            escaped = true;
        } else if letter == quote {
            return text.get(at..)?.strip_prefix(quote);
        }
    }
    None
}

fn line(text: &str) -> &str {
    text.split_once('\n').map_or("", |(_, rest)| rest)
}

/// The tag of what begins with `$tag$`, and what stands behind; a tag does not begin with a digit.
fn dollar_quoted(after: &str) -> Option<(&str, &str)> {
    let (tag, body) = after.split_once('$')?;
    let fits = |letter: char| letter.is_alphanumeric() || letter == '_';
    let is_tag = tag.chars().all(fits) && !tag.starts_with(|letter: char| letter.is_numeric());
    is_tag.then_some((tag, body))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POSTGRES: Option<DatabaseKind> = Some(DatabaseKind::Postgres);
    const MYSQL: Option<DatabaseKind> = Some(DatabaseKind::MySql);
    const SQLITE: Option<DatabaseKind> = Some(DatabaseKind::Sqlite);

    #[test]
    fn one_statement_that_reads_and_holds_the_id_is_taken() {
        for (sql, kind) in [
            ("select 1 from t where id = $1", POSTGRES),
            (
                "  SELECT '?; $2' from t where id = $1 and data ? 'x' ;\n",
                POSTGRES,
            ),
            (
                "-- who\nwith a as (select $1 as id) select * from a where id = $1",
                POSTGRES,
            ),
            (
                "/* ; */ select $$;$$, $a$ $2 $a$, \";\" from t where id=$1",
                POSTGRES,
            ),
            ("select 'it\\'s; ?' from t where id = ? # ; ?", MYSQL),
            ("select `a;b` from t where id = $1", MYSQL),
            ("select ? from t", SQLITE),
            ("select ?1, $1, ';' from t", SQLITE),
            ("select 1", None),
        ] {
            let taken = check(sql, kind);
            assert!(taken.is_ok(), "{sql}: {taken:?}");
            assert!(!taken.unwrap().ends_with([';', ' ', '\n']), "{sql}");
        }
    }

    #[test]
    fn anything_else_is_a_mistake() {
        for (sql, kind, word) in [
            ("", POSTGRES, "reads"),
            ("delete from t where id = $1", POSTGRES, "reads"),
            ("selected from t where id = $1", POSTGRES, "reads"),
            (
                "select 1; delete from t where id = $1",
                POSTGRES,
                "one statement",
            ),
            ("select 1 from t", POSTGRES, "parameter"),
            ("select 1 from t where id = ?", POSTGRES, "parameter"),
            ("select '$1' from t", POSTGRES, "parameter"),
            (
                "select 1 from t where id = $1 or id = $2",
                POSTGRES,
                "one parameter",
            ),
            ("select 1 from t where id = $10", POSTGRES, "one parameter"),
            ("select 'a from t where id = $1", POSTGRES, "does not end"),
            ("select /* a from t where id = $1", POSTGRES, "does not end"),
            ("select 1 from t where id = ? or id = ?", MYSQL, "parameter"),
            (
                "select 1 from t where id = ? or id = ?",
                SQLITE,
                "parameter",
            ),
            ("select 1 from t -- ?", SQLITE, "parameter"),
        ] {
            let wrong = check(sql, kind).unwrap_err();
            assert!(wrong.message.contains(word), "{sql}: {wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_taken_or_refused(text in "(select|with)?[ -~\\n'é$?;/*#`\\\\]{0,60}") {
            for kind in [None, POSTGRES, MYSQL, SQLITE] {
                if let Ok(kept) = check(&text, kind) {
                    prop_assert!(text.contains(kept));
                }
            }
        }
    }
}
