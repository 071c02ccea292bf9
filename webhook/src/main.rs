//! Entry point, see [`workflow_injector::args`].

use std::process::ExitCode;

fn main() -> ExitCode {
    workflow_injector::args::run()
}
