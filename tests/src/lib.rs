//! What the end-to-end tests and the demo are made of.
//!
//! ```text
//!  cluster ── namespace ──┬── operator (stand-in): session -> Secret, pod, Service
//!                         ├── git server (crate workflow-git-server), trusted by the session pods
//!                         └── stage: all of these together
//!  api_server: an API server and nothing else ── driver: plays operator and kubelet there
//!                                             ├─ controllers: deletes there as Kubernetes does
//!                                             └─ released: the program as a process ── endpoints: the Service's
//!  session: written by tests, read by everyone      wait: until an object is as expected
//!  runner: what the runner (crate session-runner) found at its first instruction
//!  load: fifty session pods a second     upheaval: what is done to an installed injector meanwhile
//!  dry_runs: one pod again and again     chaos: load, sessions and upheavals at once
//! ```
//!
//! Tests are in `tests/`, one file for each family; they need a cluster, which `make test` brings up. Nothing here may
//! know how the injector does its work: it is judged by what the platform and the runner see.

pub mod api_server;
pub mod bench_status;
pub mod chaos;
pub mod cluster;
pub mod controllers;
pub mod delivered;
pub mod demo;
pub mod desk;
pub mod driver;
pub mod dry_runs;
mod dump;
pub mod endpoints;
pub mod faults;
pub mod gate;
pub mod images;
pub mod installed;
pub mod installer;
pub mod kubelet;
pub mod load;
pub mod lobby;
pub mod manifests;
pub mod memory;
pub mod namespace;
pub mod operator;
pub mod released;
pub mod runner;
pub mod session;
pub mod stage;
pub mod upheaval;
pub mod wait;
