//! `make demo`: the injector's main job, told on a real cluster. See `workflow_tests::demo`.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use workflow_tests::demo::{Source, run};

/// Shows what workflow-injector does, on the cluster of `make cluster-up` or, with CLUSTER=current, on your own.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    source: Source,
}

#[tokio::main]
async fn main() -> ExitCode {
    let told = run(Args::parse().source, &mut io::stdout()).await;
    told.map_or_else(
        |error| {
            // Nobody is left to tell if this fails too.
            let _ = writeln!(io::stderr(), "demo: {error:#}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}
