//! Over ssh, from a real OpenSSH server: what is delivered, and whom it trusts.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod common;

use std::fs;

use common::{Fetch, git, of_disk, of_git, repository, server};
use workflow_contract::Exit;
use workflow_git_server::SshServer;

/// A mounted Secret with these keys, beside what the run writes.
fn secret(fetch: Fetch, keys: &[(&str, &str)]) -> Fetch {
    let dir = fetch.dir.path().join("secret");
    fs::create_dir(&dir).unwrap();
    for (name, value) in keys {
        fs::write(dir.join(name), value).unwrap();
    }
    fetch.var("WORKFLOW_CREDENTIALS_DIR", &dir.to_string_lossy())
}

fn private(ssh: &SshServer, kind: &str) -> String {
    fs::read_to_string(ssh.client_key(kind)).unwrap()
}

#[test]
fn whole_and_in_part_by_either_protocol_and_kind_of_key() {
    let server = server();
    let repository = repository(&server);
    for (protocol_v2, client, host) in [(true, "ed25519", "ed25519"), (false, "rsa", "rsa")] {
        let ssh = SshServer::start(protocol_v2).unwrap();
        let keys =
            [("ssh-privatekey", &*private(&ssh, client)), ("known_hosts", &*ssh.known_hosts(host).unwrap())];
        for path in ["", "flows"] {
            let fetch = secret(Fetch::untrusting(&ssh.url(&repository)).path(path), &keys);
            let ended = fetch.run();
            ended.expect(Exit::Reconciled);
            assert_eq!(of_disk(&fetch.root().join("flow")), of_git(&repository, "main", path));
            assert_eq!(fetch.residue(&["flow"]), Vec::<String>::new());
            assert!(!ended.stderr.contains("fetching everything"), "{}", ended.stderr);
        }
    }
}

#[test]
fn git_fetch_works_in_what_was_delivered() {
    let server = server();
    let repository = repository(&server);
    let ssh = SshServer::start(true).unwrap();
    let known = ssh.known_hosts("ed25519").unwrap();
    let keys = [("ssh-privatekey", &*private(&ssh, "ed25519")), ("known_hosts", &*known)];
    let fetch = secret(Fetch::untrusting(&ssh.url(&repository)), &keys);
    fetch.run().expect(Exit::Reconciled);
    let place = fetch.root().join("flow");
    let command = format!(
        "ssh -F none -i {} -o UserKnownHostsFile={}",
        ssh.client_key("ed25519").display(),
        fetch.dir.path().join("secret/known_hosts").display()
    );
    repository.extend("main").file("new", "1").create().unwrap();
    let output =
        git(Some(&place)).env("GIT_SSH_COMMAND", command).args(["fetch", "--quiet"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn hashed_hosts_are_known_and_secrets_may_end_in_a_newline_or_not() {
    let server = server();
    let repository = repository(&server);
    let ssh = SshServer::start(true).unwrap();
    let file = tempfile::tempdir().unwrap();
    let known = file.path().join("known");
    fs::write(&known, format!("# a comment\n{}\n", ssh.known_hosts("ed25519").unwrap())).unwrap();
    let hashed = std::process::Command::new("ssh-keygen").args(["-q", "-H", "-f"]).arg(&known).output();
    assert!(hashed.unwrap().status.success());
    let known = fs::read_to_string(&known).unwrap();
    assert!(known.contains("|1|"), "{known}");
    for end in ["", "\n\n"] {
        let key = format!("{}{end}", private(&ssh, "ed25519").trim_end());
        let fetch = Fetch::untrusting(&ssh.url(&repository)).path("flows");
        secret(fetch, &[("ssh-privatekey", &key), ("known_hosts", &known)]).run().expect(Exit::Reconciled);
    }
}

#[test]
fn a_host_key_that_is_unknown_or_changed_is_32() {
    let server = server();
    let repository = repository(&server);
    let (ssh, other) = (SshServer::start(true).unwrap(), SshServer::start(true).unwrap());
    let foreign = other.known_hosts("ed25519").unwrap();
    let changed = foreign.replace(&other.address().to_string(), "").replace(
        &format!("[{}]:{}", other.address().ip(), other.address().port()),
        &format!("[{}]:{}", ssh.address().ip(), ssh.address().port()),
    );
    let revoked = format!("@revoked {}", ssh.known_hosts("ed25519").unwrap());
    for (known, said) in [
        ("", "has no known_hosts"),
        (&*foreign, "is not in known_hosts"),
        (&*changed, "is another than known_hosts has"),
        (&*revoked, "is not in known_hosts"),
    ] {
        let fetch = Fetch::untrusting(&ssh.url(&repository));
        let keys = [("ssh-privatekey", &*private(&ssh, "ed25519")), ("known_hosts", known)];
        let ended = secret(fetch, &keys).run();
        let sentence = ended.expect(Exit::HostKeyMismatch);
        assert!(sentence.contains(said) && sentence.contains("SHA256:"), "{sentence}");
        assert_eq!(ended.details().attempts, Some(1));
    }
}

#[test]
fn a_key_that_is_missing_refused_or_broken_is_20() {
    let server = server();
    let repository = repository(&server);
    let (ssh, other) = (SshServer::start(true).unwrap(), SshServer::start(true).unwrap());
    let known = ssh.known_hosts("ed25519").unwrap();
    for (key, said) in [
        (String::new(), "no ssh key is set"),
        (private(&other, "ed25519"), "tried: the Secret's ssh-privatekey"),
        ("s3cret nonsense".to_owned(), "can't be used"),
    ] {
        let fetch = Fetch::untrusting(&ssh.url(&repository));
        let ended = secret(fetch, &[("ssh-privatekey", &key), ("known_hosts", &known)]).run();
        let sentence = ended.expect(Exit::AuthenticationFailed);
        assert!(sentence.contains(said), "{sentence}");
        assert!(!ended.message.contains("s3cret") && !ended.stderr.contains("s3cret"));
        assert!(!ended.stderr.contains("PRIVATE KEY"));
    }
}

#[test]
fn what_is_not_there_is_said_as_over_https() {
    let server = server();
    let repository = repository(&server);
    let ssh = SshServer::start(true).unwrap();
    let known = ssh.known_hosts("ed25519").unwrap();
    let key = private(&ssh, "ed25519");
    let keys = [("ssh-privatekey", &*key), ("known_hosts", &*known)];
    let of = |url: &str| secret(Fetch::untrusting(url), &keys);
    let url = ssh.url(&repository);
    of(&url.replace("flow.git", "none.git")).run().expect(Exit::RepositoryNotFound);
    let ended = of(&url).branch("release").run();
    assert!(ended.expect(Exit::RefNotFound).contains("release-1.0"));
    let ended = of(&url).path("flow").run();
    assert!(ended.expect(Exit::PathNotFound).contains("flows"));
}
