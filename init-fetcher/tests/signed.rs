//! Only workflows that are signed as `WORKFLOW_SIGNERS` demands are delivered. Which signatures are good is the matter of
//! the crate `signatures`; here it is which object is verified, and what the message says.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod common;

use std::path::PathBuf;
use std::process::Command;

use common::{Ended, Fetch, git};
use workflow_contract::Exit;
use workflow_contract::verify::{Require, Signers};
use workflow_git_server::{GitServer, Repository, Settings};

/// A repository with a signed and an unsigned branch, and tags of every kind.
struct TestEnv {
    server: GitServer,
    repository: Repository,
    keys: tempfile::TempDir,
}

impl TestEnv {
    fn new() -> Self {
        Self::on(&Settings::default(), false)
    }

    fn on(settings: &Settings, sha256: bool) -> Self {
        let server = GitServer::start(settings).unwrap();
        let builder = server.repository("acme/flow").file("README.md", "x\n").file("wf/prompt.md", "y\n");
        let repository = if sha256 { builder.sha256() } else { builder }.create().unwrap();
        let env = Self { server, repository, keys: tempfile::tempdir().unwrap() };
        for name in ["alice", "mallory"] {
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-N", "", "-t", "ed25519", "-C", name, "-f"]).arg(env.key(name));
            assert!(keygen.status().unwrap().success());
        }
        env.commit("signed", Some("alice"));
        env.commit("stranger", Some("mallory"));
        env.commit("unsigned", None);
        env.tag("v1", "unsigned", Some("alice"));
        env.tag("annotated", "signed", None);
        env.tag("by-stranger", "stranger", Some("mallory"));
        env
    }

    fn key(&self, name: &str) -> PathBuf {
        self.keys.path().join(name)
    }

    fn git(&self, signer: Option<&str>, args: &[&str]) -> String {
        let mut git = git(Some(self.repository.path()));
        if let Some(signer) = signer {
            git.args(["-c", "gpg.format=ssh", "-c"])
                .arg(format!("user.signingkey={}", self.key(signer).display()));
        }
        let output = git.args(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Adds a commit of the same tree on a branch of its own.
    fn commit(&self, branch: &str, signer: Option<&str>) {
        let sign: &[&str] = if signer.is_some() { &["-S"] } else { &[] };
        let commit = self.git(signer, &[&["commit-tree", "-m", branch], sign, &["main^{tree}"]].concat());
        self.git(None, &["branch", "--force", branch, &commit]);
    }

    fn tag(&self, name: &str, target: &str, signer: Option<&str>) {
        self.git(signer, &["tag", if signer.is_some() { "-s" } else { "-a" }, "-m", name, name, target]);
    }

    fn fetch(&self, require: Require, reference: &str) -> Fetch {
        let key = std::fs::read_to_string(self.key("alice").with_extension("pub")).unwrap();
        let signers = Signers {
            require,
            ssh_signers: format!("alice@example.com namespaces=\"git\" {key}"),
            ssh_revoked_keys: String::new(),
            openpgp_keys: String::new(),
        };
        let fetch = Fetch::new(&self.server, self.repository.url()).branch(reference);
        fetch.var("WORKFLOW_SIGNERS", &signers.to_json())
    }

    fn run(&self, require: Require, reference: &str) -> Ended {
        self.fetch(require, reference).run()
    }
}

#[test]
fn delivers_what_is_signed_as_demanded_and_names_the_signer() {
    for (settings, sha256) in [
        (Settings::default(), false),
        (Settings::default(), true),
        (Settings::default().protocol_v0("acme"), false),
    ] {
        let env = TestEnv::on(&settings, sha256);
        for (require, reference) in [
            (Require::Commit, "signed"),
            (Require::Tag, "v1"),
            // A branch, a commit and a lightweight tag that a signed tag names.
            (Require::Tag, "unsigned"),
            (Require::Either, "signed"),
            (Require::Either, "unsigned"),
            (Require::None, "main"),
        ] {
            for path in ["", "wf"] {
                let fetch = env.fetch(require, reference).path(path);
                let ended = fetch.run();
                let message = ended.expect(Exit::Reconciled);
                let signer = ended.details().signer;
                if require == Require::None {
                    assert_eq!(signer, None, "{message}");
                } else {
                    let signer = signer.unwrap();
                    assert!(signer.starts_with("alice@example.com (ED25519 key SHA256:"), "{signer}");
                    assert!(message.contains(&format!("; signed by {signer}")), "{message}");
                }
                assert!(fetch.root().join("flow").exists());
            }
        }
        let commit = env.repository.commit("unsigned").unwrap();
        env.run(Require::Tag, &commit).expect(Exit::Reconciled);
    }
}

#[test]
fn publishes_nothing_without_the_required_signature() {
    let env = TestEnv::new();
    env.git(None, &["update-ref", "refs/tags/v2", &env.git(None, &["rev-parse", "v1"])]);
    for (require, reference, words) in [
        (Require::Commit, "unsigned", " is not signed; the cluster admin requires a commit that is signed"),
        (Require::Commit, "v1", " is not signed; "),
        (Require::Commit, "stranger", " is signed by the unknown ED25519 key SHA256:"),
        (
            Require::Tag,
            "signed",
            "the tag `annotated` is not signed; the cluster admin requires an annotated tag",
        ),
        (Require::Tag, "main", "no annotated tag names the commit "),
        (Require::Tag, "by-stranger", "the tag `by-stranger` is signed by the unknown"),
        (Require::Tag, "v2", "the tag `v2` is the signed tag `v1` under another name"),
        (Require::Either, "main", " is not signed, and no annotated tag names it; "),
        (Require::Either, "stranger", ", and the tag `by-stranger` is signed by the unknown"),
    ] {
        for path in ["", "wf"] {
            let fetch = env.fetch(require, reference).path(path);
            let ended = fetch.run();
            let message = ended.expect(Exit::SignatureNotTrusted);
            assert!(message.contains(words), "{message}");
            assert_eq!(ended.details().signer, None);
            assert_eq!(ended.details().attempts, Some(1));
            assert_eq!(fetch.residue(&[]), [""; 0]);
        }
    }
}

#[test]
fn an_older_workflow_stays_if_the_newer_one_is_not_signed() {
    let env = TestEnv::new();
    let fetch = env.fetch(Require::Commit, "signed");
    fetch.run().expect(Exit::Reconciled);
    env.commit("signed", Some("mallory"));
    fetch.run().expect(Exit::SignatureNotTrusted);
    assert!(fetch.root().join("flow/README.md").exists());
}
