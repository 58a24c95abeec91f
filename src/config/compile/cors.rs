//! `[cors.NAME]`.

use std::sync::Arc;

use super::context::{Context, check_table_name};
use crate::config::raw;
use crate::config::raw::decode::At;
use crate::config::raw::shapes::Named;
use crate::policy::cors::CorsRule;

/// In the order of the names, with `None` for a rule that is wrong, which is noted.
pub(super) fn compile(
    raw: Named<raw::Cors>,
    cx: &mut Context<'_>,
) -> Vec<(String, Option<Arc<CorsRule>>)> {
    let mut rules = Vec::with_capacity(raw.0.len());
    for (name, At { key, value: _ }) in raw.0 {
        check_table_name(&name, &key, cx);
        let rule = CorsRule {
            name: name.as_str().into(),
        };
        rules.push((name, Some(Arc::new(rule))));
    }
    rules
}
