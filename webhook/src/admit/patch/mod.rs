//! Pod + plan + config -> RFC 6902 operations. Pure.
//!
//! Operations are emitted one by one over the pod as it was sent. Never a diff, which would carry
//! every difference between two representations of a pod; never through typed structs, which would
//! drop what they don't know. What is not named in these files is neither replaced nor removed, and
//! a pod that is already as it should be gets no operation.
//!
//! | file | what it is about |
//! |---|---|
//! | `container` | the init container: new, or one of that name brought to ours, last of all |
//! | `variables` | what the init container's environment is to be |
//! | `environment` | changes of one container's `env` |
//! | `runner` | `env` of the runner and of the other init containers |
//! | `volumes` | volumes and mounts |
//! | `security` | the init container's security context |
//! | `stamp` | the annotation |
//! | `literal` | values as the kubelet must see them |
//! | `pod` | the parts of a pod that are looked at |
//! | `ops` | the list of operations |

mod container;
mod environment;
mod literal;
mod ops;
mod pod;
mod runner;
mod security;
mod stamp;
mod variables;
mod volumes;

pub use ops::{Ops, Patch, Path};

use super::plan::Plan;
use crate::config::Config;
use json_index::Json;
use pod::Pod;

/// The operations that make a pod carry its workflow's delivery. None for a pod that is as it should
/// be, or that has no runner (and so no plan either).
#[must_use]
pub fn patch(pod: Json<'_>, plan: &Plan<'_>, config: &Config) -> Patch {
    let mut ops = Ops::default();
    if let Some(pod) = Pod::new(pod) {
        stamp::write(&mut ops, &pod, plan, config);
        let mounts = volumes::write(&mut ops, &pod, config);
        volumes::pull_secrets(&mut ops, &pod, config);
        runner::write(&mut ops, &pod, plan);
        container::write(&mut ops, &pod, plan, config, &mounts);
    }
    ops.into_patch()
}
