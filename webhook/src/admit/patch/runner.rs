//! Variables of the runner and of the other init containers.

use workflow_contract::env::{
    ACTIVE_WORKFLOW_BRANCH, ACTIVE_WORKFLOW_GIT_URL, ACTIVE_WORKFLOW_PATH, IS_RESUME,
};
use workflow_contract::names::INIT_CONTAINER;

use super::environment::{Environment, Variable};
use super::literal::{doubled, variable};
use super::ops::{Ops, item};
use super::pod::Pod;
use crate::admit::json;
use crate::admit::plan::Plan;

/// The runner reads what is delivered, whatever the session's variables say; the other init
/// containers fetch nothing of it: what they leave, as root, could not be replaced.
pub fn write(ops: &mut Ops, pod: &Pod<'_, '_>, plan: &Plan<'_>) {
    let mut runner = Environment::of(pod.runner, &item("containers", pod.runner_index));
    for (name, value) in [
        (ACTIVE_WORKFLOW_GIT_URL, Some(plan.git_url)),
        (ACTIVE_WORKFLOW_BRANCH, Some(&*plan.source.branch)),
        (ACTIVE_WORKFLOW_PATH, plan.path),
    ] {
        let entries = value.map(|value| variable(name, &doubled(value)));
        runner.set(ops, &Variable { name: name.to_owned(), entries: entries.into_iter().collect() });
    }
    if plan.first_run {
        runner.clear(|name| name == IS_RESUME);
    }
    runner.finish(ops);

    for (index, container) in pod.init_containers.iter().enumerate() {
        if json::text(container, "name") != INIT_CONTAINER {
            let mut environment = Environment::of(container, &item("initContainers", index));
            environment.clear(|name| {
                [ACTIVE_WORKFLOW_GIT_URL, ACTIVE_WORKFLOW_BRANCH, ACTIVE_WORKFLOW_PATH].contains(&name)
            });
            environment.finish(ops);
        }
    }
}
