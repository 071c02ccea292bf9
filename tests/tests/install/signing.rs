//! A commit that is signed by the commands of `docs/operate.md` is one that the key listed in config.yaml has signed.

use std::path::Path;
use std::process::Command;

use anyhow::ensure;
use workflow_injector::config;

/// The guide's commands, in order.
const COMMANDS: [&str; 5] = [
    "ssh-keygen -t ed25519 -C alice@example.com -f ~/.ssh/signing_key",
    "git config gpg.format ssh",
    "git config user.signingkey ~/.ssh/signing_key",
    "git commit --amend --no-edit -S",
    "git push --force-with-lease",
];

const BEFORE: &str = "mkdir -m 700 ~/.ssh && git init -q --bare remote && git clone -q remote work && cd work && \
                      echo x >prompt.md && git add . && git commit -q -m one && git push -q -u origin HEAD";

/// Runs a command with a home directory of its own.
fn shell(home: &Path, directory: &str, command: &str) -> anyhow::Result<String> {
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", command])
        .current_dir(home.join(directory))
        .env("HOME", home)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .envs(["AUTHOR", "COMMITTER"].map(|role| (format!("GIT_{role}_NAME"), "Alice")))
        .envs(["AUTHOR", "COMMITTER"].map(|role| (format!("GIT_{role}_EMAIL"), "alice@example.com")))
        .output()?;
    ensure!(output.status.success(), "{command}\n{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn the_guides_commands_sign_a_commit_that_git_and_config_yaml_accept() -> anyhow::Result<()> {
    let home = tempfile::tempdir()?;
    shell(home.path(), ".", BEFORE)?;
    for command in COMMANDS {
        // ssh-keygen prompts for a passphrase otherwise.
        let command = command.replace("ssh-keygen ", "ssh-keygen -q -N '' ");
        shell(home.path(), "work", &command)?;
    }
    let key = std::fs::read_to_string(home.path().join(".ssh/signing_key.pub"))?;
    let line = format!("alice@example.com namespaces=\"git\" {}", key.trim());
    std::fs::write(home.path().join("allowed"), &line)?;
    let verify = "git -c gpg.ssh.allowedSignersFile=../allowed verify-commit @{upstream}";
    shell(home.path(), "work", verify)?;

    let config = config::parse(&format!(
        "verify:\n  - repositories: [\"https://github.com/acme/*\"]\n    require: commit\n    sshSigners: |\n      {line}\n"
    ))?;
    assert!(config.signers("https://github.com/acme/flow").contains("alice@example.com"));
    Ok(())
}
