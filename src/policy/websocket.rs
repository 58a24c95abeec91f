//! stub
#[derive(Clone, Debug)]
pub struct Handshake {
    pub key: String,
}
impl Handshake {
    pub fn offers(&self, _p: &str) -> bool {
        false
    }
}
pub fn handshake(
    _v: http::Version,
    _m: &http::Method,
    _h: &http::HeaderMap,
) -> Result<Option<Handshake>, super::denial::Denial> {
    Ok(None)
}
pub fn accept_for(_k: &str) -> String {
    String::new()
}
pub fn strip_token(q: &str, _n: &str) -> Option<String> {
    Some(q.into())
}
pub fn check_origin(
    _o: Option<&http::HeaderValue>,
    _c: &super::forwarded::Client,
    _r: Option<&super::cors::CorsRule>,
) -> Result<(), super::denial::Denial> {
    Ok(())
}
