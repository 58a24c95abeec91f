//! Answers from a folder. Ranges, conditions and types are tower-http's business; which file a
//! path means is settled here.

use std::io;

use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt as _;
use tower_http::services::ServeDir;

use super::body::Body;
use crate::policy::denial::{Code, Denial};
use crate::policy::path::CanonicalPath;
use crate::policy::route::Files;

/// Answers a request with a file of the folder.
///
/// # Errors
///
/// `method_not_allowed` for anything but GET and HEAD; `no_route` where there is no such file and
/// no fallback.
pub(super) async fn serve(
    files: &Files,
    path: &CanonicalPath<'_>,
    method: &Method,
    headers: &http::HeaderMap,
) -> Result<Response<Body>, Denial> {
    if *method != Method::GET && *method != Method::HEAD {
        let allow = http::HeaderValue::from_static("GET, HEAD");
        return Err(
            Denial::new(Code::MethodNotAllowed, "files are read with GET and HEAD").allow(allow),
        );
    }
    let inner = path
        .decoded()
        .strip_prefix(&*files.prefix)
        .unwrap_or(path.decoded());
    let wanted = format!("/{}", inner.trim_start_matches('/'));
    if let Some(found) = look_up(files, &wanted, method, headers).await? {
        return Ok(found);
    }
    if let Some(fallback) = files
        .fallback
        .as_ref()
        .and_then(|fallback| fallback.to_str())
        && let Some(found) = look_up(files, &format!("/{fallback}"), method, headers).await?
    {
        return Ok(found);
    }
    Err(Denial::new(Code::NoRoute, "there is no such file"))
}

async fn look_up(
    files: &Files,
    path: &str,
    method: &Method,
    headers: &http::HeaderMap,
) -> Result<Option<Response<Body>>, Denial> {
    // Dot files are a folder's own business: .git, .env, .htpasswd.
    if path
        .split('/')
        .any(|segment| segment.starts_with('.') && segment != ".well-known")
    {
        return Ok(None);
    }
    let folder = path.ends_with('/');
    let path = if folder {
        format!("{path}{}", files.index)
    } else {
        path.to_owned()
    };
    let encoded: String = path
        .split('/')
        .map(|segment| {
            percent_encoding::utf8_percent_encode(segment, percent_encoding::NON_ALPHANUMERIC)
                .to_string()
        })
        .collect::<Vec<_>>()
        .join("/");
    let failed = |error: &dyn std::error::Error| {
        Denial::new(Code::UpstreamInvalid, "the file cannot be read").note(error.to_string())
    };
    let uri = Uri::try_from(encoded).map_err(|error| failed(&error))?;
    let mut request = Request::new(http_body_util::Empty::<bytes::Bytes>::new());
    *request.uri_mut() = uri;
    *request.method_mut() = method.clone();
    *request.headers_mut() = headers.clone();
    let mut service = ServeDir::new(&files.dir).append_index_html_on_directories(false);
    let answer = match service.try_call(request).await {
        Ok(answer) if answer.status() == StatusCode::NOT_FOUND => return Ok(None),
        Ok(answer) => answer,
        Err(error) if is_absence(&error) => return Ok(None),
        Err(error) => return Err(failed(&error)),
    };
    let (head, body) = answer.into_parts();
    Ok(Some(Response::from_parts(
        head,
        Body::file(body.boxed_unsync()),
    )))
}

/// Whether the system said that there is no such file, in whichever words: a name longer than any
/// file's is no failure of the disk.
fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename
    )
}
