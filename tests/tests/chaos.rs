//! A minute of what `make chaos` does for ten: everything at random, and nothing is lost that need not be.

use std::time::{Duration, UNIX_EPOCH};

use workflow_tests::chaos::{Plan, run};
use workflow_tests::namespace::with_namespace;

#[tokio::test(flavor = "multi_thread")]
async fn a_minute_of_chaos_ends_with_every_session_as_it_should_be() {
    with_namespace(|namespace| async move {
        let seed = UNIX_EPOCH.elapsed()?.as_secs();
        let report = Box::pin(run(namespace, Plan { seed, length: Duration::from_mins(1) })).await?;
        println!("{report}");
        let wrong = report.wrong();
        anyhow::ensure!(wrong.is_empty(), "{report}\n{}", wrong.join("\n"));
        Ok(())
    })
    .await;
}
