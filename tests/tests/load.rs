//! The load counts what really happens: it would not call an installation available that is not.
//!
//! On an API server of the test's own, with the injector's admission in this process.

mod admission;

use admission::Stage;
use workflow_tests::load::during;

#[tokio::test(flavor = "multi_thread")]
async fn without_an_injector_session_pods_are_counted_as_refused_and_others_as_created() -> anyhow::Result<()>
{
    let stage = Stage::set("load-refused").await?;
    let injector = stage.injector().await?;
    let story = during(&stage.namespace, async {
        drop(injector);
        Ok(())
    })
    .await?;
    assert_eq!(story.wrong(), Vec::<String>::new());
    assert!(story.sessions.injected >= 100 && !story.sessions.refused.is_empty(), "{story}");
    let answered = story.sessions.injected + story.sessions.refused.len();
    assert_eq!((answered, story.others.created()), (story.sessions.asked, story.others.asked), "{story}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_registration_every_session_pod_is_counted_as_not_injected() -> anyhow::Result<()> {
    let stage = Stage::set("load-bare").await?;
    let story = during(&stage.namespace, async { Ok(()) }).await?;
    assert_eq!(
        (story.sessions.bare.len(), story.wrong().len()),
        (story.sessions.asked, story.sessions.asked)
    );
    assert_eq!(story.others.created(), story.others.asked, "{story}");
    Ok(())
}
