//! Volumes of other sizes and rights: namespaces of the test's own, so that it needs no privilege and changes nothing.

use std::fs;

use super::{Ended, Fetch};

impl Fetch {
    /// Runs it with a volume of its own as the root, a tmpfs with these mount options; also gives what is left there.
    pub fn run_on_volume(&self, options: &str) -> (Ended, String) {
        const SCRIPT: &str =
            r#"mount -t tmpfs -o "$1" tmpfs "$0" && { "$2"; code=$?; ls -A "$0"; exit $code; }"#;
        fs::create_dir_all(self.root()).unwrap();
        let root = self.root().to_string_lossy().into_owned();
        let words = ["unshare", "--map-root-user", "--mount", "sh", "-c", SCRIPT, &root, options];
        self.run_by(words.map(str::to_owned).to_vec())
    }

    /// Runs it without any right to pass over modes of files.
    pub fn run_without_privileges(&self) -> Ended {
        let words = ["unshare", "--map-root-user", "setpriv", "--bounding-set=-all", "--inh-caps=-all"];
        self.run_by(words.map(str::to_owned).to_vec()).0
    }
}
