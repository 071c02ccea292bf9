//! The parts of a pod that the files here look at.

use workflow_contract::names::{HYDRATE_CONTAINER, INIT_CONTAINER, RUNNER_CONTAINER};

use crate::admit::json::{self, Json};

/// A session pod: it has a runner.
#[derive(Debug)]
pub struct Pod<'v, 'a> {
    /// `metadata`.
    pub metadata: &'v Json<'a>,
    /// `spec`.
    pub spec: &'v Json<'a>,
    /// `spec.initContainers`, empty where absent.
    pub init_containers: &'v [Json<'a>],
    /// Where the runner stands among the containers.
    pub runner_index: usize,
    /// The runner.
    pub runner: &'v Json<'a>,
    /// The platform's init container; some kinds of runner have none.
    pub hydrate: Option<&'v Json<'a>>,
    /// Where a container of our name stands among the init containers.
    pub ours_index: Option<usize>,
}

impl<'v, 'a> Pod<'v, 'a> {
    /// None where there is no runner.
    pub fn new(pod: &'v Json<'a>) -> Option<Self> {
        let spec = json::get(pod, "spec");
        let containers = json::list(spec, "containers");
        let init_containers = json::list(spec, "initContainers");
        let runner_index = json::position(containers, RUNNER_CONTAINER)?;
        Some(Self {
            metadata: json::get(pod, "metadata"),
            spec,
            init_containers,
            runner_index,
            runner: &containers[runner_index],
            hydrate: json::position(init_containers, HYDRATE_CONTAINER).map(|at| &init_containers[at]),
            ours_index: json::position(init_containers, INIT_CONTAINER),
        })
    }
}
