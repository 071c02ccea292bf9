//! The load detects an installation that is not available. Runs on an API server of its own, with the injector's
//! admission in this process.

mod admission;

use admission::Stage;
use workflow_tests::load::during;

#[tokio::test(flavor = "multi_thread")]
async fn counts_session_pods_as_denied_without_an_injector() -> anyhow::Result<()> {
    let stage = Stage::set("load-refused").await?;
    let injector = stage.injector().await?;
    let report = during(&stage.namespace, async {
        drop(injector);
        Ok(())
    })
    .await?;
    assert_eq!(report.violations(), Vec::<String>::new());
    assert!(report.sessions.injected >= 100 && !report.sessions.denied.is_empty(), "{report}");
    let answered = report.sessions.injected + report.sessions.denied.len();
    assert_eq!(
        (answered, report.others.created()),
        (report.sessions.requested, report.others.requested),
        "{report}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_session_pods_as_not_injected_without_a_registration() -> anyhow::Result<()> {
    let stage = Stage::set("load-bare").await?;
    let report = during(&stage.namespace, async { Ok(()) }).await?;
    assert_eq!(
        (report.sessions.not_injected.len(), report.violations().len()),
        (report.sessions.requested, report.sessions.requested)
    );
    assert_eq!(report.others.created(), report.others.requested, "{report}");
    Ok(())
}
