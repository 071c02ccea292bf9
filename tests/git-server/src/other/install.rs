//! Installs servers by way of the script `install`, which has nothing to do after the first time.

use std::path::Path;
use std::process::Command;

use crate::error::GitServerError;

/// The program of one of these servers, installed if need be.
pub(super) fn command(name: &'static str) -> Result<Command, GitServerError> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("install");
    let output = Command::new(script)
        .arg(name)
        .output()
        .map_err(|source| GitServerError::Run { program: "tests/git-server/install", source })?;
    if !output.status.success() {
        let output = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(GitServerError::Install { name, output });
    }
    let directory = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok(Command::new(Path::new(&directory).join("start")))
}

/// Reports whether servers in Java can run here: where a JDK and Maven are installed, and in CI, which installs both.
pub fn jdk_at_hand() -> bool {
    let installed = |program: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|directory| directory.join(program).exists())
    };
    std::env::var_os("CI").is_some() || (installed("javac") && installed("mvn"))
}
