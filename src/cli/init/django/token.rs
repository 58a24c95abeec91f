//! `[auth.token]`: SimpleJWT's tokens, checked as SimpleJWT checks them. Pure.

use crate::cli::init::blocks::{APP, secret};
use crate::cli::init::findings::{Django, Location, SimpleJwt};
use crate::cli::init::names::{HMAC, LEEWAY, SIGNED, is_token, is_web};
use crate::cli::init::sheet::{Block, Refused, Variables, list, quote, seconds};

pub(super) fn cookie_of(tokens: Option<&SimpleJwt>) -> Option<&str> {
    tokens?.cookie.as_deref().filter(|name| is_token(name))
}

/// Why SimpleJWT's tokens cannot be checked here.
fn token_lacks(found: &SimpleJwt) -> Option<String> {
    let is_hmac = HMAC.contains(&&*found.algorithm);
    if !is_hmac && !SIGNED.contains(&&*found.algorithm) {
        return Some(format!("ALGORITHM {} is not known here", found.algorithm));
    }
    if !found.header_types.iter().any(|kind| kind == "Bearer") {
        return Some(format!(
            "AUTH_HEADER_TYPES is {}",
            found.header_types.join(", ")
        ));
    }
    if found.header_name != "HTTP_AUTHORIZATION" {
        return Some(format!("AUTH_HEADER_NAME is {}", found.header_name));
    }
    if found.user_claim.is_empty() {
        return Some("USER_ID_CLAIM is not set".to_owned());
    }
    if found.type_claim.is_some() && found.types.len() > 1 {
        return Some("AUTH_TOKEN_CLASSES names more than one kind of token".to_owned());
    }
    if is_hmac && found.secret.as_ref().is_none_or(|secret| secret.short) {
        return Some(
            "its SIGNING_KEY has fewer than 32 bytes and can be found by trying".to_owned(),
        );
    }
    let foreign = |location: &Location| location.hidden || !is_web(&location.shown);
    if found.jwk_url.as_ref().is_some_and(foreign) {
        return Some("JWK_URL is not a plain https:// address".to_owned());
    }
    None
}

pub(super) fn token(
    found: &Django,
    has_directory: bool,
    refused: &Refused,
    variables: &mut Variables,
) -> Option<Block> {
    let tokens = found.tokens.as_ref()?;
    let mut block = Block::new("[auth.token]").saying(
        "The bearer tokens that the app's SimpleJWT issues, checked as SimpleJWT checks them.",
    );
    if let Some(why) = token_lacks(tokens).or_else(|| refused.why("auth.token")) {
        block.is_comment = true;
        block.says.push(format!(
            "The gateway cannot check them as the app is set: {why}."
        ));
    }
    block.key("type", quote("jwt"));
    claims(tokens, &mut block);
    keys(found, tokens, &mut block, variables);
    let not_by_id = !tokens.by_primary_key;
    let unlike = tokens.stateless || !tokens.checks_active;
    if has_directory && !not_by_id && !unlike {
        block.says.push(
            "They carry a user id alone: roles, and whether the user is active, come from the app's table."
                .to_owned(),
        );
        block.key("directory", quote(APP));
        if let Some(claim) = tokens
            .revoke_claim
            .as_ref()
            .filter(|claim| !claim.is_empty())
        {
            block.key("revoke_claim", quote(claim));
        }
    } else if not_by_id {
        block.says.push(format!(
            "They name the user by {}, not by the table's key: no `directory` finds them.",
            tokens.user_field
        ));
    } else if unlike {
        block.says.push(
            "The app takes tokens here without asking whether the user is active: with `directory` the \
             gateway would be stricter than it."
                .to_owned(),
        );
    }
    Some(block)
}

/// `preset` where the claims are SimpleJWT's own, else each claim.
fn claims(tokens: &SimpleJwt, block: &mut Block) {
    let kind = tokens.types.first().map_or("access", String::as_str);
    let usual = tokens.type_claim.as_deref() == Some("token_type")
        && kind == "access"
        && tokens.jti_claim.as_deref() == Some("jti");
    if usual {
        block.key("preset", quote("simplejwt"));
    } else if let Some(claim) = &tokens.type_claim {
        block.key(
            "require",
            format!("{{ {} = {} }}", quote(claim), quote(kind)),
        );
    }
    if !usual || tokens.algorithm != "HS256" {
        block.key("algorithms", list(&[&tokens.algorithm]));
    }
    if !usual || tokens.user_claim != "user_id" {
        block.key(
            "identity",
            format!("{{ user = {} }}", quote(&tokens.user_claim)),
        );
    }
    if tokens.leeway > 0 || !usual {
        block.key("leeway", seconds(tokens.leeway.min(LEEWAY)));
    }
    if tokens.leeway > LEEWAY {
        let words = format!(
            "The app's LEEWAY is {} s; ten minutes are the most here.",
            tokens.leeway
        );
        block.says.push(words);
    }
    block.key_of_list("audience", &tokens.audience);
    block.key_of_list("issuer", &tokens.issuer);
    match cookie_of(Some(tokens)) {
        Some(cookie) => {
            let cookie = format!("cookie:{cookie}");
            let sources = [
                "header:authorization",
                &cookie,
                "websocket:token",
                "websocket:access",
            ];
            block.key("sources", list(&sources));
        }
        None if !usual => {
            let sources = [
                "header:authorization",
                "websocket:token",
                "websocket:access",
            ];
            block.key("sources", list(&sources));
        }
        None => {}
    }
}

fn keys(found: &Django, tokens: &SimpleJwt, block: &mut Block, variables: &mut Variables) {
    if HMAC.contains(&&*tokens.algorithm) {
        // SimpleJWT verifies with one key: SECRET_KEY_FALLBACKS are not for tokens.
        let value = if tokens.same_key {
            secret(
                found.secret.as_ref(),
                "DJANGO_SECRET_KEY",
                "the app's SECRET_KEY",
                variables,
            )
        } else {
            let holds = "SIGNING_KEY of SIMPLE_JWT";
            secret(
                tokens.secret.as_ref(),
                "SIMPLE_JWT_SIGNING_KEY",
                holds,
                variables,
            )
        };
        block.key("secret", value);
        if found.secret.as_ref().is_some_and(|secret| secret.insecure) && tokens.same_key {
            let words =
                "The SECRET_KEY is the one that `startproject` made: give the app another one.";
            block.says.push(words.to_owned());
        }
        return;
    }
    if let Some(url) = &tokens.jwk_url {
        block.key("jwks", quote(&url.shown));
        return;
    }
    block
        .says
        .push("Write the app's public key into the file first:".to_owned());
    block.says.push(
        "  python manage.py shell -c 'from rest_framework_simplejwt.settings import api_settings as s; \
         print(s.VERIFYING_KEY)' > certs/simplejwt.pem"
            .to_owned(),
    );
    block.key("public_key", quote("certs/simplejwt.pem"));
}
