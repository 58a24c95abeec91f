//! Makes a request of a head that was found clean: no byte is read a second time to find it.

use std::ops::Range;

use bytes::Bytes;
use http::header::UPGRADE;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version, request};

use super::head::Spans;
use super::violation::Violation;
use crate::policy::field_name;

/// The request whose parts stand at `spans` of `head`. Its values are slices of it.
pub(super) fn take(
    spans: &Spans,
    (version, upgrade): (Version, bool),
    head: &Bytes,
) -> Result<request::Parts, Violation> {
    let mut fields = HeaderMap::with_capacity(spans.fields.len());
    for (name, value) in &spans.fields {
        let name = field_name::read(at(head, name)).or(Err(Violation::NameByte))?;
        if name == UPGRADE && !upgrade {
            continue;
        }
        let value = part(head, value).ok_or(Violation::Control)?;
        let value = HeaderValue::from_maybe_shared(value).or(Err(Violation::Control))?;
        fields.append(name, value);
    }
    let method = Method::from_bytes(at(head, &spans.method)).or(Err(Violation::RequestLine))?;
    let target = part(head, &spans.target).ok_or(Violation::TargetForm)?;
    let target = Uri::from_maybe_shared(target).or(Err(Violation::TargetForm))?;
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = method;
    parts.uri = target;
    parts.version = version;
    parts.headers = fields;
    Ok(parts)
}

fn at<'h>(head: &'h Bytes, span: &Range<usize>) -> &'h [u8] {
    head.get(span.clone()).unwrap_or_default()
}

fn part(head: &Bytes, span: &Range<usize>) -> Option<Bytes> {
    head.get(span.clone()).map(|part| head.slice_ref(part))
}
