//! The workflow is on disk before the runner's first instruction, and the session's condition reports it.

use std::process::Command;

use workflow_contract::names::{HYDRATE_CONTAINER, INIT_CONTAINER};
use workflow_tests::delivered::{self, expected, found, has_git_directory};
use workflow_tests::env::TestEnv;
use workflow_tests::manifests::Kubectl;
use workflow_tests::namespace::with_namespace;
use workflow_tests::operator::Mode;
use workflow_tests::session::{SessionBuilder, SessionView};

use crate::runs_with_its_workflow;

#[tokio::test]
async fn delivers_a_repository_before_the_runner_starts() {
    with_namespace(|namespace| async move {
        let env = TestEnv::new(namespace, Mode::PostRunning).await?;
        let repository = env
            .git
            .repository("acme/flow")
            .file("README.md", "# Flow\n")
            .file("prompts/system prompt.md", "Be kind.\n")
            .executable("bin/run.sh", "#!/bin/sh\n")
            .symlink("latest", "prompts")
            .create()?;
        env.create(SessionBuilder::new("s").workflow(repository.url(), "main")).await?;
        let session = env.session_until("s", "the workflow", runs_with_its_workflow).await?;

        let record = env.runner("s").record().await?;
        assert_eq!(found(&record, "flow"), Some(expected(&repository, "main")?));
        assert_eq!(record.values["ACTIVE_WORKFLOW_GIT_URL"], repository.url());
        assert_eq!(record.values.get("IS_RESUME"), None);

        let commit = repository.commit("main")?;
        let condition = session.workflow_reconciled().unwrap();
        assert_eq!(condition.reason, "Reconciled");
        assert!(condition.message.contains(&commit), "{}", condition.message);
        assert_eq!(condition.observed_generation, session.metadata.generation);
        let reconciled = session.reconciled_workflow().unwrap();
        assert_eq!(
            [reconciled.git_url.as_str(), &reconciled.branch, &reconciled.path, &reconciled.status],
            [repository.url(), "main", "", "Active"]
        );

        // The delivered .git works for a plain git.
        let copy = tempfile::tempdir()?;
        delivered::copy(&env.runner("s"), &record, "flow", copy.path()).await?;
        let git = |args: &[&str]| {
            let output = Command::new("git")
                .arg("-C")
                .arg(copy.path())
                .args(args)
                .env("GIT_CONFIG_GLOBAL", "/dev/null")
                .env("GIT_CONFIG_NOSYSTEM", "1")
                .output()
                .unwrap();
            assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        assert_eq!(git(&["rev-parse", "HEAD"]).trim(), commit);
        // Our copy's umask is not the runner's: modes were compared above.
        assert_eq!(git(&["-c", "core.fileMode=false", "status", "--porcelain"]), "");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn delivers_a_directory_without_git() {
    with_namespace(|namespace| async move {
        let env = TestEnv::new(namespace, Mode::PostRunning).await?;
        let repository = env
            .git
            .repository("acme/flows")
            .file("README.md", "not delivered\n")
            .file("triage/prompt.md", "Sort.\n")
            .executable("triage/bin/sort.sh", "#!/bin/sh\n")
            .branch("dev")
            .file("triage/dev.md", "only here\n")
            .create()?;
        env.create(SessionBuilder::new("s").workflow_path(repository.url(), "dev", "/triage/")).await?;
        let session = env.session_until("s", "the workflow", runs_with_its_workflow).await?;

        let record = env.runner("s").record().await?;
        assert_eq!(found(&record, "flows"), Some(expected(&repository, "dev:triage")?));
        assert!(!has_git_directory(&record, "flows"));
        // Byte for byte as in the spec, so that the platform detects no drift.
        let reconciled = session.reconciled_workflow().unwrap();
        assert_eq!([reconciled.branch.as_str(), &reconciled.path], ["dev", "/triage/"]);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn links_the_directory_that_the_runner_derives_from_a_nested_repository() {
    with_namespace(|namespace| async move {
        let env = TestEnv::new(namespace, Mode::Plain).await?;
        let repository = env.git.repository("group/sub/flow").file("README.md", "# Flow\n").create()?;
        env.create(SessionBuilder::new("s").workflow(repository.url(), "main")).await?;
        env.session_until("s", "the workflow", runs_with_its_workflow).await?;

        let record = env.runner("s").record().await?;
        let files = record.files.clone().unwrap_or_default();
        let link = files.iter().find(|entry| entry.path == "sub").and_then(|entry| entry.text.clone());
        assert_eq!(link.as_deref(), Some("flow"));
        assert_eq!(found(&record, "flow"), Some(expected(&repository, "main")?));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn fetches_in_the_last_init_container() {
    with_namespace(|namespace| async move {
        let env = TestEnv::new(namespace, Mode::Plain).await?;
        let repository = env.git.repository("acme/flow").file("README.md", "# Flow\n").create()?;
        env.create(SessionBuilder::new("s").workflow(repository.url(), "main")).await?;
        env.session_until("s", "the workflow", runs_with_its_workflow).await?;

        let pod = env.pod("s").await?;
        let spec = pod.spec.unwrap();
        let names: Vec<_> =
            spec.init_containers.iter().flatten().map(|container| container.name.as_str()).collect();
        // Webhooks of others may add containers of their own.
        assert_eq!(names.last(), Some(&INIT_CONTAINER));
        assert!(names.contains(&HYDRATE_CONTAINER), "{names:?}");
        let statuses = pod.status.unwrap().init_container_statuses.unwrap();
        let ours = statuses.iter().find(|status| status.name == INIT_CONTAINER).unwrap();
        let ended = ours.state.as_ref().unwrap().terminated.as_ref().unwrap();
        assert_eq!(ended.exit_code, 0);
        let logs = ["-n", &env.namespace.name, "logs", "s-runner", "-c", INIT_CONTAINER];
        assert!(!Kubectl::local().run(&logs, None)?.is_empty());
        Ok(())
    })
    .await;
}
