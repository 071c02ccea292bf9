//! A proxy that behaves like Azure DevOps: a fake, because the service cannot be installed.
//!
//! Public reports of other git clients document this behaviour: protocol v0 only, and 400 for a request that does not
//! request `multi_ack`. The rest, capabilities included, is stock git's.

use crate::error::GitServerError;
use crate::fault_proxy::{Certificate, Fault, FaultProxy, Phase, When};
use crate::repository::{Repository, RepositoryBuilder};
use crate::server::GitServer;
use crate::settings::Settings;

/// The service's words for a request without `multi_ack`.
const MULTI_ACK: &str =
    "TF401041: The Git protocol sent is not as expected (Clients must support multi-ack.)";

/// A running proxy and the stock git server behind it.
pub struct AzureLike {
    server: GitServer,
    proxy: FaultProxy,
}

impl AzureLike {
    /// Starts both, over plain http.
    pub fn start() -> Result<Self, GitServerError> {
        let server = GitServer::start(&Settings::default().plain_http().protocol_v0("acme"))?;
        let headers = vec![("Content-Type", "text/plain; charset=utf-8".to_owned())];
        let response = Fault::Response(400, headers, MULTI_ACK.to_owned());
        let fault = Fault::Unless("multi_ack", Box::new(response));
        let proxy = FaultProxy::start(&server, Certificate::None, vec![(Phase::Pack, When::Always, fault)])?;
        Ok(Self { server, proxy })
    }

    /// Begins a repository that will be served as `/acme/NAME.git`.
    pub fn repository(&self, name: &str) -> RepositoryBuilder {
        self.server.repository(&format!("acme/{name}"))
    }

    /// The URL of a repository by way of the proxy.
    pub fn url(&self, repository: &Repository) -> String {
        self.proxy.url(repository.url())
    }
}
