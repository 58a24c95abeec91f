//! Whether the keys and credentials that were shown fit the configuration. PURE.

use super::finding::Finding;
use crate::auth::Published;
use crate::policy::denial::{Code, Denial};

/// The verdict on a JWKS that was fetched.
pub(super) fn jwks(about: &str, fetched: &Result<Published, String>) -> Finding {
    const CHECK: &str = "jwks.keys";
    match fetched {
        Ok(Published { keys, ignored, .. }) => {
            let mut words = format!("{keys} of use");
            if !ignored.is_empty() {
                words = format!("{words}; left out: {}", ignored.join(", "));
            }
            Finding::ok(CHECK, about, &words)
        }
        Err(words) => Finding::problem(CHECK, about, words, jwks_cure(words)),
    }
}

fn jwks_cure(words: &str) -> &'static str {
    if words.contains("no key that can be used") {
        "let `algorithms` name what the issuer signs with, or correct the URL"
    } else if words.contains("jwks_uri") {
        "let `issuer` be exactly what the issuer's own configuration calls itself, or give `jwks`"
    } else {
        "ask for the URL with curl from this machine; until it answers, every token is refused with 503"
    }
}

/// The verdict on a token that was shown to every authenticator that reads tokens, each with whether
/// it takes it and why.
pub(super) fn token(said: &[(String, bool, String)]) -> Finding {
    const CHECK: &str = "secret.token";
    if said.is_empty() {
        let why = "no authenticator of type \"jwt\" is there";
        return Finding::skipped(CHECK, "the token", why);
    }
    let told = |taken: bool| {
        let matching = said.iter().filter(|(_, accepted, _)| *accepted == taken);
        let lines = matching.map(|(name, _, words)| format!("auth.{name}: {words}"));
        lines.collect::<Vec<_>>().join("; ")
    };
    if said.iter().any(|(_, accepted, _)| *accepted) {
        return Finding::ok(CHECK, "the token", &told(true));
    }
    Finding::problem(
        CHECK,
        "the token",
        &told(false),
        "`portcullis token inspect` shows what stands in it; where the signature fails, give `secret` \
         the app's own key",
    )
}

/// The verdict on a cookie that an authenticator was shown; `None`: it held.
pub(super) fn cookie(authenticator: &str, name: &str, refused: Option<&Denial>) -> Finding {
    const CHECK: &str = "secret.cookie";
    let about = format!("auth.{authenticator}, cookie {name}");
    let Some(denial) = refused else {
        return Finding::ok(CHECK, &about, "the cookie holds");
    };
    let mut words = format!("{}: {}", denial.code(), denial.detail());
    if let Some(note) = denial.operator_note() {
        words = format!("{words} ({note})");
    }
    let advice = if denial.code() == Code::SessionSignature {
        "give `secret` the app's SECRET_KEY as it is now, to the last character"
    } else if denial.code() == Code::AuthUnavailable {
        "the store that it asks does not answer: see store.answers"
    } else if denial.code() == Code::SessionExpired {
        "sign in anew and give the new cookie"
    } else {
        "`portcullis explain` with this cookie shows each step"
    };
    Finding::problem(CHECK, &about, &words, advice)
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn a_set_without_a_usable_key_points_at_the_algorithms() {
        let words = "the answer has no key that can be used here: key 0 (\"a\") fits none";
        let found = jwks("x", &Err(words.to_owned()));
        assert_eq!(found.verdict, Verdict::Problem);
        assert!(found.advice.unwrap().contains("`algorithms`"));
        let down = jwks("x", &Err("cannot connect: connection refused".to_owned()));
        assert!(down.advice.unwrap().contains("curl"));
    }

    #[test]
    fn keys_that_are_left_out_are_told_beside_those_of_use() {
        let published = Published {
            keys: 2,
            ignored: vec!["key 1 (\"b\") is a shared secret".to_owned()],
            date: None,
        };
        let found = jwks("x", &Ok(published));
        assert_eq!(found.verdict, Verdict::Ok);
        assert!(found.evidence.contains("shared secret"));
    }

    #[test]
    fn one_authenticator_that_takes_the_token_is_enough() {
        let said = |name: &str, taken| (name.to_owned(), taken, "words".to_owned());
        assert_eq!(
            token(&[said("a", false), said("b", true)]).verdict,
            Verdict::Ok
        );
        assert_eq!(token(&[said("a", false)]).verdict, Verdict::Problem);
        assert_eq!(token(&[]).verdict, Verdict::Skipped);
    }

    #[test]
    fn a_cookie_of_another_key_points_at_the_secret() {
        let denial = Denial::new(Code::SessionSignature, "the signature does not verify");
        let found = cookie("app", "session", Some(&denial));
        assert_eq!(found.verdict, Verdict::Problem);
        assert!(found.advice.unwrap().contains("SECRET_KEY"));
        assert_eq!(cookie("app", "session", None).verdict, Verdict::Ok);
    }
}
