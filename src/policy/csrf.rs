//! stub
pub fn check(
    _m: &http::Method,
    _h: &http::HeaderMap,
    _c: &super::forwarded::Client,
    _r: Option<&super::cors::CorsRule>,
) -> Result<(), super::denial::Denial> {
    Ok(())
}
