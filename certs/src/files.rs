//! A directory with a pair that another issuer maintains: a mounted Secret, or plain files.
//!
//! The kubelet changes a mounted Secret by swapping the link `..data` to a new directory, so the links to the files
//! never change. Contents are compared, not times or inodes, and all files of one read come from the same `..data`: a
//! swap in between can't mix an old certificate with a new key.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{error, info};
use workflow_contract::Secret;

use crate::cert::{CertError, Pair};
use crate::clock::Clock;
use crate::resolver::{Resolver, Swap};
use crate::store::{CA_BUNDLE, CERTIFICATE, KEY};
use crate::{Bundle, CertSource, Fault};

/// Time between two reads; the kubelet itself takes up to a minute to show a change.
const POLL: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    #[error("failed to read {path}; the directory must hold tls.crt and tls.key")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the pair in {directory} can't be served")]
    Cert {
        directory: PathBuf,
        #[source]
        source: CertError,
    },
}

/// Starts to serve the pair in a directory, and follows its changes.
///
/// A wrong path or pair fails here, not at the first handshake.
pub fn follow(directory: &Path, clock: Clock) -> Result<CertSource, FilesError> {
    let resolver = Arc::new(Resolver::default());
    let ((sender, bundle), (fault, faults)) = (watch::channel(None), watch::channel(None));
    let directory = Directory {
        path: directory.to_owned(),
        resolver: Arc::clone(&resolver),
        clock,
        bundle: sender,
        fault,
    };
    directory.reload()?;
    let mut tasks = JoinSet::new();
    tasks.spawn(directory.run());
    Ok(CertSource { resolver, bundle, faults: vec![faults], tasks })
}

/// Calls `check` at once and at each interval, forever.
pub async fn poll(interval: Duration, mut check: impl FnMut()) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        check();
    }
}

#[derive(Debug)]
struct Directory {
    path: PathBuf,
    resolver: Arc<Resolver>,
    clock: Clock,
    /// Receives the contents of `ca.crt`.
    bundle: watch::Sender<Bundle>,
    fault: watch::Sender<Fault>,
}

impl Directory {
    async fn run(self) {
        poll(POLL, || self.poll()).await;
    }

    /// Reads once; an error is logged when it is new, not at each read.
    fn poll(&self) {
        let fault = match self.reload() {
            Ok(swap) => {
                if swap == Swap::Replaced {
                    info!(directory = %self.path.display(), "serving new certificate");
                }
                None
            }
            Err(error) => Some(match &error {
                FilesError::Read { source, .. } => format!("{error}: {source}"),
                FilesError::Cert { source, .. } => format!("{error}: {source}"),
            }),
        };
        if *self.fault.borrow() != fault {
            if let Some(error) = &fault {
                error!(error, "rejected new certificate, keeping the current one");
            }
            self.fault.send_replace(fault);
        }
    }

    fn reload(&self) -> Result<Swap, FilesError> {
        let (pair, bundle) = read(&self.path)?;
        let bundle = bundle.map(Arc::<str>::from);
        let swap = self
            .resolver
            .swap(&pair, self.clock.now())
            .map_err(|source| FilesError::Cert { directory: self.path.clone(), source })?;
        self.bundle.send_if_modified(|current| {
            let changed = *current != bundle;
            *current = bundle;
            changed
        });
        Ok(swap)
    }
}

/// Reads the pair, and `ca.crt` if the issuer writes it, all from one `..data` if there is one.
fn read(directory: &Path) -> Result<(Pair, Option<String>), FilesError> {
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
    let bundle = match text(CA_BUNDLE) {
        Ok(bundle) if bundle.trim().is_empty() => None,
        Ok(bundle) => Some(bundle),
        Err(FilesError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    Ok((Pair { certificate: text(CERTIFICATE)?, key: Secret::new(&text(KEY)?) }, bundle))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cert::CertInfo;
    use crate::issue::{self, Validity};
    use jiff::Timestamp;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn fresh() -> Pair {
        let now = Timestamp::now();
        let validity = Validity { not_before: now - POLL, not_after: now + Duration::from_hours(1) };
        issue::ca(validity).unwrap()
    }

    /// Changes a mounted Secret as the kubelet does: a new directory, the link replaced by rename, the old directory
    /// removed.
    fn kubelet_writes(mount: &Path, version: &str, pair: &Pair) {
        let target = mount.join(format!("..{version}"));
        fs::create_dir(&target).unwrap();
        fs::write(target.join(CERTIFICATE), &pair.certificate).unwrap();
        fs::write(target.join(KEY), pair.key.expose()).unwrap();
        fs::write(target.join(CA_BUNDLE), &pair.certificate).unwrap();
        let old = fs::read_link(mount.join("..data")).ok();
        symlink(format!("..{version}"), mount.join("..data_tmp")).unwrap();
        fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
        for name in [CERTIFICATE, KEY, CA_BUNDLE] {
            if !mount.join(name).is_symlink() {
                symlink(format!("..data/{name}"), mount.join(name)).unwrap();
            }
        }
        if let Some(old) = old {
            fs::remove_dir_all(mount.join(old)).unwrap();
        }
    }

    fn open(mount: &Path) -> (Directory, watch::Receiver<Bundle>) {
        let (bundle, bundles) = watch::channel(None);
        let directory = Directory {
            path: mount.to_owned(),
            resolver: Arc::default(),
            clock: Clock::default(),
            bundle,
            fault: watch::Sender::default(),
        };
        directory.reload().unwrap();
        (directory, bundles)
    }

    fn served(directory: &Directory, pair: &Pair) -> bool {
        directory.resolver.info() == CertInfo::from_pem(&pair.certificate).ok()
    }

    #[test]
    fn a_swap_of_the_data_link_changes_certificate_and_bundle() {
        let (mount, first, second) = (tempfile::tempdir().unwrap(), fresh(), fresh());
        kubelet_writes(mount.path(), "first", &first);
        let (directory, mut bundle) = open(mount.path());
        assert_eq!(bundle.borrow_and_update().as_deref(), Some(first.certificate.as_str()));

        directory.poll();
        assert!(!bundle.has_changed().unwrap());

        kubelet_writes(mount.path(), "second", &second);
        directory.poll();
        assert!(served(&directory, &second));
        assert_eq!(bundle.borrow_and_update().as_deref(), Some(second.certificate.as_str()));
    }

    #[test]
    fn rejects_a_broken_new_pair_and_keeps_the_good_one() {
        let (mount, first, second) = (tempfile::tempdir().unwrap(), fresh(), fresh());
        kubelet_writes(mount.path(), "first", &first);
        let (directory, mut bundle) = open(mount.path());
        bundle.borrow_and_update();

        let mixed = Pair { certificate: second.certificate.clone(), key: first.key.clone() };
        kubelet_writes(mount.path(), "mixed", &mixed);
        directory.poll();
        assert!(served(&directory, &first) && directory.fault.borrow().is_some());
        assert!(!bundle.has_changed().unwrap(), "the bundle of a rejected pair is rejected, too");

        fs::remove_file(mount.path().join("..data")).unwrap();
        directory.poll();
        assert!(served(&directory, &first));

        kubelet_writes(mount.path(), "good", &second);
        directory.poll();
        assert!(served(&directory, &second) && directory.fault.borrow().is_none());
    }

    #[test]
    fn plain_files_without_a_ca_are_served() {
        let (directory, pair) = (tempfile::tempdir().unwrap(), fresh());
        fs::write(directory.path().join(CERTIFICATE), &pair.certificate).unwrap();
        let error = read(directory.path()).unwrap_err();
        assert!(error.to_string().contains("tls.key"), "{error}");
        fs::write(directory.path().join(KEY), pair.key.expose()).unwrap();
        assert_eq!(read(directory.path()).unwrap(), (pair, None));
    }
}
