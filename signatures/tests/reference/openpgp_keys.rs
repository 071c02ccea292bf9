//! Key rings of gpg.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::world::{output, program, run};

/// A home directory of gpg; its agent ends with it.
pub struct Home(PathBuf);

impl Home {
    pub fn new(path: &Path) -> Self {
        fs::create_dir_all(path).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
        Self(path.to_owned())
    }

    /// A home with these public keys only.
    pub fn trusting(path: &Path, keys: &str) -> Self {
        let _ = fs::remove_dir_all(path);
        let home = Self::new(path);
        if !keys.is_empty() {
            // gpg denies some keys that we deny, too.
            output(home.gpg().arg("--import"), keys.as_bytes());
        }
        home
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn gpg(&self) -> Command {
        let mut gpg = program("gpg");
        gpg.arg("--homedir").arg(&self.0).args([
            "--batch",
            "--yes",
            "--quiet",
            "--pinentry-mode",
            "loopback",
        ]);
        gpg.args(["--passphrase", ""]);
        gpg
    }

    /// Makes a key and returns its fingerprint; `when` in gpg's form, such as `20200101T000000`.
    pub fn key(&self, user: &str, algorithm: &str, usage: &str, expire: &str, when: Option<&str>) -> String {
        let mut gpg = self.gpg();
        gpg.args(when.map(|when| format!("--faked-system-time={when}!")));
        run(gpg.args(["--quick-generate-key", user, algorithm, usage, expire]), b"");
        self.fingerprints(user).remove(0)
    }

    pub fn add_subkey(&self, key: &str, algorithm: &str, expire: &str, when: Option<&str>) {
        let mut gpg = self.gpg();
        gpg.args(when.map(|when| format!("--faked-system-time={when}!")));
        run(gpg.args(["--quick-add-key", key, algorithm, "sign", expire]), b"");
    }

    /// Fingerprints of a key and its subkeys.
    pub fn fingerprints(&self, user: &str) -> Vec<String> {
        let list = run(self.gpg().args(["--with-colons", "--list-keys", user]), b"");
        let list = String::from_utf8(list).unwrap();
        list.lines().filter_map(|line| Some(line.strip_prefix("fpr:")?.replace(':', ""))).collect()
    }

    pub fn export(&self, key: &str) -> String {
        String::from_utf8(run(self.gpg().args(["--armor", "--export", key]), b"")).unwrap()
    }

    /// Revokes a key by the certificate that gpg made with it.
    pub fn revoke(&self, key: &str) {
        let path = self.0.join("openpgp-revocs.d").join(format!("{key}.rev"));
        let certificate = fs::read_to_string(path).unwrap().replace(":-----BEGIN", "-----BEGIN");
        run(self.gpg().arg("--import"), certificate.as_bytes());
    }

    /// Revokes the first subkey.
    pub fn revoke_subkey(&self, key: &str) {
        let commands = "key 1\nrevkey\ny\n0\n\ny\nsave\n";
        run(self.gpg().args(["--command-fd", "0", "--no-tty", "--edit-key", key]), commands.as_bytes());
    }

    pub fn sign(&self, key: &str, options: &[&str], payload: &[u8]) -> String {
        let mut gpg = self.gpg();
        gpg.args(options).args(["--armor", "--detach-sign", "--local-user", key]);
        String::from_utf8(run(&mut gpg, payload)).unwrap()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = program("gpgconf").arg("--homedir").arg(&self.0).args(["--kill", "all"]).output();
    }
}
