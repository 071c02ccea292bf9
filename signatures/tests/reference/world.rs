//! A repository, keys and the two verifiers.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use workflow_contract::verify::{Require, Signers};
use workflow_signatures::{
    ObjectFormat, SignatureError, SignedKind, Signer, SignersError, TrustedKeys, verify,
};

/// The time of the commits and tags, unless a test sets another one: 2026-01-15T12:00:00Z.
pub const TIME: i64 = 1_768_478_400;

/// A directory with a repository.
pub struct World {
    dir: tempfile::TempDir,
    pub format: ObjectFormat,
}

/// Runs a command with this input; its output if it succeeded.
pub fn run(command: &mut Command, input: &[u8]) -> Vec<u8> {
    let output = output(command, input);
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

pub fn output(command: &mut Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    // A program that ends early has said why.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

/// A program without anything of the user's.
pub fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("TZ", "UTC").env("LC_ALL", "C");
    command
}

impl World {
    pub fn new() -> Self {
        Self::of_format(ObjectFormat::Sha1)
    }

    pub fn of_format(format: ObjectFormat) -> Self {
        let world = Self { dir: tempfile::tempdir().unwrap(), format };
        let name = match format {
            ObjectFormat::Sha1 => "--object-format=sha1",
            ObjectFormat::Sha256 => "--object-format=sha256",
        };
        run(world.git().args(["init", "--quiet", "--initial-branch=main", name]), b"");
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn git(&self) -> Command {
        let mut git = program("git");
        git.current_dir(self.dir.path())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null");
        for role in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{role}_NAME"), "A").env(format!("GIT_{role}_EMAIL"), "a@example.com");
            git.env(format!("GIT_{role}_DATE"), format!("{TIME} +0000"));
        }
        git.env("GNUPGHOME", self.path("gnupg"));
        git
    }

    /// Makes a commit with git, which signs it as configured by `options`.
    pub fn commit(&self, options: &[&str]) -> Vec<u8> {
        let tree = String::from_utf8(run(self.git().arg("mktree"), b"")).unwrap();
        let mut git = self.git();
        git.args(options.iter().flat_map(|option| ["-c", option])).arg("commit-tree");
        if !options.is_empty() {
            git.arg("-S");
        }
        let id = String::from_utf8(run(git.args(["-m", "message", tree.trim()]), b"")).unwrap();
        run(self.git().args(["cat-file", "commit", id.trim()]), b"")
    }

    /// Makes an annotated tag with git, which signs it as configured by `options`.
    pub fn tag(&self, options: &[&str]) -> Vec<u8> {
        let target = self.store(SignedKind::Commit, &self.commit(&[]));
        let mut git = self.git();
        git.args(options.iter().flat_map(|option| ["-c", option]));
        git.args([
            "tag",
            "--force",
            if options.is_empty() { "-a" } else { "-s" },
            "-m",
            "message",
            "v1",
            &target,
        ]);
        run(&mut git, b"");
        run(self.git().args(["cat-file", "tag", "v1"]), b"")
    }

    /// Writes an object and returns its id.
    pub fn store(&self, kind: SignedKind, object: &[u8]) -> String {
        let kind = if kind == SignedKind::Commit { "commit" } else { "tag" };
        let mut git = self.git();
        git.args(["hash-object", "-w", "--literally", "-t", kind, "--stdin"]);
        String::from_utf8(run(&mut git, object)).unwrap().trim().to_owned()
    }

    /// Reports whether git trusts an object, with keys in its own configuration.
    pub fn git_trusts(&self, kind: SignedKind, object: &[u8], signers: &Signers) -> bool {
        let id = self.store(kind, object);
        let (allowed, revoked) = (self.write("allowed", &signers.ssh_signers), self.path("revoked"));
        let mut git = self.git();
        git.arg("-c").arg(format!("gpg.ssh.allowedSignersFile={}", allowed.display()));
        if !signers.ssh_revoked_keys.is_empty() {
            fs::write(&revoked, &signers.ssh_revoked_keys).unwrap();
            git.arg("-c").arg(format!("gpg.ssh.revocationFile={}", revoked.display()));
        }
        let trusting = crate::openpgp_keys::Home::trusting(&self.path("trusting"), &signers.openpgp_keys);
        git.env("GNUPGHOME", trusting.path());
        let command = if kind == SignedKind::Commit { "verify-commit" } else { "verify-tag" };
        let output = output(git.args([command, &id]), b"");
        println!("git: {} {}", output.status, String::from_utf8_lossy(&output.stderr));
        output.status.success()
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Makes a key pair and returns the path of its private half.
    pub fn ssh_key(&self, name: &str, kind: &str, bits: &str) -> PathBuf {
        let path = self.path(name);
        let mut keygen = program("ssh-keygen");
        keygen.args(["-q", "-N", "", "-C", name, "-t", kind, "-f"]).arg(&path);
        if !bits.is_empty() {
            keygen.args(["-b", bits]);
        }
        run(&mut keygen, b"");
        path
    }
}

/// The public half of a key pair, without comment.
pub fn public(key: &Path) -> String {
    let text = fs::read_to_string(key.with_extension("pub")).unwrap();
    text.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

/// Signs with ssh-keygen.
pub fn ssh_sign(key: &Path, namespace: &str, payload: &[u8]) -> String {
    let signature = run(program("ssh-keygen").args(["-Y", "sign", "-n", namespace, "-f"]).arg(key), payload);
    String::from_utf8(signature).unwrap()
}

/// Options with which git signs by an SSH key.
pub fn by_ssh(key: &Path) -> [String; 2] {
    ["gpg.format=ssh".to_owned(), format!("user.signingkey={}", key.display())]
}

/// Adds a signature to a commit that has none, as git does.
pub fn signed_commit(commit: &[u8], header: &str, signature: &str) -> Vec<u8> {
    let text = std::str::from_utf8(commit).unwrap();
    let (head, message) = text.split_once("\n\n").unwrap();
    let signature = signature.trim_end().replace('\n', "\n ");
    format!("{head}\n{header} {signature}\n\n{message}").into_bytes()
}

/// A rule that trusts these signers.
pub fn ssh_signers(list: &str) -> Signers {
    let (ssh_signers, empty) = (list.to_owned(), String::new());
    Signers { require: Require::Either, ssh_signers, ssh_revoked_keys: empty.clone(), openpgp_keys: empty }
}

/// The time of the test in Unix seconds.
pub fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

/// Our verdict.
pub fn ours(
    world: &World,
    kind: SignedKind,
    object: &[u8],
    signers: &Signers,
) -> Result<Signer, SignatureError> {
    let keys = match TrustedKeys::parse(signers) {
        Err(SignersError::NoSigners) => TrustedKeys::default(),
        keys => keys.unwrap(),
    };
    let verdict = verify(kind, object, world.format, &keys, now());
    println!("ours: {verdict:?}");
    verdict
}

/// Checks that git and we agree, and returns our verdict.
pub fn same(
    world: &World,
    kind: SignedKind,
    object: &[u8],
    signers: &Signers,
) -> Result<Signer, SignatureError> {
    let verdict = ours(world, kind, object, signers);
    assert_eq!(world.git_trusts(kind, object, signers), verdict.is_ok(), "{verdict:?}");
    verdict
}

/// Checks that git trusts what we do not, and returns our reason.
pub fn stricter(world: &World, kind: SignedKind, object: &[u8], signers: &Signers) -> SignatureError {
    assert!(world.git_trusts(kind, object, signers));
    ours(world, kind, object, signers).unwrap_err()
}

/// [`same`] for commits that both trust: the signer's name.
pub fn trusted(world: &World, commit: &[u8], signers: &Signers) -> String {
    same(world, SignedKind::Commit, commit, signers).unwrap().name
}

/// [`same`] for commits that neither trusts: our message.
pub fn denied(world: &World, commit: &[u8], signers: &Signers) -> String {
    same(world, SignedKind::Commit, commit, signers).unwrap_err().to_string()
}
