//! Only signed workflows are delivered where config.yaml demands it; a change of it holds for the next pod.

use workflow_tests::env::TestEnv;
use workflow_tests::installed::Installed;
use workflow_tests::namespace::with_namespace;
use workflow_tests::operator::Mode;
use workflow_tests::session::{Phase, SessionBuilder, SessionView};
use workflow_tests::signing::SigningKey;

use crate::TURN;

#[tokio::test]
async fn delivers_only_what_a_listed_key_has_signed_until_the_policy_changes() {
    with_namespace(|namespace| async move {
        let _turn = TURN.lock().await;
        let installed = Installed::in_cluster(&namespace.cluster.client);
        let env = TestEnv::new(namespace, Mode::PostRunning).await?;
        let (alice, mallory) = (SigningKey::new()?, SigningKey::new()?);
        let repository =
            |name: &str| env.git.repository(&format!("signed/{name}")).file("README.md", "x\n").create();
        let (unsigned, stranger, signed) =
            (repository("unsigned")?, repository("stranger")?, repository("signed")?);
        mallory.sign(&stranger, "main")?;
        let commit = alice.sign(&signed, "main")?;
        let rule = format!(
            "verify:\n  - repositories: [\"{}\"]\n    require: commit\n    sshSigners: |\n      {}\n",
            env.git.url("signed/*"),
            alice.allowed_as("alice@example.com")?,
        );
        installed
            .put_back_after(async |config| {
                installed.configure(&format!("{}\n{rule}", config.trim_end())).await?;
                for repository in [&unsigned, &stranger, &signed] {
                    let name = repository.url().rsplit('/').next().and_then(|name| name.strip_suffix(".git"));
                    let session = SessionBuilder::new(name.unwrap_or_default());
                    env.create(session.workflow(repository.url(), "main")).await?;
                }
                for (name, words) in
                    [("unsigned", "is not signed"), ("stranger", "signed by the unknown ED25519 key")]
                {
                    let session = env.until_reason(name, "SignatureNotTrusted").await?;
                    let message = session.workflow_reconciled().unwrap_or_default().message;
                    assert!(message.contains(words), "{message}");
                    let is_failed = |session: &_| SessionView::phase(session) == Some(Phase::Failed);
                    let session = env.session_until(name, "its failure", is_failed).await?;
                    assert_eq!(session.condition("RunnerStarted"), None, "the runner ran");
                }
                let session = env.until_reason("signed", "Reconciled").await?;
                let message = session.workflow_reconciled().unwrap_or_default().message;
                let expected = format!(
                    "delivered {commit} (main) to /workspace/workflows/signed, \
                     signed by alice@example.com (ED25519 key SHA256:"
                );
                assert!(message.starts_with(&expected), "{message}");
                Ok(())
            })
            .await?;
        env.create(SessionBuilder::new("later").workflow(unsigned.url(), "main")).await?;
        env.until_reason("later", "Reconciled").await?;
        Ok(())
    })
    .await;
}
