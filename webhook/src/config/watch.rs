//! Re-reads the config file when its content changes.
//!
//! The content is compared, not a time or an inode: the kubelet projects a ConfigMap's change by swapping a link
//! (`..data`), which changes neither on the file itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::{Config, ConfigError, file};

/// A config file and its last content.
#[derive(Debug)]
pub struct Watched {
    path: PathBuf,
    content: Vec<u8>,
    current: Arc<ArcSwap<Config>>,
}

impl Watched {
    /// Reads the file for the first time; at start there is no earlier one to fall back to.
    pub fn open(path: &Path) -> Result<Self, ConfigError> {
        let content = read(path)?;
        let config = decode(&content)?;
        Ok(Self { path: path.to_owned(), content, current: Arc::new(ArcSwap::from_pointee(config)) })
    }

    /// The configuration, replaced in place by [`Watched::check`].
    #[must_use]
    pub fn current(&self) -> Arc<ArcSwap<Config>> {
        Arc::clone(&self.current)
    }

    /// Reads the file again, and returns whether it has changed.
    ///
    /// On an error the current configuration stays in use. Invalid content is an error once, an unreadable file
    /// each time.
    pub fn check(&mut self) -> Result<bool, ConfigError> {
        let content = read(&self.path)?;
        if content == self.content {
            return Ok(false);
        }
        self.content = content;
        self.current.store(Arc::new(decode(&self.content)?));
        Ok(true)
    }
}

/// Reads the file every `poll`, for ever, and reports for each change whether it is valid.
pub async fn watch(mut watched: Watched, poll: Duration, report: impl Fn(bool)) {
    let mut ticks = tokio::time::interval(poll);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match watched.check() {
            Ok(false) => {}
            Ok(true) => {
                tracing::info!(path = %watched.path.display(), "config file reloaded");
                report(true);
            }
            Err(error) => {
                tracing::error!(
                    path = %watched.path.display(),
                    error = &error as &dyn std::error::Error,
                    "rejected new config file, keeping the current one"
                );
                report(false);
            }
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    std::fs::read(path).map_err(|source| ConfigError::Read { path: path.display().to_string(), source })
}

fn decode(content: &[u8]) -> Result<Config, ConfigError> {
    let text =
        str::from_utf8(content).map_err(|_| ConfigError::Invalid("it is not UTF-8 text".to_owned()))?;
    file::parse(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// Projects a ConfigMap as the kubelet does: a new directory, and `..data` swapped onto it.
    fn project(dir: &Path, version: &str, content: &str) {
        let directory = format!("..{version}");
        std::fs::create_dir(dir.join(&directory)).unwrap();
        std::fs::write(dir.join(&directory).join("config.yaml"), content).unwrap();
        symlink(&directory, dir.join("..data_tmp")).unwrap();
        std::fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
        if !dir.join("config.yaml").exists() {
            symlink("..data/config.yaml", dir.join("config.yaml")).unwrap();
        }
    }

    #[test]
    fn swap_of_the_data_link_is_noticed_once() {
        let dir = tempfile::tempdir().unwrap();
        project(dir.path(), "1", "timeout: 1s");
        let mut watched = Watched::open(&dir.path().join("config.yaml")).unwrap();
        let current = watched.current();
        assert!(!watched.check().unwrap());
        project(dir.path(), "2", "timeout: 2s");
        assert!(watched.check().unwrap());
        assert_eq!(current.load().timeout, "2s");
        assert!(!watched.check().unwrap());
    }

    #[test]
    fn broken_file_is_reported_once_and_the_current_one_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.yaml");
        std::fs::write(&path, "timeout: 1s").unwrap();
        let mut watched = Watched::open(&path).unwrap();
        std::fs::write(&path, "timeuot: 2s").unwrap();
        assert!(watched.check().unwrap_err().to_string().contains("timeuot"));
        assert!(!watched.check().unwrap());
        assert_eq!(watched.current().load().timeout, "1s");
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(watched.check(), Err(ConfigError::Read { .. })));
        std::fs::write(&path, "timeout: 3s").unwrap();
        assert!(watched.check().unwrap());
        assert_eq!(watched.current().load().timeout, "3s");
    }

    #[test]
    fn rejects_a_broken_file_at_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.yaml");
        assert!(matches!(Watched::open(&path), Err(ConfigError::Read { .. })));
        std::fs::write(&path, "timeout: [").unwrap();
        assert!(matches!(Watched::open(&path), Err(ConfigError::Invalid(_))));
    }
}
