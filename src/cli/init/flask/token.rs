//! `[auth.token]`: the tokens of Flask-JWT-Extended, checked as it checks them. Pure.

use crate::cli::init::blocks::secret;
use crate::cli::init::findings::{Flask, FlaskJwt};
use crate::cli::init::names::{HMAC, LEEWAY, SIGNED, is_token};
use crate::cli::init::sheet::{Block, Refused, Variables, list, one_line, quote, seconds};

fn has(tokens: &FlaskJwt, location: &str) -> bool {
    tokens.locations.iter().any(|one| one == location)
}

pub(super) fn has_double_submit(tokens: &FlaskJwt) -> bool {
    has(tokens, "cookies") && tokens.csrf && tokens.csrf_usual && tokens.user_claim == "sub"
}

/// Why Flask-JWT-Extended's tokens cannot be checked here.
fn token_lacks(found: &FlaskJwt) -> Option<String> {
    let all = |known: &[&str]| {
        !found.algorithms.is_empty() && found.algorithms.iter().all(|name| known.contains(&&**name))
    };
    if let Some(why) = &found.why_not {
        return Some(one_line(why));
    }
    if !all(HMAC) && !all(SIGNED) {
        return Some(format!(
            "its algorithms are {}",
            found.algorithms.join(", ")
        ));
    }
    if all(HMAC) && found.secret.as_ref().is_none_or(|secret| secret.short) {
        return Some("its key has fewer than 32 bytes and can be found by trying".to_owned());
    }
    if has(found, "json") {
        return Some("tokens may come in a JSON body, which the gateway does not read".to_owned());
    }
    let is_usual = found.header_name.eq_ignore_ascii_case("authorization");
    if has(found, "headers") && !(is_usual && found.header_type == "Bearer") {
        return Some("its tokens do not come as `Authorization: Bearer`".to_owned());
    }
    if has(found, "query_string") && !found.query_prefix.is_empty() {
        return Some("JWT_QUERY_STRING_VALUE_PREFIX is set".to_owned());
    }
    if sources(found).is_empty() {
        return Some("where its tokens come is not known".to_owned());
    }
    if found.user_claim.is_empty() {
        return Some("JWT_IDENTITY_CLAIM is not set".to_owned());
    }
    None
}

fn sources(found: &FlaskJwt) -> Vec<String> {
    let mut sources = Vec::new();
    for location in &found.locations {
        let source = match location.as_str() {
            "headers" => "header:authorization".to_owned(),
            "cookies" if is_token(&found.cookie) => format!("cookie:{}", found.cookie),
            "query_string" if is_token(&found.query) => format!("query:{}", found.query),
            _ => continue,
        };
        if !sources.contains(&source) {
            sources.push(source);
        }
    }
    sources
}

pub(super) fn token(found: &Flask, refused: &Refused, variables: &mut Variables) -> Option<Block> {
    let tokens = found.tokens.as_ref()?;
    let mut block = Block::new("[auth.token]")
        .saying("The tokens that the app's Flask-JWT-Extended issues, checked as it checks them.");
    if let Some(why) = token_lacks(tokens).or_else(|| refused.why("auth.token")) {
        block.is_comment = true;
        block.says.push(format!(
            "The gateway cannot check them as the app is set: {why}."
        ));
    }
    block.key("type", quote("jwt"));
    let double = has_double_submit(tokens);
    let header_only = !has(tokens, "cookies");
    if double || header_only {
        block.key("preset", quote("flask-jwt-extended"));
    } else {
        block.key("require", "{ type = \"access\" }".to_owned());
        let words =
            "The app checks the double submit of its cookies in a way of its own, or not at all.";
        block.says.push(words.to_owned());
    }
    let with_preset = double || header_only;
    if !with_preset || tokens.algorithms != ["HS256"] {
        block.key("algorithms", list(&tokens.algorithms));
    }
    let usual = ["header:authorization", "cookie:access_token_cookie"];
    let sources = sources(tokens);
    if !with_preset || sources != usual {
        block.key("sources", list(&sources));
    }
    if !with_preset || tokens.user_claim != "sub" {
        block.key(
            "identity",
            format!("{{ user = {} }}", quote(&tokens.user_claim)),
        );
    }
    // The library's own leeway is 0, the gateway's without a preset for it 30 s.
    block.key("leeway", seconds(tokens.leeway.min(LEEWAY)));
    block.key_of_list("audience", &tokens.audience);
    block.key_of_list("issuer", &tokens.issuer);
    key_of(found, tokens, &mut block, variables);
    Some(block)
}

fn key_of(found: &Flask, tokens: &FlaskJwt, block: &mut Block, variables: &mut Variables) {
    if tokens
        .algorithms
        .iter()
        .any(|name| SIGNED.contains(&&**name))
    {
        let words = "Write the app's JWT_PUBLIC_KEY into this file first.";
        block.says.push(words.to_owned());
        block.key("public_key", quote("certs/flask-jwt.pem"));
    } else if tokens.same_key {
        let value = secret(
            found.secret.as_ref(),
            "FLASK_SECRET_KEY",
            "the app's SECRET_KEY",
            variables,
        );
        block.key("secret", value);
    } else {
        let holds = "the app's JWT_SECRET_KEY";
        let value = secret(tokens.secret.as_ref(), "JWT_SECRET_KEY", holds, variables);
        block.key("secret", value);
    }
}
