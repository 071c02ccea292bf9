//! Over ssh, from a real OpenSSH server: what is delivered, and whom it trusts.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::ssh::{Ssh, known};
use common::{git, git_says, of_disk, of_git, repository, server};
use workflow_contract::Exit;
use workflow_git_server::{Profile, SshServer};

#[test]
fn delivers_over_both_protocols_with_each_kind_of_key() {
    let server = server();
    let repository = repository(&server);
    for (protocol_v2, client, host) in
        [(true, "ed25519", "ed25519"), (false, "rsa", "rsa"), (true, "ecdsa", "ecdsa")]
    {
        let ssh = Ssh::start(protocol_v2).client(client).known(|server| known(server, host));
        for path in ["", "flows"] {
            let fetch = ssh.fetch(&repository).path(path);
            let ended = ssh.run(&fetch);
            ended.expect(Exit::Reconciled);
            assert_eq!(of_disk(&fetch.root().join("flow")), of_git(&repository, "main", path));
            assert_eq!(fetch.residue(&["flow"]), Vec::<String>::new());
            assert_eq!(fetch.root().join("flow/.git").exists(), path.is_empty());
            assert_eq!(ended.details().attempts, Some(1));
            assert!(!ended.stderr.contains("fetching everything"), "{}", ended.stderr);
        }
    }
}

#[test]
fn every_server_profile_delivers_the_same_from_branches_and_tags() {
    let server = server();
    let ssh = Ssh::start(true);
    for (name, profile) in [
        ("filters/flow", Profile::Filters),
        ("github/flow", Profile::GithubLike),
        ("nofilter/flow", Profile::NoFilters),
    ] {
        let builder = server.repository(name).profile(profile).file("flows/a", "a").file("b", "b").tag("v1");
        let repository = builder.branch("dev").file("flows/d", "d").create().unwrap();
        git_says(repository.path(), &["tag", "-m", "message", "v2", "dev"]);
        for (branch, path) in [("main", ""), ("dev", "flows"), ("v1", "flows"), ("v2", "flows"), ("v2", "")] {
            let fetch = ssh.fetch(&repository).branch(branch).path(path);
            ssh.run(&fetch).expect(Exit::Reconciled);
            let case = format!("{name} {branch} {path}");
            assert_eq!(of_disk(&fetch.root().join("flow")), of_git(&repository, branch, path), "{case}");
        }
    }
}

#[test]
fn fetches_everything_if_advertised_filter_is_rejected() {
    let server = server();
    let repository = repository(&server);
    repository.git(&["config", "uploadpackfilter.allow", "false"]).unwrap();
    let ssh = Ssh::start(true);
    let fetch = ssh.fetch(&repository).path("flows");
    let ended = ssh.run(&fetch);
    ended.expect(Exit::Reconciled);
    assert_eq!(ended.stderr.matches("fetching everything").count(), 1, "{}", ended.stderr);
    assert_eq!(ended.details().attempts, Some(1));
    assert_eq!(of_disk(&fetch.root().join("flow")), of_git(&repository, "main", "flows"));
}

#[test]
fn git_works_in_what_was_delivered() {
    let server = server();
    let repository = repository(&server);
    let ssh = Ssh::start(true);
    let fetch = ssh.fetch(&repository);
    ssh.run(&fetch).expect(Exit::Reconciled);
    let place = fetch.root().join("flow");
    assert_eq!(git_says(&place, &["status", "--porcelain"]), "");
    git_says(&place, &["fsck", "--strict"]);
    assert_eq!(git_says(&place, &["remote", "get-url", "origin"]).trim(), ssh.server.url(&repository));
    let command = format!(
        "ssh -F none -i {} -o UserKnownHostsFile={}",
        ssh.server.client_key("ed25519").display(),
        fetch.dir.path().join("secret/known_hosts").display()
    );
    repository.extend("main").file("new", "1").create().unwrap();
    let output =
        git(Some(&place)).env("GIT_SSH_COMMAND", command).args(["fetch", "--quiet"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn accepts_every_form_of_keys_and_known_hosts() {
    let server = server();
    let repository = repository(&server);
    let ssh = Ssh::start(true);
    let dir = tempfile::tempdir().unwrap();
    let hosts = dir.path().join("known");
    fs::write(&hosts, format!("# a comment\n{}\n", known(&ssh.server, "ed25519"))).unwrap();
    keygen(&["-H", "-f"], &hosts);
    let hashed = fs::read_to_string(&hosts).unwrap();
    assert!(hashed.contains("|1|"), "{hashed}");
    let ssh = ssh.known(|_| hashed.replace('\n', "\r\n"));
    for (kind, form) in
        [("ed25519", ""), ("rsa", "PEM"), ("rsa", "PKCS8"), ("ecdsa", "PEM"), ("ecdsa", "PKCS8")]
    {
        let copy = dir.path().join(format!("{kind}{form}"));
        fs::copy(ssh.server.client_key(kind), &copy).unwrap();
        if !form.is_empty() {
            keygen(&["-p", "-N", "", "-m", form, "-f"], &copy);
        }
        let text = fs::read_to_string(&copy).unwrap();
        for key in [text.trim_end().to_owned(), text.trim_end().replace('\n', "\r\n") + "\r\n\r\n"] {
            let fetch = ssh.fetch_with(&ssh.server.url(&repository), &key).path("flows");
            let ended = fetch.run();
            assert_eq!(ended.code, 0, "{kind} {form}: {}", ended.message);
        }
    }
}

fn keygen(args: &[&str], file: &Path) {
    let output = Command::new("ssh-keygen").arg("-q").args(args).arg(file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn rejects_host_key_that_cannot_be_checked() {
    let server = server();
    let repository = repository(&server);
    let other = SshServer::start(true).unwrap();
    let (url, unlisted) = (other.url(&repository), known(&other, "ed25519"));
    let ssh = Ssh::start(true);
    let (own, at) = (known(&ssh.server, "ed25519"), ssh.server.host());
    let changed = unlisted.replace(&other.host(), &at);
    for (known, expected) in [
        (String::new(), "has no line that can be read"),
        ("# nothing\n".to_owned(), "has no line that can be read"),
        ("nonsense\n".to_owned(), "has no line that can be read"),
        (unlisted, "is not in known_hosts"),
        (changed, "is another than known_hosts has"),
        (format!("{own}\n@revoked {own}"), "is marked @revoked"),
        (format!("@cert-authority {own}"), "has only an @cert-authority"),
    ] {
        let ssh = ssh.with_known(&known);
        let ended = ssh.run(&ssh.fetch(&repository));
        let message = ended.expect(Exit::HostKeyMismatch);
        assert!(message.contains(expected), "{message}");
        assert!(message.contains("SHA256:"), "{message}");
        assert_eq!(ended.details().attempts, Some(1));
    }
    // Nor is anything but the key of that very server.
    ssh.run(&ssh.fetch_with(&url, &ssh.key())).expect(Exit::HostKeyMismatch);
}

#[test]
fn names_offer_of_server_without_common_algorithm() {
    let server = server();
    let repository = repository(&server);
    for (line, expected) in [
        (
            "KexAlgorithms sntrup761x25519-sha512@openssh.com",
            "no common key exchange algorithm; the server offers sntrup761x25519-sha512@openssh.com",
        ),
        ("HostKeyAlgorithms ssh-rsa", "no common host key algorithm; the server offers ssh-rsa"),
        (
            "Ciphers aes128-ctr\nMACs umac-64@openssh.com",
            "no common MAC algorithm; the server offers umac-64@openssh.com",
        ),
    ] {
        let ssh = Ssh::start(true);
        ssh.server.configure(line).unwrap();
        let ended = ssh.run(&ssh.fetch(&repository));
        let message = ended.expect(Exit::ServerError);
        assert!(message.contains(expected), "{message}");
        assert_eq!(ended.details().attempts, Some(1));
    }
}

#[test]
fn names_fault_of_key_that_is_missing_denied_or_unusable() {
    let server = server();
    let repository = repository(&server);
    let ssh = Ssh::start(true);
    let other = SshServer::start(true).unwrap();
    let url = ssh.server.url(&repository);
    let locked = other.client_key("rsa");
    keygen(&["-p", "-N", "s3cret phrase", "-f"], &locked);
    let read = |kind| fs::read_to_string(other.client_key(kind)).unwrap();
    for (key, expected) in [
        (String::new(), "no ssh key is set: add the keys ssh-privatekey and known_hosts to the Secret"),
        (read("ed25519"), "tried: the Secret's ssh-privatekey (is its public half registered there?)"),
        (read("rsa"), "is protected by a passphrase"),
        ("s3cret nonsense".to_owned(), "not a private key"),
        (
            "-----BEGIN OPENSSH PRIVATE KEY-----\ns3cret\n-----END OPENSSH PRIVATE KEY-----".into(),
            "cannot be used",
        ),
    ] {
        let ended = ssh.run(&ssh.fetch_with(&url, &key));
        let message = ended.expect(Exit::AuthenticationFailed);
        assert!(message.contains(expected), "{message}");
        assert!(!ended.message.contains("s3cret") && !ended.stderr.contains("s3cret"));
        assert_eq!(ended.details().attempts, Some(1));
    }
    // A password is taken from the URL; this server takes none.
    let with_password = url.replacen('@', ":s3cret@", 1);
    let ended = ssh.run(&ssh.fetch_with(&with_password, ""));
    let message = ended.expect(Exit::AuthenticationFailed);
    assert!(message.contains("tried: the URL's own user name and password"), "{message}");
    assert!(!ended.message.contains("s3cret") && !ended.stderr.contains("s3cret"));
    ssh.run(&ssh.fetch_with(&with_password, &ssh.key())).expect(Exit::Reconciled);
}

#[test]
fn reports_missing_refs_and_paths_as_over_https() {
    let server = server();
    let repository = repository(&server);
    for protocol_v2 in [true, false] {
        let ssh = Ssh::start(protocol_v2);
        let url = ssh.server.url(&repository);
        let none = ssh.fetch_with(&url.replace("flow.git", "none.git"), &ssh.key());
        let message = ssh.run(&none).expect(Exit::RepositoryNotFound).to_owned();
        assert!(message.contains("has no such repository"), "{message}");
        let ended = ssh.run(&ssh.fetch(&repository).branch("release"));
        assert!(ended.expect(Exit::RefNotFound).contains("release-1.0"));
        let ended = ssh.run(&ssh.fetch(&repository).path("flow"));
        assert!(ended.expect(Exit::PathNotFound).contains("flows"));
        ssh.run(&ssh.fetch(&repository).branch(&"1".repeat(40))).expect(Exit::RefNotFound);
    }
}

#[test]
fn quotes_and_decodes_path() {
    let server = server();
    let repository = repository(&server);
    let ssh = Ssh::start(true);
    let url = ssh.server.url(&repository);
    let dir = tempfile::Builder::new().prefix("quoted-").tempdir().unwrap();
    let mark = dir.path().join("was-run");
    for path in
        [format!("x';touch%20{0};'", mark.display()), format!("$(touch%20{0})`touch%20{0}`", mark.display())]
    {
        let fetch = ssh.fetch_with(&url.replace("flow.git", &path), &ssh.key());
        ssh.run(&fetch).expect(Exit::RepositoryNotFound);
        assert!(!mark.exists(), "{path}");
    }
    let encoded = ssh.fetch_with(&url.replace("acme/", "%61cme/"), &ssh.key());
    ssh.run(&encoded).expect(Exit::Reconciled);
}

#[test]
fn denies_hosts_and_schemes_outside_the_policy() {
    for (name, value) in [("WORKFLOW_ALLOWED_HOSTS", "github.com"), ("WORKFLOW_ALLOWED_SCHEMES", "https")] {
        for url in ["ssh://git@h/o/r", "git@h:o/r"] {
            common::Fetch::untrusting(url).var(name, value).run().expect(Exit::HostNotAllowed);
        }
    }
}
