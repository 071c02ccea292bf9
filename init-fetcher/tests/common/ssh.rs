//! Runs against an ssh server, with a Secret mounted beside what the run writes.

use std::fs;

use workflow_git_server::{Repository, SshServer, SshSoftware};

use super::{Ended, Fetch};

/// A server with its line of `known_hosts`.
pub struct Ssh {
    pub server: std::sync::Arc<SshServer>,
    pub known: String,
    client: &'static str,
}

impl Ssh {
    /// A server whose ed25519 key is known, with the ed25519 key that it lets in.
    pub fn start(protocol_v2: bool) -> Self {
        let server = SshServer::start(protocol_v2).unwrap();
        Self { known: known(&server, "ed25519"), server: server.into(), client: "ed25519" }
    }

    /// A server of this software, with a host key and a client's key of this kind.
    pub fn of(software: SshSoftware, kind: &'static str) -> Self {
        let server = SshServer::start_software(software).unwrap();
        Self { known: known(&server, kind), server: server.into(), client: kind }
    }

    /// With the client's key of this kind.
    pub fn client(self, kind: &'static str) -> Self {
        Self { client: kind, ..self }
    }

    /// With this `known_hosts`.
    pub fn known(self, text: impl FnOnce(&SshServer) -> String) -> Self {
        Self { known: text(&self.server), ..self }
    }

    /// The same server with another `known_hosts`.
    pub fn with_known(&self, text: &str) -> Self {
        Self { server: self.server.clone(), known: text.to_owned(), client: self.client }
    }

    /// The private key.
    pub fn key(&self) -> String {
        fs::read_to_string(self.server.client_key(self.client)).unwrap()
    }

    /// A run for a repository of this machine.
    pub fn fetch(&self, repository: &Repository) -> Fetch {
        self.fetch_with(&self.server.url(repository), &self.key())
    }

    /// A run for any URL with any key.
    pub fn fetch_with(&self, url: &str, key: &str) -> Fetch {
        let fetch = Fetch::untrusting(url);
        let dir = fetch.dir.path().join("secret");
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("ssh-privatekey"), key).unwrap();
        fs::write(dir.join("known_hosts"), &self.known).unwrap();
        fetch.var("WORKFLOW_CREDENTIALS_DIR", &dir.to_string_lossy())
    }

    /// Runs it, and checks that no line of the Secret's key is shown anywhere.
    #[allow(clippy::unused_self, reason = "reads as what it is")]
    pub fn run(&self, fetch: &Fetch) -> Ended {
        let ended = fetch.run();
        let key = fs::read_to_string(fetch.dir.path().join("secret/ssh-privatekey")).unwrap();
        for line in key.lines().filter(|line| line.len() > 8) {
            assert!(!ended.stderr.contains(line) && !ended.message.contains(line), "{}", ended.stderr);
        }
        ended
    }
}

/// The line of `known_hosts` for the server's key of this kind.
pub fn known(server: &SshServer, kind: &str) -> String {
    server.known_hosts(kind).unwrap().trim_end().to_owned()
}
