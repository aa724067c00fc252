//! Looks up host names by the system's resolver.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::vec;

use hyper_util::client::legacy::connect::dns::Name;
use tower_service::Service;

use super::is_link_local;

#[derive(Clone, Copy, Debug)]
pub struct Resolver {
    /// If not, a name cannot point at a cloud's metadata service.
    pub allow_link_local: bool,
}

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let Self { allow_link_local } = *self;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0))
                .await?
                .filter(|address| allow_link_local || !is_link_local(address.ip()))
                .collect();
            if found.is_empty() {
                let what = "the host name resolves to link-local addresses only";
                return Err(io::Error::other(what));
            }
            Ok(found.into_iter())
        })
    }
}
