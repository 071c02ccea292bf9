//! Admission by a real API server. All modules but `untouched` run on an API server of the process, with the injector's
//! admission in this process; `untouched` uses the cluster and the installed injector.

mod api_server;
mod blast_radius;
mod client_ca;
mod common;
mod cut_off;
mod untouched;
