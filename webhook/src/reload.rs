//! Files that are read again when their content changes.
//!
//! The content is compared, not a time or an inode: the kubelet projects a change of a ConfigMap or Secret by swapping a
//! link (`..data`), which changes neither on the file itself.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use workflow_certs::files::poll;

/// Interval between reads. The kubelet takes up to a minute to project a change, so seconds add little.
const POLL: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum ReloadError<E: Error + 'static> {
    #[error("failed to read `{path}`")]
    Read { path: String, source: std::io::Error },
    #[error(transparent)]
    Invalid(E),
}

type Parse<T, E> = dyn Fn(&[u8]) -> Result<T, E> + Send;

/// A file and the value that was parsed from its last valid content.
pub struct ReloadedFile<T, E> {
    path: PathBuf,
    content: Vec<u8>,
    parse: Box<Parse<T, E>>,
    current: Arc<ArcSwap<T>>,
}

impl<T, E: Error + 'static> ReloadedFile<T, E> {
    /// Reads the file for the first time.
    pub fn open(
        path: &Path,
        parse: impl Fn(&[u8]) -> Result<T, E> + Send + 'static,
    ) -> Result<Self, ReloadError<E>> {
        let content = read(path)?;
        let current = parse(&content).map_err(ReloadError::Invalid)?;
        Ok(Self {
            path: path.to_owned(),
            content,
            parse: Box::new(parse),
            current: Arc::new(ArcSwap::from_pointee(current)),
        })
    }

    /// Returns the value, which [`ReloadedFile::follow`] replaces in place.
    #[must_use]
    pub fn current(&self) -> Arc<ArcSwap<T>> {
        Arc::clone(&self.current)
    }

    /// Reads the file again, and returns whether it has changed.
    ///
    /// On an error the current value stays in use. Invalid content is an error once, an unreadable file each time.
    pub fn reload(&mut self) -> Result<bool, ReloadError<E>> {
        let content = read(&self.path)?;
        if content == self.content {
            return Ok(false);
        }
        self.content = content;
        self.current.store(Arc::new((self.parse)(&self.content).map_err(ReloadError::Invalid)?));
        Ok(true)
    }

    /// Reloads the file forever, and reports for each change whether it is valid.
    pub async fn follow(mut self, report: impl Fn(bool)) {
        poll(POLL, || match self.reload() {
            Ok(false) => {}
            Ok(true) => {
                tracing::info!(path = %self.path.display(), "file reloaded");
                report(true);
            }
            Err(error) => {
                tracing::error!(
                    path = %self.path.display(),
                    error = &error as &dyn Error,
                    "rejected new file content, keeping the current one"
                );
                report(false);
            }
        })
        .await;
    }
}

fn read<E: Error + 'static>(path: &Path) -> Result<Vec<u8>, ReloadError<E>> {
    std::fs::read(path).map_err(|source| ReloadError::Read { path: path.display().to_string(), source })
}

#[cfg(test)]
mod tests {
    use std::num::ParseIntError;
    use std::os::unix::fs::symlink;

    use super::*;

    fn open(path: &Path) -> Result<ReloadedFile<u8, ParseIntError>, ReloadError<ParseIntError>> {
        ReloadedFile::open(path, |content| String::from_utf8_lossy(content).parse())
    }

    /// Projects a ConfigMap as the kubelet does: a new directory, and `..data` swapped onto it.
    fn project(dir: &Path, version: &str, content: &str) {
        let directory = format!("..{version}");
        std::fs::create_dir(dir.join(&directory)).unwrap();
        std::fs::write(dir.join(&directory).join("file"), content).unwrap();
        symlink(&directory, dir.join("..data_tmp")).unwrap();
        std::fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
        if !dir.join("file").exists() {
            symlink("..data/file", dir.join("file")).unwrap();
        }
    }

    #[test]
    fn detects_a_swap_of_the_data_link_once() {
        let dir = tempfile::tempdir().unwrap();
        project(dir.path(), "1", "1");
        let mut file = open(&dir.path().join("file")).unwrap();
        let current = file.current();
        assert!(!file.reload().unwrap());
        project(dir.path(), "2", "2");
        assert!(file.reload().unwrap());
        assert_eq!(**current.load(), 2);
        assert!(!file.reload().unwrap());
    }

    #[test]
    fn reports_invalid_content_once_and_keeps_the_current_value() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        assert!(matches!(open(&path), Err(ReloadError::Read { .. })));
        std::fs::write(&path, "x").unwrap();
        assert!(matches!(open(&path), Err(ReloadError::Invalid(_))));
        std::fs::write(&path, "1").unwrap();
        let mut file = open(&path).unwrap();
        std::fs::write(&path, "x").unwrap();
        assert!(matches!(file.reload(), Err(ReloadError::Invalid(_))));
        assert!(!file.reload().unwrap());
        assert_eq!(**file.current().load(), 1);
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(file.reload(), Err(ReloadError::Read { .. })));
        std::fs::write(&path, "3").unwrap();
        assert!(file.reload().unwrap());
        assert_eq!(**file.current().load(), 3);
    }
}
