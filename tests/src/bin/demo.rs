//! `make demo`: the injector's main job on a real cluster. See `workflow_tests::demo`.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use workflow_tests::demo::{DemoArgs, run};

/// Shows what workflow-injector does, on the cluster of `make cluster-up` or, with CLUSTER=current, on your own.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    source: DemoArgs,
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = Box::pin(run(Args::parse().source, &mut io::stdout())).await;
    result.map_or_else(
        |error| {
            // Nothing can be done if this fails, too.
            let _ = writeln!(io::stderr(), "demo: {error:#}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}
