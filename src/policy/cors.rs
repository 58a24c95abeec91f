//! stub
use http::{HeaderMap, HeaderValue, Method};
#[derive(Clone, Debug)]
pub struct CorsRule {
    pub name: std::sync::Arc<str>,
}
impl CorsRule {
    pub fn allows(&self, _o: &HeaderValue) -> bool {
        false
    }
    pub fn preflight(
        &self,
        _m: Option<&[Method]>,
        _h: &HeaderMap,
    ) -> Result<HeaderMap, super::denial::Denial> {
        Ok(HeaderMap::new())
    }
    pub fn decorate(&self, _o: Option<&HeaderValue>, _h: &mut HeaderMap) {}
}
pub fn is_preflight(_m: &Method, _h: &HeaderMap) -> bool {
    false
}
