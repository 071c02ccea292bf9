//! A repository over ssh: git's protocol with a command on the server, v2 if the server accepts the variable
//! that requests it, else v0.
//!
//! ```text
//!  session (TCP) ─> host_key (by known_hosts) ─> auth ─> command (`git-upload-pack`) ─> v2 or v0
//! ```
//!
//! libssh2 does the cryptography, without libgit2's transport around it, which supports neither filters
//! nor our limits, and reads known hosts from $HOME only. No agent, no configuration of ssh and no file
//! of a user is read.

mod auth;
mod command;
mod error;
mod host_key;
pub mod known_hosts;
pub mod offer;
mod session;

use std::io::{BufReader, Write as _};

use workflow_contract::RepoUrl;

use super::error::io_message;
use super::{Remote, TransportError, listing};
use crate::config::proxy::Proxies;
use crate::credentials::ssh::SshKey;
use crate::pack::PackSink;
use crate::protocol::capabilities::Capabilities;
use crate::protocol::pktline::Lines;
use crate::protocol::{Listing, ProtocolError, Received, Ref, Want, v0, v2};

/// A repository whose server has advertised its capabilities.
pub struct Ssh<'a> {
    url: &'a RepoUrl,
    key: SshKey,
    proxies: &'a Proxies,
    capabilities: Capabilities,
    /// All refs, if the server uses v0, which lists them at once.
    listed: Vec<Ref>,
    /// The running command; `None` once it has ended.
    running: Option<BufReader<ssh2::Channel>>,
}

impl<'a> Ssh<'a> {
    /// Connects, and reads the advertisement.
    ///
    /// # Errors
    /// Any [`TransportError`].
    pub fn connect(url: &'a RepoUrl, key: SshKey, proxies: &'a Proxies) -> Result<Self, TransportError> {
        let (running, capabilities, listed) = start(url, &key, proxies)?;
        Ok(Self { url, key, proxies, capabilities, listed, running: Some(running) })
    }

    /// Sends a request and reads the response. A command that an error line or a broken response has ended is started anew for
    /// the next request.
    fn request<T>(
        &mut self,
        request: &[u8],
        read: impl FnOnce(Lines<&mut BufReader<ssh2::Channel>>) -> Result<T, ProtocolError>,
    ) -> Result<(T, BufReader<ssh2::Channel>), TransportError> {
        let mut running = match self.running.take() {
            Some(running) => running,
            None => start(self.url, &self.key, self.proxies)?.0,
        };
        let host = error::host_of(self.url);
        let sent = running.get_mut().write_all(request).and_then(|()| running.get_mut().flush());
        sent.map_err(|error| TransportError::Unreachable { host, why: io_message(&error) })?;
        let response = read(Lines::conversation(&mut running))?;
        Ok((response, running))
    }
}

impl Remote for Ssh<'_> {
    #[allow(clippy::redundant_closure, reason = "the function itself is not general enough over lifetimes")]
    fn list(&mut self, listing: Listing) -> Result<Vec<Ref>, TransportError> {
        match self.capabilities {
            Capabilities::V0(_) => Ok(self.listed.clone()),
            Capabilities::V2(_) => {
                let (refs, running) = self
                    .request(&v2::ls_refs(listing, &self.capabilities), |lines| v2::read_refs(lines))
                    .map_err(|error| listing::classify(&error::host_of(self.url), error, &String::new))?;
                self.running = Some(running);
                Ok(refs)
            }
        }
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn fetch(&mut self, want: Want, sink: &mut dyn PackSink) -> Result<Received, TransportError> {
        let want = want.as_far_as(&self.capabilities);
        let capabilities = self.capabilities.clone();
        match capabilities {
            Capabilities::V2(_) => {
                let request = v2::fetch(want, &capabilities);
                let (received, running) = self.request(&request, |lines| v2::read_pack(lines, sink))?;
                // JGit keeps the depth and the wants of a fetch for the next one on the same connection.
                if capabilities.agent().is_some_and(|agent| agent.starts_with("git/")) {
                    self.running = Some(running);
                }
                Ok(received)
            }
            Capabilities::V0(_) => {
                let request = v0::fetch(want, &capabilities);
                self.request(&request, |lines| v0::read_pack(want, &capabilities, lines, sink))
                    .map(|(received, _)| received)
            }
        }
    }
}

type Started = (BufReader<ssh2::Channel>, Capabilities, Vec<Ref>);

/// Bytes read from a channel at a time.
const READ: usize = 128 << 10;

fn start(url: &RepoUrl, key: &SshKey, proxies: &Proxies) -> Result<Started, TransportError> {
    let session = session::session(url, key, proxies)?;
    let channel = command::upload_pack(&session, url)?;
    let mut running = BufReader::with_capacity(READ, channel);
    let host = error::host_of(url);
    match listing::read(Lines::conversation(&mut running), &host, TransportError::from) {
        Ok((capabilities, listed)) => Ok((running, capabilities, listed)),
        // The command ended without protocol: its stderr says why.
        Err(TransportError::Protocol(ProtocolError::Truncated(_)) | TransportError::Broken { .. }) => {
            Err(command::ended(running.into_inner(), host))
        }
        Err(error) => Err(listing::classify(&host, error, &String::new)),
    }
}
