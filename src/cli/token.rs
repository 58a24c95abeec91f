//! `portcullis token inspect TOKEN`: what a token says, and what each authenticator says to it.

use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::{complain, load, print};
use crate::auth::Finding;
use crate::clock::{self, Timestamp};

/// Most that is read from stdin, in bytes.
const LARGEST: u64 = 64 * 1024;

/// Exit 0 when an authenticator takes the token, 1 otherwise.
pub(super) fn run(
    file: &Path,
    token: &str,
    stdin: &mut dyn Read,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> ExitCode {
    let gate = match load::gateway(file, err) {
        Ok(built) => built.gate,
        Err(code) => return code,
    };
    let mut text = token.to_owned();
    if token == "-" {
        text.clear();
        if let Err(error) = stdin.take(LARGEST).read_to_string(&mut text) {
            complain(err, &format_args!("stdin cannot be read: {error}"));
            return ExitCode::FAILURE;
        }
    }
    let (bare, remarks) = unwrap(&text);
    let now = clock::now();
    for remark in remarks {
        print(out, &format_args!("note: {remark}\n"));
    }
    print(out, &decoded(bare, now));
    let work = async {
        load::keys_are_there(&gate).await;
        gate.authenticators.inspect_token(bare, clock::now())
    };
    match load::fetching_keys(&gate, work) {
        Ok(findings) => {
            for set in gate.authenticators.jwks() {
                if let Some(problem) = set.problem {
                    let name = set.authenticator;
                    print(out, &format_args!("note: keys of auth.{name}: {problem}\n"));
                }
            }
            verdicts(&findings, out, err)
        }
        Err(error) => {
            complain(err, &error);
            ExitCode::FAILURE
        }
    }
}

/// Takes off what does not belong to a token, and says what that was.
fn unwrap(text: &str) -> (&str, Vec<&'static str>) {
    let mut remarks = Vec::new();
    let mut bare = text.trim();
    let mut schemes = 0;
    loop {
        let after = if let Some(rest) = strip_ignoring_case(bare, "authorization:") {
            remarks.push("this is a whole header; the token is what stands behind `Bearer`");
            rest
        } else if let Some(rest) = strip_ignoring_case(bare, "bearer ") {
            schemes += 1;
            if schemes == 2 {
                remarks
                    .push("`Bearer` stands there twice: a client adds it to a value that has it");
            }
            rest
        } else if let Some(rest) = unquoted(bare) {
            remarks.push("the token is in quotes, which do not belong to it: a JSON string was taken for a token");
            rest
        } else {
            break;
        };
        bare = after.trim();
    }
    if schemes == 1 {
        remarks.push("`Bearer` is the scheme of the Authorization header, not part of the token");
    }
    (bare, remarks)
}

fn strip_ignoring_case<'t>(text: &'t str, prefix: &str) -> Option<&'t str> {
    let (front, rest) = text.split_at_checked(prefix.len())?;
    front.eq_ignore_ascii_case(prefix).then_some(rest)
}

fn unquoted(text: &str) -> Option<&str> {
    ['"', '\''].into_iter().find_map(|quote| {
        let inner = text.strip_prefix(quote)?;
        Some(inner.strip_suffix(quote).unwrap_or(inner))
    })
}

/// Header and claims, as the token has them: no proof of anything.
fn decoded(token: &str, now: Timestamp) -> String {
    let parts: Vec<_> = token.split('.').collect();
    let [header, claims, _signature] = parts.as_slice() else {
        let words = match parts.len() {
            5 => "an encrypted token (JWE) has five parts; only signed ones (JWS) are taken",
            _ => "a JWT has three parts with two dots between them",
        };
        return format!(
            "malformed: {words}; this has {}\n",
            super::count(parts.len(), "part")
        );
    };
    let mut lines = vec!["Not verified, only decoded:".to_owned()];
    for (name, part) in [("header", header), ("claims", claims)] {
        lines.push(match decode(part) {
            Ok(value) => format!("{name} {value:#}"),
            Err(words) => format!("malformed: the {name} {words}"),
        });
    }
    if let Ok(claims) = decode(claims) {
        lines.extend(times(&claims, now));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn decode(part: &str) -> Result<Value, &'static str> {
    let bytes = URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_bad| "is not base64url without padding")?;
    serde_json::from_slice(&bytes).map_err(|_bad| "is not JSON")
}

/// When the token's times are, from now.
fn times(claims: &Value, now: Timestamp) -> Vec<String> {
    let mut lines = Vec::new();
    let kinds = [("iat", "issued"), ("nbf", "valid from"), ("exp", "expires")];
    for (name, words) in kinds {
        let Some(seconds) = claims.get(name).and_then(Value::as_f64) else {
            continue;
        };
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a time out of range is shown as the end of it"
        )]
        let at = Timestamp::from_unix_seconds(seconds as i64);
        lines.push(format!("{words} {at}, {}", distance(at, now)));
    }
    if !claims.get("exp").is_some_and(Value::is_number) {
        lines.push("no exp: a token without an end is never taken".to_owned());
    }
    lines
}

fn distance(at: Timestamp, now: Timestamp) -> String {
    let (apart, ago) = if at <= now {
        (now.saturating_since(at), true)
    } else {
        (at.saturating_since(now), false)
    };
    let span = match apart.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    };
    if ago {
        format!("{span} ago")
    } else {
        format!("in {span}")
    }
}

fn verdicts(findings: &[Finding], out: &mut dyn Write, err: &mut dyn Write) -> ExitCode {
    if findings.is_empty() {
        complain(
            err,
            &"the configuration has no authenticator with type = \"jwt\"",
        );
        return ExitCode::FAILURE;
    }
    let mut taken = false;
    for finding in findings {
        let mark = if finding.accepted { "ok" } else { "no" };
        let name = &finding.authenticator;
        print(
            out,
            &format_args!("{mark}  auth.{name}: {}\n", finding.words),
        );
        taken |= finding.accepted;
    }
    if taken {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_seconds(1_000_000);

    fn token(claims: &str) -> String {
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.c2ln", encode(r#"{"alg":"HS256"}"#), encode(claims))
    }

    #[test]
    fn what_does_not_belong_to_a_token_is_taken_off_and_named() {
        assert_eq!(unwrap("a.b.c").0, "a.b.c");
        assert!(unwrap("a.b.c").1.is_empty());
        let (bare, remarks) = unwrap("Authorization: Bearer Bearer \"a.b.c\"\n");
        assert_eq!(bare, "a.b.c");
        assert!(remarks.iter().any(|words| words.contains("twice")));
        assert!(remarks.iter().any(|words| words.contains("quotes")));
        assert_eq!(unwrap("bearer a.b.c").0, "a.b.c");
        assert_eq!(unwrap("\"").0, "");
    }

    #[test]
    fn a_token_is_shown_with_its_times_in_words() {
        let text = decoded(&token(r#"{"user_id":"7","exp":989200}"#), NOW);
        assert!(text.contains("HS256") && text.contains("user_id"));
        assert!(
            text.contains("expires 1970-01-12T10:46:40Z, 3 h ago"),
            "{text}"
        );
        assert!(!text.contains("c2ln"), "the signature is not shown");
    }

    #[test]
    fn what_is_no_token_is_malformed() {
        assert!(decoded("not-a-token", NOW).contains("malformed"));
        assert!(decoded("a.b.c", NOW).contains("malformed"));
        assert!(decoded("a.b.c.d.e", NOW).contains("encrypted"));
        assert!(decoded("", NOW).contains("malformed"));
    }

    #[test]
    fn a_token_without_an_end_is_named() {
        assert!(decoded(&token("{}"), NOW).contains("no exp"));
    }
}
