//! The harness of the end-to-end tests and the demo.
//!
//! ```text
//!  cluster ── namespace ──┬── operator (fake): session -> Secret, pod, Service
//!                         ├── git server (crate workflow-git-server), trusted by the session pods
//!                         └── env: all of these together
//!  api_server: an API server and nothing else ── manual_operator: operator and kubelet, step by step
//!                                             ├─ controllers: delete as Kubernetes does
//!                                             ├─ cert_manager: its controllers and cainjector
//!                                             └─ released: the program as a process ── endpoints of its Service
//!  session: written by tests, read by everything    wait: until an object reaches an expected state
//!  runner: the record of the runner (crate session-runner) at its first instruction
//!  load: fifty session pods a second                disruption: of an installed injector
//!  session_pool: sessions during disruptions        chaos: load, sessions and disruptions at once
//!  dry_runs: one pod again and again
//! ```
//!
//! Tests are in `tests/`, a directory or file for each family. Those that need a cluster use the one of `make test`, where
//! other people's objects and pods may exist. Nothing here depends on how the injector is implemented: tests assert on
//! what the platform and the runner observe.

pub use fake_operator as operator;
pub use fake_operator::session;

pub mod api_server;
pub mod background;
pub mod bench_status;
pub mod cert_manager;
pub mod chaos;
pub mod cluster;
pub mod controllers;
pub mod delivered;
pub mod demo;
pub mod disruption;
pub mod dry_runs;
mod dump;
pub mod endpoints;
pub mod env;
pub mod fault_proxy;
pub mod faults;
pub mod holding_proxy;
pub mod images;
pub mod installed;
pub mod installer;
pub mod kubelet;
pub mod live_delivery;
pub mod load;
pub mod manifests;
pub mod manual_operator;
pub mod memory;
pub mod namespace;
pub mod released;
pub mod runner;
pub mod session_pool;
pub mod signing;
pub mod wait;
