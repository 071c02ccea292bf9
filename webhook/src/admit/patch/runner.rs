//! Variables of the runner and of the other init containers.

use workflow_contract::env::{
    ACTIVE_WORKFLOW_BRANCH, ACTIVE_WORKFLOW_GIT_URL, ACTIVE_WORKFLOW_PATH, IS_RESUME,
};
use workflow_contract::names::INIT_CONTAINER;

use super::environment::{Entry, Environment};
use super::literal::doubled;
use super::ops::{Ops, Path};
use super::pod::Pod;
use crate::admit::plan::Plan;

/// The runner reads what is delivered, whatever the session's variables say; the other init
/// containers fetch nothing of it: what they leave, as root, could not be replaced.
pub fn write(ops: &mut Ops, pod: &Pod<'_>, plan: &Plan<'_>) {
    let path = Path::CONTAINERS.below(pod.runner_index);
    let mut runner = Environment::of(&pod.runner.env, &path);
    for (name, value) in [
        (ACTIVE_WORKFLOW_GIT_URL, Some(plan.git_url)),
        (ACTIVE_WORKFLOW_BRANCH, Some(&*plan.source.branch)),
        (ACTIVE_WORKFLOW_PATH, plan.path),
    ] {
        let entry = value.map(|value| Entry::value(name, doubled(value)));
        runner.set(ops, name, entry.as_slice());
    }
    if plan.first_run {
        runner.clear(|name| name == IS_RESUME);
    }
    runner.finish(ops);

    for (index, container) in pod.init_containers.iter().enumerate() {
        if container.name != INIT_CONTAINER {
            let path = Path::INIT_CONTAINERS.below(index);
            let mut environment = Environment::of(&container.env, &path);
            environment.clear(|name| {
                [ACTIVE_WORKFLOW_GIT_URL, ACTIVE_WORKFLOW_BRANCH, ACTIVE_WORKFLOW_PATH].contains(&name)
            });
            environment.finish(ops);
        }
    }
}
