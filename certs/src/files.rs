//! A directory in which another issuer keeps the pair: a mounted Secret, or plain files.
//!
//! The kubelet changes a mounted Secret by swapping the link `..data` to a new directory, so files are
//! never written in place and their own links never change. Contents are compared, not times or
//! inodes, and one reading takes all its files from the same `..data`: a swap in between can't mix
//! an old certificate with a new key.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tracing::{error, info};
use workflow_contract::Secret;

use crate::load::LoadError;
use crate::pair::Pair;
use crate::reload::{Resolver, Swap};
use crate::store::{AUTHORITIES, CERTIFICATE, KEY};

/// How often the directory is read. The kubelet itself takes up to a minute to show a change.
pub const POLL: Duration = Duration::from_secs(2);

/// Why a directory can't be served from.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A file can't be read.
    #[error("failed to read {path}; the directory must hold tls.crt and tls.key")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// What the files hold can't be served.
    #[error("the pair in {directory} can't be served")]
    Load {
        /// The directory.
        directory: PathBuf,
        /// What is wrong with it.
        #[source]
        source: LoadError,
    },
}

/// What one reading found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// `tls.crt` and `tls.key`.
    pub pair: Pair,
    /// `ca.crt`, where the issuer writes it.
    pub bundle: Option<String>,
}

/// A directory that holds a pair.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    resolver: Arc<Resolver>,
    bundle: watch::Sender<Option<Arc<str>>>,
    last_error: Option<String>,
}

impl Directory {
    /// Reads the directory once, so that a wrong path or pair fails at start and not at a handshake.
    /// The sender is given the authorities of `ca.crt`, now and at each change.
    ///
    /// # Errors
    /// [`FilesError`] with the file and what is wrong with it.
    pub fn open(
        path: &Path,
        resolver: Arc<Resolver>,
        bundle: watch::Sender<Option<Arc<str>>>,
        now: Timestamp,
    ) -> Result<Self, FilesError> {
        let directory = Self { path: path.to_owned(), resolver, bundle, last_error: None };
        directory.reload(now)?;
        Ok(directory)
    }

    /// Reads the directory for ever and serves what it holds, every [`POLL`].
    pub async fn follow(mut self, every: Duration) {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.poll(Timestamp::now());
        }
    }

    /// One reading; a problem is reported once, not at each reading.
    pub fn poll(&mut self, now: Timestamp) {
        match self.reload(now) {
            Ok(Swap::Unchanged) => self.last_error = None,
            Ok(Swap::Replaced) => {
                self.last_error = None;
                info!(directory = %self.path.display(), "a new certificate is served");
            }
            Err(problem) => {
                let text = format!("{problem:?}");
                if self.last_error.as_ref() != Some(&text) {
                    let error = &problem as &dyn std::error::Error;
                    error!(error, "the new certificate is refused; the last good one stays");
                    self.last_error = Some(text);
                }
            }
        }
    }

    fn reload(&self, now: Timestamp) -> Result<Swap, FilesError> {
        let contents = read(&self.path)?;
        let bundle = contents.bundle.map(Arc::<str>::from);
        let swap = self
            .resolver
            .swap(&contents.pair, now)
            .map_err(|source| FilesError::Load { directory: self.path.clone(), source })?;
        self.bundle.send_if_modified(|known| {
            let changed = *known != bundle;
            *known = bundle;
            changed
        });
        Ok(swap)
    }
}

/// Reads the directory's files, all from one `..data` where there is one.
///
/// # Errors
/// [`FilesError::Read`] with the file.
pub fn read(directory: &Path) -> Result<Contents, FilesError> {
    let linked = directory.join("..data");
    let directory = match linked.canonicalize() {
        Ok(target) => target,
        Err(error) if error.kind() == io::ErrorKind::NotFound => directory.to_owned(),
        Err(source) => return Err(FilesError::Read { path: linked, source }),
    };
    let text = |name: &str| {
        let path = directory.join(name);
        std::fs::read_to_string(&path).map_err(|source| FilesError::Read { path, source })
    };
    let bundle = match text(AUTHORITIES) {
        Ok(bundle) if bundle.trim().is_empty() => None,
        Ok(bundle) => Some(bundle),
        Err(FilesError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    Ok(Contents { pair: Pair { certificate: text(CERTIFICATE)?, key: Secret::new(&text(KEY)?) }, bundle })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts;
    use crate::issue::{self, Validity};
    use std::fs;
    use std::os::unix::fs::symlink;

    fn now() -> Timestamp {
        "2026-01-01T12:00:00Z".parse().unwrap()
    }

    fn fresh() -> Pair {
        let validity = Validity { not_before: now(), not_after: now() + Duration::from_hours(1) };
        issue::authority(validity).unwrap()
    }

    /// What the kubelet does to a mounted Secret: a new directory, then the link changes by rename,
    /// then the old directory goes.
    fn kubelet_writes(mount: &Path, version: &str, pair: &Pair) {
        let target = mount.join(format!("..{version}"));
        fs::create_dir(&target).unwrap();
        fs::write(target.join(CERTIFICATE), &pair.certificate).unwrap();
        fs::write(target.join(KEY), pair.key.expose()).unwrap();
        fs::write(target.join(AUTHORITIES), &pair.certificate).unwrap();
        let old = fs::read_link(mount.join("..data")).ok();
        symlink(format!("..{version}"), mount.join("..data_tmp")).unwrap();
        fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
        for name in [CERTIFICATE, KEY, AUTHORITIES] {
            if !mount.join(name).is_symlink() {
                symlink(format!("..data/{name}"), mount.join(name)).unwrap();
            }
        }
        if let Some(old) = old {
            fs::remove_dir_all(mount.join(old)).unwrap();
        }
    }

    fn open(mount: &Path) -> (Directory, Arc<Resolver>, watch::Receiver<Option<Arc<str>>>) {
        let (sender, bundle) = watch::channel(None);
        let resolver = Arc::new(Resolver::default());
        (Directory::open(mount, Arc::clone(&resolver), sender, now()).unwrap(), resolver, bundle)
    }

    #[test]
    fn a_swap_of_the_data_link_changes_what_is_served_and_the_bundle() {
        let (mount, first, second) = (tempfile::tempdir().unwrap(), fresh(), fresh());
        kubelet_writes(mount.path(), "first", &first);
        let (mut directory, resolver, mut bundle) = open(mount.path());
        assert_eq!(bundle.borrow_and_update().as_deref(), Some(first.certificate.as_str()));

        directory.poll(now());
        assert!(!bundle.has_changed().unwrap(), "nothing changed");

        kubelet_writes(mount.path(), "second", &second);
        directory.poll(now());
        assert_eq!(resolver.facts(), Some(facts::first(&second.certificate).unwrap()));
        assert_eq!(bundle.borrow_and_update().as_deref(), Some(second.certificate.as_str()));
    }

    #[test]
    fn a_broken_new_pair_leaves_the_good_one_until_a_good_one_comes() {
        let (mount, first, second) = (tempfile::tempdir().unwrap(), fresh(), fresh());
        kubelet_writes(mount.path(), "first", &first);
        let (mut directory, resolver, mut bundle) = open(mount.path());
        bundle.borrow_and_update();

        let mixed = Pair { certificate: second.certificate.clone(), key: first.key.clone() };
        kubelet_writes(mount.path(), "mixed", &mixed);
        directory.poll(now());
        assert_eq!(resolver.facts(), Some(facts::first(&first.certificate).unwrap()));
        assert!(!bundle.has_changed().unwrap(), "the bundle of a refused pair is refused with it");

        fs::remove_file(mount.path().join("..data")).unwrap();
        directory.poll(now());
        assert_eq!(resolver.facts(), Some(facts::first(&first.certificate).unwrap()));

        kubelet_writes(mount.path(), "good", &second);
        directory.poll(now());
        assert_eq!(resolver.facts(), Some(facts::first(&second.certificate).unwrap()));
    }

    #[test]
    fn plain_files_serve_too_and_need_no_authorities() {
        let (directory, pair) = (tempfile::tempdir().unwrap(), fresh());
        fs::write(directory.path().join(CERTIFICATE), &pair.certificate).unwrap();
        let error = read(directory.path()).unwrap_err();
        assert!(error.to_string().contains("tls.key"), "{error}");
        fs::write(directory.path().join(KEY), pair.key.expose()).unwrap();
        assert_eq!(read(directory.path()).unwrap(), Contents { pair, bundle: None });
    }
}
