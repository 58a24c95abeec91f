//! stub
use std::sync::Arc;
pub struct AdminState;
impl AdminState {
    pub fn new(_g: Arc<crate::gateway::Gateway>) -> Arc<Self> {
        Arc::new(Self)
    }
}
pub async fn serve(
    _l: tokio::net::TcpListener,
    _s: Arc<AdminState>,
    _c: tokio_util::sync::CancellationToken,
) {
}
