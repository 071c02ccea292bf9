//! SSH keys that sign commits of test repositories, as their authors would.

use std::process::Command;

use anyhow::ensure;
use tempfile::TempDir;
use workflow_git_server::Repository;

/// A key pair.
pub struct SigningKey {
    directory: TempDir,
}

impl SigningKey {
    pub fn new() -> anyhow::Result<Self> {
        let key = Self { directory: tempfile::tempdir()? };
        run(Command::new("ssh-keygen").args(["-q", "-N", "", "-t", "ed25519", "-f"]).arg(key.path()))?;
        Ok(key)
    }

    fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("key")
    }

    /// A line of `sshSigners` that allows it.
    pub fn allowed_as(&self, principal: &str) -> anyhow::Result<String> {
        let public = std::fs::read_to_string(self.path().with_extension("pub"))?;
        Ok(format!("{principal} namespaces=\"git\" {}", public.trim()))
    }

    /// Replaces the branch's last commit by one that this key has signed; its id.
    pub fn sign(&self, repository: &Repository, branch: &str) -> anyhow::Result<String> {
        let mut git = Command::new("git");
        git.arg("--git-dir").arg(repository.path()).env("GIT_CONFIG_NOSYSTEM", "1");
        for role in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{role}_NAME"), "Alice")
                .env(format!("GIT_{role}_EMAIL"), "alice@example.com");
        }
        git.args(["-c", "gpg.format=ssh", "-c", &format!("user.signingkey={}", self.path().display())]);
        git.args(["commit-tree", "-S", "-m", "signed", &format!("{branch}^{{tree}}")]);
        let commit = run(&mut git)?;
        repository.git(&["update-ref", &format!("refs/heads/{branch}"), commit.trim()])?;
        Ok(commit.trim().to_owned())
    }
}

fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output()?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}
