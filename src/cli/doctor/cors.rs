//! Who answers cross-origin requests: the gateway, the app, or both. PURE.

use http::header::ACCESS_CONTROL_ALLOW_ORIGIN;

use super::finding::Finding;
use crate::policy::origin::OriginPattern;
use crate::upstream::look::Seen;

/// The verdict on an app's own answer to a request of an allowed origin, on a route that has
/// `cors`.
pub(super) fn verdict(about: &str, rule: &str, origin: &str, answers: &[Seen]) -> Finding {
    const CHECK: &str = "app.cors";
    let allowed = answers.iter().flat_map(|seen| {
        let values = seen.headers.get_all(ACCESS_CONTROL_ALLOW_ORIGIN).iter();
        values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    });
    let allowed: Vec<_> = allowed.collect();
    let Some(first) = allowed.first() else {
        let words = format!("the app leaves CORS to the gateway (asked as {origin})");
        return Finding::ok(CHECK, about, &words);
    };
    Finding::warning(
        CHECK,
        about,
        &format!(
            "the app answers {origin} with Access-Control-Allow-Origin: {first}, and [cors.{rule}] does \
             too: a browser would refuse the two together, so the gateway drops the app's"
        ),
        "take CORS out of the app, so that it stands in one place: django-cors-headers (corsheaders in \
         INSTALLED_APPS and MIDDLEWARE) or flask-cors (CORS(app))",
    )
}

/// An origin that a rule allows, as a browser would send it; `None` where any is.
pub(super) fn example(patterns: &[OriginPattern]) -> Option<String> {
    let exact = patterns.iter().find_map(|pattern| match pattern {
        OriginPattern::Exact(origin) => Some(origin.to_string()),
        OriginPattern::Any | OriginPattern::Wildcard { .. } => None,
    });
    exact.or_else(|| {
        patterns.iter().find_map(|pattern| match pattern {
            OriginPattern::Wildcard { front, back } => Some(format!("{front}www{back}")),
            OriginPattern::Any | OriginPattern::Exact(_) => None,
        })
    })
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, StatusCode};

    use super::super::finding::Verdict;
    use super::*;

    fn answer(origins: &[&'static str]) -> Seen {
        let mut headers = HeaderMap::new();
        for origin in origins {
            let value = HeaderValue::from_static(origin);
            headers.append(ACCESS_CONTROL_ALLOW_ORIGIN, value);
        }
        Seen {
            status: StatusCode::OK,
            headers,
            body: Vec::new(),
        }
    }

    #[test]
    fn an_app_that_answers_cors_beside_the_gateway_is_named() {
        let said = |answers: &[Seen]| verdict("x", "web", "https://a.example", answers);
        let found = said(&[answer(&[]), answer(&["*"])]);
        assert_eq!(found.verdict, Verdict::Warning);
        assert!(found.advice.unwrap().contains("django-cors-headers"));
        assert_eq!(said(&[answer(&[])]).verdict, Verdict::Ok);
    }

    #[test]
    fn an_exact_origin_is_the_best_example_of_a_rule() {
        let parse = |text| OriginPattern::parse(text).unwrap();
        let wild = parse("https://*.a.example");
        assert_eq!(example(&[OriginPattern::Any]), None);
        let only = std::slice::from_ref(&wild);
        assert_eq!(example(only).unwrap(), "https://www.a.example");
        let both = [wild, parse("https://b.example")];
        assert_eq!(example(&both).unwrap(), "https://b.example");
    }
}
