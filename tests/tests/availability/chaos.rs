//! A minute of what `make chaos` does for ten.

use std::time::{Duration, UNIX_EPOCH};

use workflow_tests::chaos::{ChaosPlan, run};
use workflow_tests::namespace::with_namespace;

use crate::TURN;

#[tokio::test(flavor = "multi_thread")]
async fn survives_a_minute_of_random_disruptions() {
    with_namespace(|namespace| async move {
        let _turn = TURN.lock().await;
        let seed = UNIX_EPOCH.elapsed()?.as_secs();
        let report = Box::pin(run(namespace, ChaosPlan { seed, length: Duration::from_mins(1) })).await?;
        println!("{report}");
        let violations = report.violations();
        anyhow::ensure!(violations.is_empty(), "{report}\n{}", violations.join("\n"));
        Ok(())
    })
    .await;
}
