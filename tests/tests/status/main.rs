//! The status controller on an API server without nodes. One test runs at a time: the controller watches all namespaces.

mod both_writers;
mod env;
mod explain;
mod fake_operator;
mod faults;
mod history;
mod missing_crd;
mod outcomes;
mod rows;
mod with_operator;
mod writers;
