//! Over ssh.

use workflow_contract::Exit;
use workflow_git_server::{SshSoftware, jdk_at_hand};

use crate::cases::{Served, content};
use crate::common::server;
use crate::common::ssh::Ssh;

/// Checks deliveries and failures over this server, with keys of this kind.
fn check(software: SshSoftware, kind: &'static str) {
    let files = server();
    let repository = content(files.repository("flow"));
    let ssh = Ssh::of(software, kind);
    let url = ssh.server.url(&repository);
    let directory = tempfile::tempdir().unwrap();
    let known = directory.path().join("known_hosts");
    std::fs::write(&known, format!("{}\n", ssh.known)).unwrap();
    let command = format!(
        "ssh -F none -i {} -o UserKnownHostsFile={}",
        ssh.server.client_key(kind).display(),
        known.display(),
    );
    let fetch = |url: &str| ssh.fetch_with(url, &ssh.key());
    let served = Served {
        repository,
        url: url.clone(),
        fetch: Box::new(fetch),
        git: vec![("GIT_SSH_COMMAND", command)],
    };
    served.delivers();
    served.fails("nothere", "", Exit::RefNotFound);
    served.fails("main", "nothere", Exit::PathNotFound);
    fetch(&url.replace("flow.git", "nothere.git")).run().expect(Exit::RepositoryNotFound);
}

/// Checks that an empty repository is reported as one.
fn reports_empty(software: SshSoftware, kind: &'static str) {
    let files = server();
    let empty = files.repository("empty").create().unwrap();
    let ssh = Ssh::of(software, kind);
    let ended = ssh.fetch(&empty).run();
    let message = ended.expect(Exit::RefNotFound);
    assert!(message.contains("empty"), "{message}");
}

#[test]
fn reports_empty_repository_of_dropbear() {
    reports_empty(SshSoftware::Dropbear, "ed25519");
}

#[test]
fn reports_empty_repository_of_jgit() {
    if jdk_at_hand() {
        reports_empty(SshSoftware::JGit, "ecdsa");
    }
}

#[test]
fn delivers_from_dropbear_as_git_clones() {
    check(SshSoftware::Dropbear, "ed25519");
}

#[test]
fn delivers_from_jgit_as_git_clones() {
    if jdk_at_hand() {
        check(SshSoftware::JGit, "ecdsa");
    }
}
