//! The parts of a pod that the files here look at.

use workflow_contract::names::{HYDRATE_CONTAINER, INIT_CONTAINER, RUNNER_CONTAINER};

use super::environment::Entries;
use json_index::Json;

/// A session pod: it has a runner.
#[derive(Debug)]
pub struct Pod<'v> {
    /// `metadata`.
    pub metadata: Json<'v>,
    /// `spec`.
    pub spec: Json<'v>,
    /// `spec.initContainers`, empty where absent.
    pub init_containers: Vec<Container<'v>>,
    /// Where the runner stands among the containers.
    pub runner_index: usize,
    /// The runner.
    pub runner: Container<'v>,
    /// Where a container of our name stands among the init containers.
    pub ours_index: Option<usize>,
}

/// A container, with what is looked at again and again.
#[derive(Debug)]
pub struct Container<'v> {
    /// All of it.
    pub json: Json<'v>,
    /// Its name.
    pub name: &'v str,
    /// Its `env`.
    pub env: Entries<'v>,
}

impl<'v> Container<'v> {
    fn read(json: Json<'v>) -> Self {
        Self { json, name: json.text("name"), env: Entries::of(json) }
    }
}

impl<'v> Pod<'v> {
    /// None where there is no runner.
    pub fn new(pod: Json<'v>) -> Option<Self> {
        let spec = pod.get("spec");
        let mut containers = spec.get("containers").items().enumerate();
        let (runner_index, runner) = containers.find(|(_, one)| one.text("name") == RUNNER_CONTAINER)?;
        let init_containers: Vec<_> = spec.get("initContainers").items().map(Container::read).collect();
        let ours_index = init_containers.iter().position(|container| container.name == INIT_CONTAINER);
        let (metadata, runner) = (pod.get("metadata"), Container::read(runner));
        Some(Self { metadata, spec, init_containers, runner_index, runner, ours_index })
    }

    /// The platform's init container; some kinds of runner have none.
    pub fn hydrate(&self) -> Option<&Container<'v>> {
        self.init_containers.iter().find(|container| container.name == HYDRATE_CONTAINER)
    }
}
