//! The component `live-delivery`, on an API server of the test's own and with the injector's own account: with it
//! workflows are delivered into running sessions and the account can add nothing else, without it nothing is added.

use std::sync::Arc;

use anyhow::Context;
use arc_swap::ArcSwap;
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::watch;
use workflow_contract::names::{INJECTOR, runner_pod};
use workflow_contract::termination::Details;
use workflow_contract::{Exit, Source, Termination};
use workflow_injector::admission::patch::live_container;
use workflow_injector::admission::plan::Plan;
use workflow_injector::config::{Config, parse};
use workflow_injector::status;
use workflow_tests::manifests::{Kubectl, render};
use workflow_tests::manual_operator::{self, ManualOperator};
use workflow_tests::namespace::TestNamespace;
use workflow_tests::session::{Condition, Session, SessionBuilder, SessionView};
use workflow_tests::wait::{TIMEOUT, until_exists, until_so};
use workflow_tests::{api_server, kubelet};

use crate::rights::grant;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const CONFIG: &str = "# A comment\nliveDelivery: true\nimage: \"registry.example/f:1\" # ours\n";

struct Env {
    manual: ManualOperator,
    kubectl: Kubectl,
    /// By the injector's account.
    injector: Client,
}

fn url(name: &str) -> String {
    format!("https://git.invalid/o/{name}.git")
}

impl Env {
    /// A running session that asks for no workflow, with a pod of this session.
    async fn running(&self, name: &str) -> anyhow::Result<Session> {
        let session = self.manual.create(SessionBuilder::new(name).build()).await?;
        self.manual.create_bare_pod(&session).await?;
        kubelet::report(&self.manual.pods(), &runner_pod(name), &kubelet::running()).await?;
        self.manual.set_status(name, json!({"phase": "Running", "startTime": Timestamp::now()})).await
    }

    async fn choose(&self, name: &str, repository: &str) -> anyhow::Result<()> {
        let patch = json!({"spec": {"activeWorkflow": {"gitUrl": url(repository), "branch": "main"}}});
        self.manual.sessions().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    async fn reason(&self, name: &str, reason: &str) -> anyhow::Result<Condition> {
        let holds = |session: &Session| session.workflow_reconciled().is_some_and(|c| c.reason == reason);
        let session = until_exists(&self.manual.sessions(), name, reason, TIMEOUT, holds).await?;
        session.workflow_reconciled().context("it has a condition")
    }

    /// Names of the ephemeral containers.
    async fn containers(&self, name: &str) -> anyhow::Result<Vec<String>> {
        let spec = self.manual.pods().get(&runner_pod(name)).await?.spec.context("a pod has a spec")?;
        Ok(spec.ephemeral_containers.into_iter().flatten().map(|one| one.name).collect())
    }

    /// Ends an ephemeral container, as the kubelet reports it.
    async fn end(&self, name: &str, container: &str, repository: &str) -> anyhow::Result<()> {
        let source = Source::new(&url(repository), "main", "");
        let details = Details {
            url: Some(source.git_url),
            reference: Some(source.branch),
            commit: Some(COMMIT.to_owned()),
            ..Details::new(Exit::Reconciled)
        };
        let message = Termination { message: "delivered".to_owned(), details: Some(details) }.render();
        let end = json!({"terminated": {
            "exitCode": 0, "reason": "Completed", "message": message, "finishedAt": Timestamp::now(),
        }});
        let status = json!({"ephemeralContainerStatuses": [{
            "name": container, "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": end,
        }]});
        kubelet::report(&self.manual.pods(), &runner_pod(name), &status).await?;
        Ok(())
    }

    /// The response to adding these containers, which is not stored.
    async fn add(&self, client: &Client, pod: &str, containers: &Value) -> Result<(), String> {
        let pods: Api<Pod> = Api::namespaced(client.clone(), &self.manual.namespace().name);
        let params = PatchParams { dry_run: true, ..PatchParams::default() };
        let patch = Patch::Strategic(json!({"spec": {"ephemeralContainers": containers}}));
        let added = pods.patch_subresource("ephemeralcontainers", pod, &params, &patch).await;
        added.map(drop).map_err(|error| error.to_string())
    }
}

async fn start(name: &str) -> anyhow::Result<(Env, tokio::sync::MutexGuard<'static, ()>)> {
    let (cluster, turn) = api_server::exclusive().await?;
    let server = api_server::server()?;
    let kubectl = Kubectl::with(&server.admin_kubeconfig_file()?);
    grant(&kubectl, "overlays/self-managed")?;
    let settings = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": INJECTOR, "namespace": INJECTOR},
        "data": {"config.yaml": CONFIG},
    });
    kubectl.run(&["apply", "--server-side", "-f", "-"], Some(&settings.to_string()))?;
    manual_operator::register(cluster.client.clone()).await?;
    let registrations: Api<MutatingWebhookConfiguration> = Api::all(cluster.client.clone());
    let registered = registrations.get(INJECTOR).await?.creation_timestamp().map(|time| time.0.as_second());
    until_so("new sessions to be younger than the registration", || async {
        Ok(Some(Timestamp::now().as_second()) > registered)
    })
    .await?;
    let manual = ManualOperator::new(TestNamespace::named(cluster, name).await?);
    let injector = Client::try_from(server.injectors_config().await?)?;
    Ok((Env { manual, kubectl, injector }, turn))
}

#[tokio::test(flavor = "multi_thread")]
async fn workflows_are_delivered_into_running_sessions_with_the_component_only() -> anyhow::Result<()> {
    let (env, _turn) = start("live").await?;
    let config: Arc<ArcSwap<Config>> = Arc::new(ArcSwap::from_pointee(parse(CONFIG)?));
    let (_leader, leading) = watch::channel(true);
    let replica = status::spawn(env.injector.clone(), leading, "test".to_owned(), config, Arc::new(()));
    let mut synced = replica.synced.clone();
    tokio::time::timeout(TIMEOUT, synced.wait_for(|state| state.is_complete())).await??;

    env.running("without").await?;
    env.choose("without", "a").await?;
    let condition = env.reason("without", "RestartRequired").await?;
    let obstacle = "it can't be delivered into the running session: pods \"without-runner\" is forbidden";
    assert!(condition.message.contains(obstacle), "{}", condition.message);
    assert!(env.containers("without").await?.is_empty());

    env.kubectl.run(&["apply", "-f", "-"], Some(&render("components/live-delivery")?))?;
    for (generation, repository) in [(2, "a"), (3, "b"), (4, "a")] {
        if generation == 2 {
            env.running("with").await?;
        }
        env.choose("with", repository).await?;
        let name = format!("deliver-workflow-{generation}");
        until_so("the container to be added", || async { Ok(env.containers("with").await?.contains(&name)) })
            .await?;
        env.end("with", &name, repository).await?;
        let holds = |session: &Session| {
            session
                .workflow_reconciled()
                .is_some_and(|c| c.observed_generation == Some(generation) && c.status == "True")
        };
        let session = until_exists(&env.manual.sessions(), "with", "delivered", TIMEOUT, holds).await?;
        let message = session.workflow_reconciled().context("it has a condition")?.message;
        let wanted =
            format!("delivered {COMMIT} (main) to /workspace/workflows/{repository} in the running session");
        assert_eq!(message, wanted);
    }
    env.kubectl.run(&["delete", "-f", "-"], Some(&render("components/live-delivery")?))?;
    replica.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_account_can_add_its_own_container_to_session_pods_and_nothing_else() -> anyhow::Result<()> {
    let (env, _turn) = start("live-policy").await?;
    env.kubectl.run(&["apply", "-f", "-"], Some(&render("components/live-delivery")?))?;
    let session = env.running("s").await?;
    env.choose("s", "a").await?;
    let pod = env.manual.pods().get("s-runner").await?;
    let typed = serde_json::from_value(json!({
        "metadata": {"name": "s", "uid": session.uid(), "generation": 2},
        "spec": {"activeWorkflow": {"gitUrl": url("a")}},
    }))?;
    let plan = Plan::new(&typed).context("it asks for a workflow")?;
    let own = live_container(&serde_json::to_value(&pod)?, &plan, &parse(CONFIG)?).context("it is built")?;
    let with = |member: &str, value: Value| {
        let mut container = own.clone();
        container[member] = value;
        json!([container])
    };
    let security = |member: &str, value: Value| {
        let mut context = own["securityContext"].clone();
        context[member] = value;
        with("securityContext", context)
    };
    let second = with("name", json!("deliver-workflow-3"))[0].clone();
    let debug = json!([{"name": "debug", "image": "registry.example/f:1"}]);
    let rejected = [
        (debug.clone(), "one container deliver-workflow-GENERATION"),
        (with("name", json!("deliver-workflow-x")), "one container deliver-workflow-GENERATION"),
        (json!([own, second]), "one container deliver-workflow-GENERATION"),
        (with("image", json!("registry.example/f:2")), "its own image only"),
        (with("image", json!("registry.example/f:1 ")), "must not have leading or trailing whitespace"),
        (with("command", json!(["sh"])), "without command"),
        (with("args", json!(["x"])), "without command"),
        (with("envFrom", json!([{"secretRef": {"name": "s"}}])), "without command"),
        (with("targetContainerName", json!("ambient-code-runner")), "without command"),
        (with("stdin", json!(true)), "without command"),
        (with("securityContext", json!(null)), "without privileges"),
        (security("runAsNonRoot", json!(false)), "without privileges"),
        (security("runAsUser", json!(0)), "without privileges"),
        (security("allowPrivilegeEscalation", json!(true)), "without privileges"),
        (security("capabilities", json!({"drop": ["ALL"], "add": ["SYS_ADMIN"]})), "without privileges"),
    ];
    until_so("the policy to be in force", || async {
        Ok(env.add(&env.injector, "s-runner", &debug).await.is_err_and(|error| error.contains("GENERATION")))
    })
    .await?;
    assert_eq!(env.add(&env.injector, "s-runner", &json!([own])).await, Ok(()));
    for (containers, reason) in rejected {
        let response = env.add(&env.injector, "s-runner", &containers).await.unwrap_err();
        assert!(response.contains(reason), "{containers}: {response}");
    }
    let admin = env.manual.cluster().client.clone();
    assert_eq!(env.add(&admin, "s-runner", &debug).await, Ok(()), "others are not limited");

    let mut others = serde_json::to_value(&pod)?;
    others["metadata"] = json!({"name": "other-runner", "labels": pod.labels()});
    let others: Pod = serde_json::from_value(others)?;
    env.manual.pods().create(&PostParams::default(), &others).await?;
    let response = env.add(&env.injector, "other-runner", &json!([own])).await.unwrap_err();
    assert!(response.contains("to session pods only"), "{response}");

    let enforced = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    let namespaces: Api<Namespace> = Api::all(admin.clone());
    namespaces.patch("live-policy", &PatchParams::default(), &Patch::Merge(enforced)).await?;
    // The rest of the pod is not restricted.
    let response = env.add(&admin, "s-runner", &json!([own])).await.unwrap_err();
    assert!(response.contains("restricted") && !response.contains("deliver-workflow"), "{response}");
    env.kubectl.run(&["delete", "-f", "-"], Some(&render("components/live-delivery")?))?;
    Ok(())
}
