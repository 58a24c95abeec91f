//! The paths that a route takes: literal segments, `{name}`, and a final `{*rest}`.

use std::fmt;

use crate::policy::path::{AmbiguousPath, CanonicalPath};

/// A route's `path`, parsed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathPattern {
    text: Box<str>,
    literal_prefix: Box<str>,
    segments: Box<[Segment]>,
}

/// One segment of a [`PathPattern`]. Variants stand in the order in which they win.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Segment {
    /// This text, decoded. Empty after a trailing slash.
    Literal(Box<str>),
    /// `{name}`: one segment that is not empty.
    Parameter(Box<str>),
    /// `{*name}`: whatever follows, nothing included.
    Rest(Box<str>),
}

/// Why a text is no path pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It does not begin with `/`.
    #[error("`{0}` must begin with `/`")]
    NotAbsolute(String),
    /// Requests with such a path are refused.
    #[error("`{text}` can match no request: {why}")]
    Ambiguous {
        /// As configured.
        text: String,
        /// What is wrong with it.
        why: AmbiguousPath,
    },
    /// A brace that is not the whole segment's.
    #[error("segment `{0}`: braces must enclose the whole segment, as in `{{id}}` or `{{*rest}}`")]
    Braces(String),
    /// A name that is none.
    #[error("`{{{0}}}`: a name in braces is made of letters, digits and `_`")]
    Name(String),
    /// The same name twice.
    #[error("`{{{0}}}` stands twice in the path; names in braces must differ")]
    Repeated(String),
    /// `{*rest}` with something behind it.
    #[error("`{{*{0}}}` must be the last segment of the path")]
    RestNotLast(String),
}

impl PathPattern {
    /// Parses a route's `path`.
    ///
    /// # Errors
    ///
    /// [`PatternError`]: the first thing that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let Some(body) = text.strip_prefix('/') else {
            return Err(PatternError::NotAbsolute(text.to_owned()));
        };
        let mut segments = Vec::new();
        for part in body.split('/') {
            if let Some(Segment::Rest(name)) = segments.last() {
                return Err(PatternError::RestNotLast(name.to_string()));
            }
            let segment = parse_segment(part)?;
            if let Some(name) = segment.name()
                && segments
                    .iter()
                    .any(|have: &Segment| have.name() == Some(name))
            {
                return Err(PatternError::Repeated(name.to_owned()));
            }
            segments.push(segment);
        }
        decode_literals(text, &mut segments)?;
        Ok(Self {
            text: text.into(),
            literal_prefix: literal_prefix(&segments).into(),
            segments: segments.into(),
        })
    }

    /// As configured.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The decoded literal segments at the front, each with the `/` before it: `/api` of
    /// `/api/{*rest}`, nothing of `/{*rest}`, all of a path without braces.
    #[must_use]
    pub fn literal_prefix(&self) -> &str {
        &self.literal_prefix
    }

    /// The segments; at least one.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Whether the pattern takes this path. [`crate::policy::routes`] finds the best one of many.
    #[must_use]
    pub fn matches(&self, path: &CanonicalPath<'_>) -> bool {
        let mut have = path.segments();
        for segment in &self.segments {
            let fits = match segment {
                Segment::Rest(_) => return true,
                Segment::Literal(text) => have.next() == Some(text),
                Segment::Parameter(_) => have.next().is_some_and(|part| !part.is_empty()),
            };
            if !fits {
                return false;
            }
        }
        have.next().is_none()
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Segment {
    fn name(&self) -> Option<&str> {
        match self {
            Self::Literal(_) => None,
            Self::Parameter(name) | Self::Rest(name) => Some(name),
        }
    }
}

fn parse_segment(part: &str) -> Result<Segment, PatternError> {
    let inner = part.strip_prefix('{').and_then(|p| p.strip_suffix('}'));
    let Some(inner) = inner else {
        if part.contains(['{', '}']) {
            return Err(PatternError::Braces(part.to_owned()));
        }
        return Ok(Segment::Literal(part.into()));
    };
    let name = inner.strip_prefix('*').unwrap_or(inner);
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Err(PatternError::Name(inner.to_owned()));
    }
    Ok(if inner.len() == name.len() {
        Segment::Parameter(name.into())
    } else {
        Segment::Rest(name.into())
    })
}

/// Decodes the literals by the same reading that requests get, with a plain letter in the place of
/// each name.
fn decode_literals(text: &str, segments: &mut [Segment]) -> Result<(), PatternError> {
    let mut sample = String::with_capacity(text.len());
    for segment in segments.iter() {
        sample.push('/');
        match segment {
            Segment::Literal(literal) => sample.push_str(literal),
            Segment::Parameter(_) | Segment::Rest(_) => sample.push('x'),
        }
    }
    let read = CanonicalPath::parse(&sample, false).map_err(|why| PatternError::Ambiguous {
        text: text.to_owned(),
        why,
    })?;
    for (segment, decoded) in segments.iter_mut().zip(read.segments()) {
        if let Segment::Literal(literal) = segment {
            *literal = decoded.into();
        }
    }
    Ok(())
}

fn literal_prefix(segments: &[Segment]) -> String {
    let mut prefix = String::new();
    for segment in segments {
        let Segment::Literal(text) = segment else {
            break;
        };
        prefix.push('/');
        prefix.push_str(text);
    }
    prefix
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(pattern: &str, raw: &str) -> bool {
        let path = CanonicalPath::parse(raw, false).unwrap();
        PathPattern::parse(pattern).unwrap().matches(&path)
    }

    #[test]
    fn a_rest_takes_the_prefix_with_and_without_slash_and_all_below() {
        for raw in ["/api", "/api/", "/api/x", "/api/x/y/", "/%61pi/x"] {
            assert!(takes("/api/{*rest}", raw), "{raw}");
        }
        for raw in ["/apis", "/ap", "/", "/API/", "/x/api/"] {
            assert!(!takes("/api/{*rest}", raw), "{raw}");
        }
        assert!(takes("/{*rest}", "/"));
        assert!(takes("/{*rest}", "/a/b"));
    }

    #[test]
    fn a_name_takes_one_segment_that_is_not_empty() {
        assert!(takes("/users/{id}/", "/users/7/"));
        assert!(!takes("/users/{id}/", "/users/7"));
        assert!(!takes("/users/{id}/", "/users/7/8/"));
        assert!(!takes("/users/{id}", "/users/"));
    }

    #[test]
    fn a_literal_path_takes_itself_alone() {
        assert!(takes("/exact/", "/exact/"));
        assert!(!takes("/exact/", "/exact"));
        assert!(!takes("/exact", "/exact/"));
        assert!(takes("/caf%C3%A9", "/caf\u{e9}"));
    }

    #[test]
    fn the_literal_prefix_ends_before_the_first_brace() {
        let prefix = |text| {
            PathPattern::parse(text)
                .unwrap()
                .literal_prefix()
                .to_owned()
        };
        assert_eq!(prefix("/static/{*rest}"), "/static");
        assert_eq!(prefix("/{*rest}"), "");
        assert_eq!(prefix("/a/{id}/b"), "/a");
        assert_eq!(prefix("/exact/"), "/exact/");
    }

    #[test]
    fn a_bad_pattern_is_told_with_what_was_found_and_expected() {
        let told = |text| PathPattern::parse(text).unwrap_err().to_string();
        assert_eq!(told("api"), "`api` must begin with `/`");
        assert!(told("/a/../b").contains("dot segment"));
        assert!(told("/a//b").contains("empty"));
        assert!(told("/a;b").contains("`;`"));
        assert!(told("/a{id}").contains("enclose the whole segment, as in `{id}`"));
        assert!(told("/{}").contains("letters, digits"));
        assert!(told("/{*}").contains("letters, digits"));
        assert!(told("/{a}/{a}").contains("twice"));
        assert!(told("/{*rest}/x").contains("last segment"));
        assert!(told("/{*rest}/").contains("last segment"));
    }
}
