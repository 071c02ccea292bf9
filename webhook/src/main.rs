use std::process::ExitCode;

fn main() -> ExitCode {
    workflow_injector::cli::run()
}
