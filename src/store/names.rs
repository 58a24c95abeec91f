//! Names of tables and columns in each database's quotes.
//!
//! The configuration has checked them; they are quoted all the same, as Django does, so that case
//! and reserved words do not matter.

use crate::config::settings::DatabaseKind;

/// A name, `table` or `schema.table`, in quotes.
pub(super) fn quoted(kind: DatabaseKind, name: &str) -> String {
    let mark = match kind {
        DatabaseKind::Postgres | DatabaseKind::Sqlite => "\"",
        DatabaseKind::MySql => "`",
    };
    let parts = name.split('.');
    let quoted: Vec<_> = parts
        .map(|part| format!("{mark}{}{mark}", part.replace(mark, &mark.repeat(2))))
        .collect();
    quoted.join(".")
}

/// The placeholder of a statement's only parameter.
pub(super) const fn placeholder(kind: DatabaseKind) -> &'static str {
    match kind {
        DatabaseKind::Postgres => "$1",
        DatabaseKind::MySql | DatabaseKind::Sqlite => "?",
    }
}

/// A name's schema, where it has one, and the rest.
pub(super) fn split(name: &str) -> (Option<&str>, &str) {
    match name.rsplit_once('.') {
        Some((schema, table)) => (Some(schema), table),
        None => (None, name),
    }
}

/// Another table of the same schema.
pub(super) fn beside(name: &str, table: &str) -> String {
    match split(name).0 {
        Some(schema) => format!("{schema}.{table}"),
        None => table.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_quoted_part_by_part_and_cannot_leave_its_quotes() {
        use DatabaseKind::{MySql, Postgres, Sqlite};
        assert_eq!(quoted(Postgres, "shop.auth_user"), r#""shop"."auth_user""#);
        assert_eq!(quoted(MySql, "shop.auth_user"), "`shop`.`auth_user`");
        assert_eq!(quoted(Sqlite, r#"a" or 1"#), r#""a"" or 1""#);
        assert_eq!(quoted(MySql, "a`b"), "`a``b`");
    }

    #[test]
    fn a_table_beside_another_is_of_its_schema() {
        assert_eq!(beside("shop.core_user", "auth_group"), "shop.auth_group");
        assert_eq!(beside("auth_user", "auth_group"), "auth_group");
    }
}
