//! Variables of the runner and of the other init containers.

use serde_json::Value;
use workflow_contract::env::{
    ACTIVE_WORKFLOW_BRANCH, ACTIVE_WORKFLOW_GIT_URL, ACTIVE_WORKFLOW_PATH, IS_RESUME,
};

use super::env::{Env, variable};
use super::literal::doubled;
use super::pod::Pod;
use super::reconcile::List;
use crate::admission::plan::Plan;

const ACTIVE_WORKFLOW: [&str; 3] = [ACTIVE_WORKFLOW_GIT_URL, ACTIVE_WORKFLOW_BRANCH, ACTIVE_WORKFLOW_PATH];

/// Builds the runner's `env`: it names what is delivered, whatever the session's variables say.
pub fn env<'v>(pod: &Pod<'v>, plan: &Plan<'_>) -> List<'v> {
    let mut env = Env::of(pod.runner);
    let source = [Some(plan.git_url), Some(&*plan.source.branch), plan.path];
    for (name, value) in ACTIVE_WORKFLOW.into_iter().zip(source) {
        env.set(name, value.map(|value| variable(name, &doubled(value))));
    }
    if plan.first_run {
        env.clear(|name| name == IS_RESUME);
    }
    env.into_list()
}

/// Builds the `env` of another init container, which must not fetch the workflow: root's files could not be replaced.
pub fn without_workflow(container: &Value) -> List<'_> {
    let mut env = Env::of(container);
    env.clear(|name| ACTIVE_WORKFLOW.contains(&name));
    env.into_list()
}
