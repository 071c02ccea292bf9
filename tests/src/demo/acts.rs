//! The three parts of the demo.

use std::fmt;

use anyhow::bail;
use session_runner::{FileEntry, FileKind, Record};
use tokio::time::Instant;
use workflow_contract::RepoUrl;
use workflow_contract::reference;
use workflow_git_server::GitServer;

use crate::env::TestEnv;
use crate::operator::UPDATE_FAILED;
use crate::session::{Phase, SessionBuilder, SessionView};

use super::follow::follow;
use super::screen::Screen;

pub(super) const OLD_WAY: &str = "old-way";
pub(super) const DELIVERED: &str = "delivered";
pub(super) const MISSPELT: &str = "misspelt";

/// Limit of printed files.
const SHOWN: usize = 12;

/// The workflow of all three sessions.
pub(super) struct DemoWorkflow {
    pub(super) url: String,
    pub(super) branch: String,
    pub(super) path: String,
}

impl DemoWorkflow {
    fn session(&self, name: &str, branch: &str) -> SessionBuilder {
        let session = SessionBuilder::new(name);
        if self.path.is_empty() {
            session.workflow(&self.url, branch)
        } else {
            session.workflow_path(&self.url, branch, &self.path)
        }
    }

    fn branch(&self) -> &str {
        reference::or_default(&self.branch)
    }
}

impl fmt::Display for DemoWorkflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        workflow_contract::Source::new(&self.url, &self.branch, &self.path).fmt(f)
    }
}

/// A small workflow on the demo's own git server.
pub(super) fn own_workflow(git: &GitServer) -> anyhow::Result<DemoWorkflow> {
    let repository = git
        .repository("acme/support-triage")
        .file("README.md", "# Support triage\n\nSorts what comes in.\n")
        .file("prompts/system.md", "You sort support requests by urgency.\n")
        .file(".ambient/ambient.json", "{ \"name\": \"Support triage\" }\n")
        .executable("scripts/summary.sh", "#!/bin/sh\nls prompts\n")
        .create()?;
    Ok(DemoWorkflow { url: repository.url().to_owned(), branch: "main".to_owned(), path: String::new() })
}

/// (a) The platform POSTs the workflow to a runner that does not exist yet.
pub(super) async fn without_the_injector(
    env: &TestEnv,
    workflow: &DemoWorkflow,
    screen: &mut Screen<'_>,
) -> anyhow::Result<()> {
    screen.heading("(a) Without the injector: the platform POSTs the workflow before there is a runner")?;
    let began = Instant::now();
    env.create(workflow.session(OLD_WAY, workflow.branch()).without_injection()).await?;
    screen.at(began.elapsed(), &format!("session {OLD_WAY} is created"))?;
    let scene = follow(env, OLD_WAY, began, "the runner", screen, |scene| {
        scene.session.as_ref().and_then(SessionView::phase) == Some(Phase::Running)
    })
    .await?;
    let record = env.runner(OLD_WAY).record().await?;
    print_listing(&record, workflow, screen)?;
    let condition = scene.session.and_then(|session| session.workflow_reconciled()).unwrap_or_default();
    if condition.reason != UPDATE_FAILED || record.files.is_some() {
        bail!("the failure was not reproduced: session {OLD_WAY} has its workflow, or another condition");
    }
    screen.line("-> The session runs without its workflow. Nothing is retried.")?;
    Ok(())
}

/// (b) The same session, whose pod fetches the workflow.
pub(super) async fn with_the_injector(
    env: &TestEnv,
    workflow: &DemoWorkflow,
    screen: &mut Screen<'_>,
) -> anyhow::Result<()> {
    screen.heading("(b) The same session with the injector")?;
    let began = Instant::now();
    env.create(workflow.session(DELIVERED, workflow.branch())).await?;
    screen.at(began.elapsed(), &format!("session {DELIVERED} is created"))?;
    let scene = follow(env, DELIVERED, began, "the workflow and the runner", screen, |scene| {
        let Some(session) = &scene.session else { return false };
        let settled = session.workflow_reconciled().is_some_and(|condition| condition.status != "Unknown");
        session.phase() == Some(Phase::Failed) && settled
            || session.phase() == Some(Phase::Running) && settled && scene.runs()
    })
    .await?;
    let condition = scene.session.and_then(|session| session.workflow_reconciled()).unwrap_or_default();
    if condition.status != "True" {
        bail!("{workflow} was not delivered: {}: {}", condition.reason, condition.message);
    }
    let runner = env.runner(DELIVERED);
    print_listing(&runner.record().await?, workflow, screen)?;
    let posts = runner.posts().await?.len();
    screen.line(&format!("POSTs that the runner has received: {posts}"))?;
    screen.line("-> The runner started with its workflow on disk, and the condition names the commit.")?;
    Ok(())
}

/// (c) A mistake of the user, reported on the session.
pub(super) async fn a_misspelt_branch(
    env: &TestEnv,
    workflow: &DemoWorkflow,
    screen: &mut Screen<'_>,
) -> anyhow::Result<()> {
    let branch = misspell(workflow.branch());
    screen.heading(&format!("(c) A misspelt branch: {branch}"))?;
    let began = Instant::now();
    env.create(workflow.session(MISSPELT, &branch)).await?;
    screen.at(began.elapsed(), &format!("session {MISSPELT} is created"))?;
    let scene = follow(env, MISSPELT, began, "the failure", screen, |scene| {
        let Some(session) = &scene.session else { return false };
        let settled = session.workflow_reconciled().is_some_and(|condition| condition.status != "Unknown");
        let ended = matches!(session.phase(), Some(Phase::Failed | Phase::Running));
        settled && ended
    })
    .await?;
    let Some(session) = scene.session else { bail!("session {MISSPELT} is gone") };
    if session.phase() != Some(Phase::Failed) || session.condition("RunnerStarted").is_some() {
        bail!("the runner of session {MISSPELT} ran although its workflow is missing");
    }
    screen.line("-> The runner never started, and the condition names the remedy.")?;
    Ok(())
}

/// Prints the workflow's directory as the runner found it at its first instruction.
fn print_listing(record: &Record, workflow: &DemoWorkflow, screen: &mut Screen<'_>) -> anyhow::Result<()> {
    let directory = RepoUrl::parse(&workflow.url).map(|url| url.name().to_owned()).unwrap_or_default();
    let prefix = format!("{directory}/");
    let lines: Vec<String> = record
        .files
        .iter()
        .flatten()
        .filter_map(|entry| Some((entry.path.strip_prefix(&prefix)?, entry)))
        .filter(|(path, _)| !path.starts_with(".git/"))
        .map(|(path, entry)| line(path, entry))
        .collect();
    screen.line(&format!("/workspace/workflows/{directory} at the runner's first instruction:"))?;
    if lines.is_empty() {
        screen.line("  no such directory")?;
    }
    for line in lines.iter().take(SHOWN) {
        screen.line(&format!("  {line}"))?;
    }
    if lines.len() > SHOWN {
        screen.line(&format!("  … and {} more", lines.len() - SHOWN))?;
    }
    Ok(())
}

fn line(path: &str, entry: &FileEntry) -> String {
    let sign = if entry.kind == FileKind::Directory { "/" } else { "" };
    format!("{:04o} {:>8} {path}{sign}", entry.mode, entry.size)
}

/// Swaps two letters of a branch's name.
fn misspell(branch: &str) -> String {
    let mut letters: Vec<char> = branch.chars().collect();
    let swap = (1..letters.len().saturating_sub(1)).find(|&at| letters[at] != letters[at + 1]);
    match swap {
        Some(at) => letters.swap(at, at + 1),
        None => letters.push('x'),
    }
    letters.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspells_a_branch() {
        for (branch, misspelt) in [("main", "mian"), ("dev", "dve"), ("a", "ax"), ("aaa", "aaax"), ("", "x")]
        {
            assert_eq!(misspell(branch), misspelt);
        }
    }
}
