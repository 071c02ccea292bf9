//! The part of the demo about signatures.

use anyhow::bail;
use tokio::time::Instant;

use crate::env::TestEnv;
use crate::installed::Installed;
use crate::session::{Condition, Phase, SessionBuilder, SessionView};
use crate::signing::SigningKey;

use super::follow::follow;
use super::screen::Screen;

const UNSIGNED: &str = "unsigned";
const SIGNED: &str = "signed";

/// (d) A repository whose commits must be signed, before and after its author signs one.
pub(super) async fn a_signed_workflow(env: &TestEnv, screen: &mut Screen<'_>) -> anyhow::Result<()> {
    screen.heading("(d) Only signed workflows")?;
    let repository = env.git.repository("signed/triage").file("README.md", "# Triage\n").create()?;
    let key = SigningKey::new()?;
    let rule = format!(
        "verify:\n  - repositories: [\"{}\"]\n    require: commit\n    sshSigners: |\n      {}\n",
        env.git.url("signed/*"),
        key.allowed_as("alice@example.com")?,
    );
    let installed = Installed::in_cluster(&env.namespace.cluster.client);
    installed
        .put_back_after(async |config| {
            screen.line("config.yaml, for as long as this takes (a rollout, some seconds):")?;
            for line in rule.lines() {
                screen.line(&format!("  {line}"))?;
            }
            installed.configure(&format!("{}\n{rule}", config.trim_end())).await?;
            let denied = outcome(env, UNSIGNED, repository.url(), screen).await?;
            if denied.reason != "SignatureNotTrusted" {
                bail!("an unsigned workflow was not denied: {denied}");
            }
            key.sign(&repository, "main")?;
            screen.line("its author signs the commit: git commit --amend -S")?;
            let delivered = outcome(env, SIGNED, repository.url(), screen).await?;
            if delivered.status != "True" || !delivered.message.contains("signed by alice@example.com") {
                bail!("a signed workflow was not delivered: {delivered}");
            }
            Ok(())
        })
        .await?;
    screen.line("-> Nothing that was not signed by a listed key has reached a runner.")?;
    Ok(())
}

/// Creates a session and follows it to its end or to its runner; returns its condition.
async fn outcome(env: &TestEnv, name: &str, url: &str, screen: &mut Screen<'_>) -> anyhow::Result<Condition> {
    let began = Instant::now();
    env.create(SessionBuilder::new(name).workflow(url, "main")).await?;
    screen.at(began.elapsed(), &format!("session {name} is created"))?;
    let scene = follow(env, name, began, "the outcome", screen, |scene| {
        let Some(session) = &scene.session else { return false };
        let settled = session.workflow_reconciled().is_some_and(|condition| condition.status != "Unknown");
        settled && matches!(session.phase(), Some(Phase::Failed | Phase::Running))
    })
    .await?;
    Ok(scene.session.and_then(|session| session.workflow_reconciled()).unwrap_or_default())
}
