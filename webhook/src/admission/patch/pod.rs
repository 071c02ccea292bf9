//! The parts of a pod that the patch depends on. Every field may be absent or of another type.

use serde_json::Value;
use workflow_contract::names::{HYDRATE_CONTAINER, INIT_CONTAINER, RUNNER_CONTAINER};

use crate::admission::json::{items, text};

/// A pod with a runner.
#[derive(Debug)]
pub struct Pod<'v> {
    pub metadata: &'v Value,
    pub spec: &'v Value,
    /// Position of the runner among the containers.
    pub runner_index: usize,
    pub runner: &'v Value,
}

impl<'v> Pod<'v> {
    pub fn new(pod: &'v Value) -> Option<Self> {
        let spec = &pod["spec"];
        let mut containers = items(&spec["containers"]).iter().enumerate();
        let (runner_index, runner) = containers.find(|(_, one)| text(one, "name") == RUNNER_CONTAINER)?;
        Some(Self { metadata: &pod["metadata"], spec, runner_index, runner })
    }

    pub fn init_containers(&self) -> &'v [Value] {
        items(&self.spec["initContainers"])
    }

    /// Those whose name is not ours, with their position.
    pub fn other_init_containers(&self) -> impl Iterator<Item = (usize, &'v Value)> + use<'v> {
        let all = self.init_containers().iter().enumerate();
        all.filter(|(_, container)| text(container, "name") != INIT_CONTAINER)
    }

    fn init_container(&self, name: &str) -> Option<&'v Value> {
        self.init_containers().iter().find(|container| text(container, "name") == name)
    }

    /// The platform's init container, which some kinds of runner do not have.
    pub fn hydrate(&self) -> Option<&'v Value> {
        self.init_container(HYDRATE_CONTAINER)
    }

    /// A container of our name.
    pub fn ours(&self) -> Option<&'v Value> {
        self.init_container(INIT_CONTAINER)
    }
}
