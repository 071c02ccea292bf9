//! Runs the commands of `docs/operate.md` on an API server of the process, or names the test that runs them: a new command
//! fails this test until it has a row in the table below.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams};
use workflow_contract::names::{CREDENTIALS_SECRET, INJECTOR};
use workflow_git_server::SshServer;
use workflow_tests::api_server;
use workflow_tests::controllers;
use workflow_tests::manual_operator::ManualOperator;
use workflow_tests::namespace::TestNamespace;
use workflow_tests::session::SessionBuilder;
use workflow_tests::wait::{self, TIMEOUT};

use crate::installation::{CHECKOUT, Installation, admin_kubeconfig};

const GUIDE: &str = include_str!("../../../docs/operate.md");

/// The test of a command.
#[derive(Clone, Copy)]
enum Run {
    /// In this file, with other values for the words in capitals.
    Here,
    /// In this file, which contains this text.
    In(&'static str, &'static str),
    /// None, for this reason.
    Untested(&'static str),
}

const CONDITION: &str =
    r#"kubectl get agenticsession NAME -o jsonpath='{.status.conditions[?(@.type=="WorkflowReconciled")]}'"#;
const DESCRIBE: &str = "kubectl describe pod NAME-runner";
const CHECK: &str = "make check CLUSTER=current";
const UNINSTALL: &str = "make uninstall CLUSTER=current";
const KEYSCAN: &str = "ssh-keyscan -p 22 git.example.com >known_hosts";
const SECRET: &str = "kubectl -n NAMESPACE create secret generic workflow-credentials \
                      --from-file=ssh-privatekey=id_ed25519 --from-file=known_hosts=known_hosts";

const SIGNING: &str = "tests/tests/install/signing.rs";

/// Every command of the guide.
const COMMANDS: &[(&str, Run)] = &[
    (CHECK, Run::Here),
    (UNINSTALL, Run::Here),
    (KEYSCAN, Run::Here),
    (SECRET, Run::Here),
    (CONDITION, Run::Here),
    (DESCRIBE, Run::Here),
    (
        "ssh-keygen -t ed25519 -C alice@example.com -f ~/.ssh/signing_key",
        Run::In(SIGNING, "ssh-keygen -t ed25519 -C alice@example.com -f ~/.ssh/signing_key"),
    ),
    ("git config gpg.format ssh", Run::In(SIGNING, "git config gpg.format ssh")),
    (
        "git config user.signingkey ~/.ssh/signing_key",
        Run::In(SIGNING, "git config user.signingkey ~/.ssh/signing_key"),
    ),
    ("git commit --amend --no-edit -S", Run::In(SIGNING, "git commit --amend --no-edit -S")),
    ("git push --force-with-lease", Run::In(SIGNING, "git push --force-with-lease")),
    (
        "kubectl apply --server-side -f install.yaml",
        Run::In("tests/tests/install/at_once.rs", r#"&["apply", "--server-side""#),
    ),
    (
        "kubectl -n workflow-injector rollout status deployment/workflow-injector",
        Run::In("manifests/install", "rollout status deployment/workflow-injector"),
    ),
    ("workflow-injector check", Run::In("manifests/install", r#""$program" check"#)),
    ("kubectl replace", Run::In("tests/tests/install/at_once.rs", r#"&["replace"]"#)),
    ("kubectl delete -f install.yaml", Run::In("tests/tests/install/at_once.rs", r#"&["delete""#)),
    ("kubectl drain", Run::In("tests/tests/availability/disruptions.rs", "eviction_loses_no_request")),
    (
        "kubectl -n workflow-injector create secret generic workflow-injector-client-ca --from-file=ca.crt",
        Run::Untested("client_ca.rs of the family `admission` passes --client-ca to the program itself"),
    ),
    (
        "kubectl -n workflow-injector patch deployment workflow-injector --type=json --patch-file=client-ca.json",
        Run::Untested("the API server of the node has no client certificate; see the command before"),
    ),
    ("make build", Run::In("tests/cluster/images", "\"$checkout/tests/cluster/programs\"")),
    ("make install CLUSTER=current", Run::In("Makefile", "e2e: images install")),
    (
        "make images CLUSTER=current IMAGE_REGISTRY=registry.example.com/team",
        Run::Untested("there is no registry; without one, `make e2e` runs it"),
    ),
    (
        "make images install CLUSTER=current IMAGE_REGISTRY=registry.example.com/team",
        Run::Untested(
            "there is no registry; tests/tests/availability/upgrade.rs does the same on a node without one",
        ),
    ),
    (
        "kubectl -n workflow-injector rollout undo deployment/workflow-injector",
        Run::In(
            "tests/tests/availability/upgrade.rs",
            r#""rollout", "undo", "deployment/workflow-injector""#,
        ),
    ),
    (
        "make install CLUSTER=current WITH=host-network",
        Run::In("tests/tests/availability/host_network.rs", r#"installer.install_with("host-network")"#),
    ),
    (
        "make install CLUSTER=current OVERLAY=cert-manager",
        Run::In("tests/tests/install/issuers_on_node.rs", r#"[("OVERLAY", "cert-manager"),"#),
    ),
    (
        "kubectl -n workflow-injector get certificates",
        Run::In("tests/tests/install/issuers.rs", r#"["-n", INJECTOR, "get", "certificates"]"#),
    ),
    (
        "make uninstall CLUSTER=current OVERLAY=cert-manager",
        Run::In(
            "tests/tests/install/issuers_on_node.rs",
            r#"script("uninstall", &environment[..1], nothing)"#,
        ),
    ),
    (
        "kubectl apply -k manifests/overlays/monitoring",
        Run::In("tests/tests/install/issuers_on_node.rs", r#"("WITH", "monitoring freeze-running")"#),
    ),
    (
        "kubectl apply -k manifests/components/freeze-running",
        Run::In("tests/tests/install/issuers_on_node.rs", r#"("WITH", "monitoring freeze-running")"#),
    ),
    (
        "make install WITH=live-delivery",
        Run::In("tests/tests/install/live_delivery.rs", r#"render("components/live-delivery")"#),
    ),
    (
        "kubectl apply -k manifests/components/live-delivery",
        Run::In("tests/tests/install/live_delivery.rs", r#"render("components/live-delivery")"#),
    ),
    (
        "kubectl delete -k manifests/components/live-delivery",
        Run::In(
            "manifests/uninstall",
            "kubectl delete --ignore-not-found -k manifests/components/live-delivery",
        ),
    ),
    (
        "kubectl delete -k manifests/components/freeze-running",
        Run::In(
            "manifests/uninstall",
            "kubectl delete --ignore-not-found -k manifests/components/freeze-running",
        ),
    ),
    (
        "workflow-injector explain -n NAMESPACE SESSION",
        Run::In("tests/tests/status/explain.rs", "explain::run(client.clone(), &args, &mut out)"),
    ),
    (
        "kubectl workflow -n NAMESPACE SESSION",
        Run::In("tests/tests/install/plugin.rs", r#"&["workflow", "-n", NAMESPACE, SESSION]"#),
    ),
    (
        "kubectl apply -k manifests/components/validate-sessions",
        Run::In("tests/tests/install/validate_sessions.rs", "render(WARN)?"),
    ),
    (
        "kubectl apply -k manifests/components/validate-sessions-deny",
        Run::In("tests/tests/install/validate_sessions.rs", "render(DENY)?"),
    ),
    (
        "kubectl delete -k manifests/components/validate-sessions",
        Run::In(
            "manifests/uninstall",
            "kubectl delete --ignore-not-found -k manifests/components/validate-sessions",
        ),
    ),
    ("kubectl -n workflow-injector describe pods", Run::Untested("its output is kubectl's")),
    (
        "kubectl annotate agenticsession NAME ambient-code.io/force-execute-prompt=true",
        Run::In("tests/tests/status/fake_operator.rs", r#"Annotate(FORCE_PROMPT, "true")"#),
    ),
    (
        "kubectl logs NAME-runner -c init-workflow",
        Run::In("tests/tests/delivery/source.rs", r#""logs", "s-runner", "-c", INIT_CONTAINER"#),
    ),
];

/// The commands in the guide's `sh` blocks, and those of kubectl in its text; without comments, continued lines joined.
fn commands(guide: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (index, part) in guide.split("```").enumerate() {
        let is_block = index % 2 == 1;
        if let Some(block) = part.strip_prefix("sh\n").filter(|_| is_block) {
            let joined = block.replace("\\\n", " ");
            let lines = joined.lines().map(|line| line.split(" #").next().unwrap_or_default());
            found.extend(lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")));
        } else if !is_block {
            let code = part.split('`').skip(1).step_by(2);
            found.extend(code.filter(|code| code.starts_with("kubectl ")).map(str::to_owned));
        }
    }
    found.retain(|command| !command.is_empty());
    found
}

/// Runs a command of an admin in `directory` and returns its output.
fn shell(command: &str, directory: &Path) -> anyhow::Result<String> {
    let kubeconfig = admin_kubeconfig()?;
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", command])
        .current_dir(directory)
        .env("KUBECONFIG", kubeconfig.path())
        .env("PATH", format!("{CHECKOUT}/target/cluster/bin:{path}"))
        .output()
        .context("bash could not be started")?;
    let [out, error] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    ensure!(output.status.success(), "{command}\n{out}\n{error}");
    Ok(out)
}

#[test]
fn every_command_of_the_guide_has_a_test_or_a_reason() {
    let found = commands(GUIDE);
    for command in &found {
        let row = COMMANDS.iter().find(|(known, _)| known == command);
        let (_, run) = row.unwrap_or_else(|| panic!("`{command}` is run by no test"));
        match run {
            Run::Here => {}
            Run::In(file, snippet) => {
                let text = std::fs::read_to_string(Path::new(CHECKOUT).join(file)).unwrap();
                assert!(text.contains(snippet), "{file} does not run `{command}`");
            }
            Run::Untested(reason) => assert!(!reason.is_empty()),
        }
    }
    for (command, _) in COMMANDS {
        assert!(found.iter().any(|one| one == command), "`{command}` is not in the guide any more");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_the_commands_about_the_installation() -> anyhow::Result<()> {
    let mut installation = Installation::healthy().await?;
    controllers::start()?;
    let checkout = Path::new(CHECKOUT);
    let output = shell(CHECK, checkout)?;
    assert!(output.lines().count() > 5 && output.lines().all(|line| line.starts_with("ok ")), "{output}");

    let output = shell(UNINSTALL, checkout)?;
    assert!(output.contains("uninstall: done"), "{output}");
    installation.end_replica();
    let output = shell(&format!("{CHECK} || true"), checkout)?;
    assert!(output.contains("FAILED  registration  there is none"), "{output}");
    drop(installation);
    Installation::healthy().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_the_commands_about_sessions() -> anyhow::Result<()> {
    let installation = Installation::healthy().await?;
    let namespace = TestNamespace::named(installation.cluster.clone(), "operate").await?;
    let manual = ManualOperator::new(namespace);
    let session = SessionBuilder::new("s").workflow("https://git.invalid/o/r.git", "main").build();
    manual.begin(session).await?;
    let directory = tempfile::tempdir()?;
    let in_namespace = |command: &str| {
        command.replace("kubectl ", "kubectl -n operate ").replace("-n NAMESPACE ", "").replace("NAME", "s")
    };
    let condition = async {
        loop {
            let output = shell(&in_namespace(CONDITION), directory.path())?;
            if output.contains(r#""reason":"Fetching""#) {
                return anyhow::Ok(());
            }
        }
    };
    tokio::time::timeout(TIMEOUT, condition).await??;
    assert!(shell(&in_namespace(DESCRIBE), directory.path())?.contains("init-workflow"));

    let server = SshServer::start(true)?;
    let (host, port) = (server.address().ip().to_string(), server.address().port().to_string());
    let keyscan = KEYSCAN.replace("-p 22 git.example.com", &format!("-p {port} {host}"));
    shell(&keyscan, directory.path())?;
    let known = std::fs::read_to_string(directory.path().join("known_hosts"))?;
    assert!(known.contains(server.known_hosts("ed25519")?.trim()), "{known}");
    std::fs::copy(server.client_key("ed25519"), directory.path().join("id_ed25519"))?;
    shell(&in_namespace(SECRET), directory.path())?;
    let secrets = manual.namespace().api::<Secret>();
    let keys: Vec<_> = secrets.get(CREDENTIALS_SECRET).await?.data.unwrap_or_default().into_keys().collect();
    assert_eq!(keys, ["known_hosts", "ssh-privatekey"]);

    manual.sessions().delete("s", &DeleteParams::default()).await?;
    manual.delete_pod("s").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn install_changes_nothing_if_a_required_crd_is_missing() -> anyhow::Result<()> {
    let (cluster, _turn) = api_server::exclusive().await?;
    let kubeconfig = admin_kubeconfig()?;
    // Other tests of this process create them.
    let crds: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    for crd in crds.list(&ListParams::default()).await? {
        if ["cert-manager.io", "monitoring.coreos.com"].contains(&crd.spec.group.as_str()) {
            crds.delete(&crd.name_any(), &DeleteParams::default()).await?;
        }
    }
    let are_gone = || async {
        let groups = cluster.client.list_api_groups().await?.groups;
        Ok(!groups
            .iter()
            .any(|group| ["cert-manager.io", "monitoring.coreos.com"].contains(&group.name.as_str())))
    };
    wait::until_so("the groups of others are no longer served", are_gone).await?;
    let roles: Api<ClusterRole> = Api::all(cluster.client.clone());
    let before = roles.get_opt(INJECTOR).await?.map(|role| role.metadata.resource_version);
    for (variable, value, expected) in [
        ("OVERLAY", "cert-manager", "does not serve cert-manager.io: install cert-manager first"),
        ("WITH", "freeze-running monitoring", "monitoring.coreos.com: install the Prometheus operator first"),
    ] {
        let output = Command::new(Path::new(CHECKOUT).join("manifests/install"))
            .envs([
                ("WORKFLOW_INJECTOR_IMAGE", "local.test/none:1"),
                ("INIT_FETCHER_IMAGE", "local.test/none:1"),
            ])
            .env("KUBECONFIG", kubeconfig.path())
            .env(variable, value)
            .output()?;
        let message = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success() && message.contains(expected), "{variable}={value}: {message}");
    }
    assert_eq!(roles.get_opt(INJECTOR).await?.map(|role| role.metadata.resource_version), before);
    Ok(())
}
