//! What `check` looks at, as it was found. Data only.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::core::DynamicObject;

use super::rights::Right;

/// What the dry-run of a session-like pod came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DryRun {
    /// Nobody objected.
    Accepted,
    /// The API server said no.
    Refused {
        /// HTTP status.
        code: u16,
        /// Its message.
        message: String,
    },
}

/// All that was seen.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// `None` before the registration.
    pub dry_run: Option<DryRun>,
    /// `None` before the registration; within it, whether there is one.
    pub registration: Option<Option<MutatingWebhookConfiguration>>,
    /// The uid of our namespace.
    pub namespace_uid: Option<String>,
    /// Our Deployment.
    pub deployment: Option<DynamicObject>,
    /// Our pods.
    pub pods: Vec<DynamicObject>,
    /// What replicas told of themselves, by the pod's name; those that could not be asked are absent.
    pub told: BTreeMap<String, Told>,
    /// Ready endpoints of our Service; `None` where there is no Service.
    pub endpoints: Option<usize>,
    /// The Secret with the certificate that is served.
    pub secret: Option<Secret>,
    /// `config.yaml` of the ConfigMap.
    pub config: Option<String>,
    /// What the injector's account may not do.
    pub denied: Vec<(Right, &'static str)>,
    /// Session pods that wait for the init container's image.
    pub unpulled: Vec<Unpulled>,
    /// Sessions whose workflow failed, newest first; `None` if they were not listed.
    pub sessions: Option<Vec<FailedSession>>,
    /// Sessions that need a restart to get the workflow that was chosen while they ran.
    pub restarts: Vec<String>,
}

/// What a replica says of itself on its port for probes and metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// The program's version.
    pub version: Option<String>,
    /// Whether it uses the config file as it is now.
    pub config_current: Option<bool>,
    /// Whether it serves the latest certificate.
    pub certificate_current: Option<bool>,
    /// When the certificate that it serves expires.
    pub expires: Option<Timestamp>,
    /// Why it is not ready.
    pub missing: Option<String>,
}

/// A session pod that waits for the init container's image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpulled {
    /// Namespace and name.
    pub pod: String,
    /// The image.
    pub image: String,
}

/// A session whose workflow failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedSession {
    /// Namespace and name.
    pub session: String,
    /// One word.
    pub reason: String,
    /// What happened and what to do.
    pub message: String,
    /// When.
    pub since: Option<Timestamp>,
}

impl Told {
    /// Reads what `/metrics` says.
    #[must_use]
    pub fn from_metrics(text: &str) -> Self {
        let value = |name: &str| {
            let mut values =
                text.lines().filter_map(|line| line.strip_prefix("workflow_injector_")?.strip_prefix(name));
            values.next()
        };
        let number = |name: &str| value(name)?.trim().parse::<i64>().ok();
        Self {
            version: value("build_info{version=\"").and_then(|rest| Some(rest.split_once('"')?.0.to_owned())),
            config_current: number("config_current ").map(|current| current == 1),
            certificate_current: number("certificate_current ").map(|current| current == 1),
            expires: number("certificate_expiry_timestamp_seconds ")
                .and_then(|seconds| Timestamp::from_second(seconds).ok()),
            missing: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn reads_what_a_replica_writes() {
        let (metrics, at) = (Metrics::default(), Timestamp::from_second(1_700_000_000).unwrap());
        metrics.certificate_expires(Some(at));
        metrics.certificate_is_current(true);
        metrics.config_is_current(false);
        let told = Told {
            version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            config_current: Some(false),
            certificate_current: Some(true),
            expires: Some(at),
            missing: None,
        };
        assert_eq!(Told::from_metrics(&metrics.encode().unwrap()), told);
        assert_eq!(Told::from_metrics("something else"), Told::default());
    }
}
