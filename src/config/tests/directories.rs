//! Directories: who is asked about a user, and what makes roles.

use std::time::Duration;

use super::*;

fn directory(kind: &str, more: &str) -> String {
    format!("[directory.more]\ntype = \"{kind}\"\n{more}\n")
}

fn settings(kind: &str, more: &str) -> Directory {
    let loaded = good(&format!("{GOOD}{}", directory(kind, more)));
    loaded.settings.directories[0].clone()
}

const POSTGRES: &str = "database = \"postgres://h/db\"\n";

#[test]
fn a_django_directory_reads_groups_and_flags_by_default() {
    let plain = settings("django", POSTGRES);
    assert_eq!(
        (&*plain.name, plain.cache),
        ("more", Duration::from_secs(5))
    );
    let DirectoryKind::Django(django) = plain.kind else {
        panic!()
    };
    assert_eq!(&*django.user_table, "auth_user");
    assert!(django.roles.groups && django.roles.flags && django.roles.columns.is_empty());
    let keys = format!(
        "{POSTGRES}user_table = \"core_user\"\nroles = [\"column:role\", \"flags\"]\ncache = \"1m\""
    );
    let own = settings("django", &keys);
    assert_eq!(own.cache, Duration::from_mins(1));
    let DirectoryKind::Django(django) = own.kind else {
        panic!()
    };
    assert_eq!(&*django.user_table, "core_user");
    assert!(!django.roles.groups && django.roles.flags);
    assert_eq!(django.roles.columns, [Box::<str>::from("role")]);
}

#[test]
fn a_sql_directory_is_one_statement_with_the_id() {
    let query = |sql: &str| format!("{POSTGRES}query = ◆\"{sql}\"");
    let sql = settings(
        "sql",
        &query("select role as roles from users where id = $1;").replace('◆', ""),
    );
    assert!(
        matches!(sql.kind, DirectoryKind::Sql(sql) if *sql.query == *"select role as roles from users where id = $1")
    );
    for (sql, word) in [
        ("select role from users", "as a parameter"),
        ("update users set a = $1", "select or with"),
        ("select 1 where a = $1; select 2", "one statement"),
    ] {
        refused(
            &directory("sql", &query(sql)),
            &["directory.more.query", word],
        );
    }
    refused(
        &directory("sql", POSTGRES).replace('[', "◆["),
        &["directory.more.query", "is required"],
    );
}

#[test]
fn an_endpoint_directory_finds_roles_by_json_pointers() {
    let keys = "url = \"https://h/api/auth/me\"\nroles = \"/user/role\"\nuser = \"/user/id\"\nactive = \"/user/active\"";
    let DirectoryKind::Endpoint(endpoint) = settings("endpoint", keys).kind else {
        panic!()
    };
    assert_eq!(endpoint.timeout, Duration::from_secs(2));
    assert_eq!(endpoint.roles, [Box::<str>::from("/user/role")]);
    assert_eq!(endpoint.user.as_deref(), Some("/user/id"));
    assert_eq!(
        (endpoint.email, endpoint.active.as_deref()),
        (None, Some("/user/active"))
    );
    let url = "url = \"https://h/me\"";
    for (keys, word) in [
        (format!("{url}\nroles = ◆\"role\""), "JSON pointer"),
        (
            format!("{url}\nroles = [\"/a\", ◆\"/b~2\"]"),
            "JSON pointer",
        ),
        (format!("{url}\nroles = ◆[]"), "no role could be found"),
        (
            format!("{url}\nroles = \"/a\"\nname = ◆\"name\""),
            "JSON pointer",
        ),
        (
            format!("{url}\nroles = \"/a\"\ntimeout = ◆\"0s\""),
            "out of range",
        ),
        ("url = ◆\"ftp://h/\"\nroles = \"/a\"".to_owned(), "endpoint"),
    ] {
        refused(&directory("endpoint", &keys), &[word]);
    }
    refused(
        &directory("endpoint", "").replace('[', "◆["),
        &["directory.more.url", "directory.more.roles"],
    );
}

#[test]
fn what_a_directory_cannot_be_is_a_mistake() {
    refused(
        "[directory.more]\ntype = ◆\"djago\"",
        &["not a type of directory", "did you mean django?"],
    );
    refused(
        "◆[directory.more]\ncache = \"1s\"",
        &["directory.more.type", "is required"],
    );
    refused(
        "[◆directory.\"a b\"]\ntype = \"django\"\ndatabase = \"postgres://h/db\""
            .replace("[◆directory.\"a b\"]", "[directory.◆\"a b\"]")
            .as_str(),
        &["is not a name"],
    );
    for (keys, word) in [
        ("roles = [◆\"group\"]", "did you mean groups?"),
        ("roles = [◆\"columns:role\"]", "did you mean column?"),
        ("roles = [◆\"column:role; --\"]", "not the name of a column"),
        ("roles = [◆\"column:a.b\"]", "not the name of a column"),
        ("roles = ◆7", "a list of strings"),
        ("user_table = ◆\"auth user\"", "not the name of a table"),
        ("cache = ◆\"1h\"", "to \"10m\""),
        ("◆usertable = \"x\"", "did you mean user_table?"),
        ("◆query = \"select 1\"", "is not a key of this table"),
    ] {
        refused(&directory("django", &format!("{POSTGRES}{keys}")), &[word]);
    }
    for kind in ["django", "sql"] {
        refused(
            &directory(kind, "").replace('[', "◆["),
            &["directory.more.database", "postgres://"],
        );
    }
}

#[test]
fn a_directory_is_reached_from_the_environment_and_missed_where_nobody_asks_it() {
    let text = format!("{GOOD}{}", directory("django", POSTGRES));
    let loaded = load_with(
        &text,
        &[
            ("PORTCULLIS_DIRECTORY__MORE__CACHE", "7s"),
            ("PORTCULLIS_DIRECTORY__MORE__ROLES", "groups,column:role"),
            ("PORTCULLIS_DIRECTORY_MORE", "x"),
        ],
    )
    .unwrap();
    let directory = &loaded.settings.directories[0];
    assert_eq!(directory.cache, Duration::from_secs(7));
    assert!(
        matches!(&directory.kind, DirectoryKind::Django(django) if !django.roles.flags && django.roles.columns.len() == 1)
    );
    let told: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert!(
        told.iter()
            .any(|one| one.contains("directory.more: is not used by any [auth.NAME]")),
        "{told:?}"
    );
    assert!(
        told.iter().any(|one| one.contains("two underscores")),
        "{told:?}"
    );
}
