//! The system's resolver without link-local addresses: a name could point at a cloud's metadata service.

use std::io;
use std::net::SocketAddr;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::is_link_local;

#[derive(Debug)]
pub(super) struct NoLinkLocal;

impl Resolve for NoLinkLocal {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0))
                .await?
                .filter(|address| !is_link_local(address.ip()))
                .collect();
            if found.is_empty() {
                let what = "the host name resolves to link-local addresses only";
                return Err(io::Error::other(what).into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}
