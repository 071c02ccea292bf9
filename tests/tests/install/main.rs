//! Installation, checks, operation and removal. All modules but `issuers_on_node` run on an API server of the process.

mod alerts;
mod alerts_fire;
mod at_once;
mod check;
mod dashboard;
mod docs;
mod freeze_running;
mod installation;
mod issuer;
mod issuers;
mod issuers_on_node;
mod live_delivery;
mod manifests;
mod operate;
mod plugin;
mod prometheus;
mod readiness;
mod removal;
mod rights;
mod service_ca;
mod sessions;
mod signing;
mod steps;
mod validate_sessions;
