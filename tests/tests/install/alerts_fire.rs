//! Every alert fires on a real Prometheus, by the metrics of the program itself under conditions that the test makes. The
//! time before an alert fires, and that it does not fire earlier, are tested with promtool in `alerts.rs`.

use std::fs;
use std::net::SocketAddr;

use anyhow::{Context, ensure};
use futures::future::join_all;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use workflow_contract::names::{INJECTOR, TLS_SECRET};
use workflow_tests::fault_proxy::{FaultProxy, Link};
use workflow_tests::manifests::{objects, of_kind};
use workflow_tests::manual_operator::{self, ManualOperator};
use workflow_tests::namespace::TestNamespace;
use workflow_tests::operator::{Settings, session_pod};
use workflow_tests::released::{self, Injector, Running};
use workflow_tests::session::{Session, SessionBuilder, SessionView};
use workflow_tests::wait::{TIMEOUT, until_exists, until_so};
use workflow_tests::{api_server, endpoints};

use crate::installation::{apply, apply_to_empty, register};
use crate::prometheus::Prometheus;

const URL: &str = "https://git.invalid/o/r.git";
/// Requests that are enough for every limit of a rule.
const MANY: usize = 12;

/// The installed rules, without the time before they fire. Failed watches are retried with a backoff of up to 30 s, so
/// the limit of their alert is lower here.
fn rules() -> anyhow::Result<Value> {
    let mut rules = of_kind(&objects("overlays/monitoring")?, "PrometheusRule")[0]["spec"].clone();
    for rule in rules["groups"][0]["rules"].as_array_mut().context("there are no rules")? {
        rule.as_object_mut().context("a rule is an object")?.remove("for");
        if rule["alert"] == "WorkflowInjectorWatchesBroken" {
            let expression = rule["expr"].as_str().unwrap_or_default().replace("> 10", "> 1");
            ensure!(rule["expr"] != expression, "the limit of {} is another", rule["alert"]);
            rule["expr"] = json!(expression);
        }
    }
    Ok(rules)
}

/// A replica of the released program that Prometheus scrapes, and a manual operator.
struct AlertEnv {
    client: Client,
    manual: ManualOperator,
    prometheus: Prometheus,
    link: FaultProxy,
    config: tempfile::NamedTempFile,
    /// Alerts that did not fire yet.
    left: Vec<String>,
}

impl AlertEnv {
    /// Waits until this alert fires.
    async fn fires(&mut self, alert: &str) -> anyhow::Result<()> {
        let name = format!("WorkflowInjector{alert}");
        let firing = format!("ALERTS{{alertname=\"{name}\",alertstate=\"firing\"}}");
        self.prometheus.until(&firing, |values| !values.is_empty()).await?;
        self.left.retain(|left| *left != name);
        Ok(())
    }

    /// Begins a session, without the injector's part of its pod if `bare`.
    async fn begin(&self, name: &str, bare: bool) -> anyhow::Result<()> {
        let session = SessionBuilder::new(name).workflow(URL, "main").build();
        if !bare {
            return self.manual.begin(session).await.map(drop);
        }
        let session = self.manual.create(session).await?;
        let start = jiff::Timestamp::now().round(jiff::Unit::Second)?;
        self.manual.set_status(name, json!({ "phase": "Pending", "startTime": start })).await?;
        self.manual.create_bare_pod(&session).await?;
        self.manual.set_status(name, json!({ "phase": "Creating" })).await.map(drop)
    }

    async fn until_reason(&self, name: &str, reason: &str) -> anyhow::Result<Session> {
        let has =
            |session: &Session| session.workflow_reconciled().is_some_and(|found| found.reason == reason);
        until_exists(&self.manual.sessions(), name, reason, TIMEOUT, has).await
    }

    /// Outcomes of sessions: no registration sends their pods to the webhook yet.
    async fn outcomes(&mut self) -> anyhow::Result<()> {
        for (name, bare) in [("stuck", false), ("unsigned", false), ("bare", true)] {
            self.begin(name, bare).await?;
        }
        let waiting = json!({"waiting": {"reason": "ErrImagePull", "message": "not found"}});
        self.manual.report("stuck", "Pending", waiting).await?;
        self.manual.end("unsigned", 42, "Error", "not signed").await?;
        self.until_reason("stuck", "ImagePullFailed").await?;
        for alert in ["ImagePullFailed", "SignatureNotTrusted", "NotInjected"] {
            self.fires(alert).await?;
        }
        Ok(())
    }

    /// Takes the right to write conditions.
    async fn rights(&mut self) -> anyhow::Result<()> {
        let roles: Api<ClusterRole> = Api::all(self.client.clone());
        let mut role = roles.get(INJECTOR).await?;
        let writes = "agenticsessions/status".to_owned();
        role.rules.iter_mut().flatten().for_each(|rule| {
            rule.resources.iter_mut().flatten().for_each(|name| {
                if *name == writes {
                    "none".clone_into(name);
                }
            });
        });
        roles.replace(INJECTOR, &PostParams::default(), &role).await?;
        for number in 0..MANY {
            self.begin(&format!("unwritten-{number}"), false).await?;
        }
        self.fires("ConditionsNotWritten").await?;
        apply("manifests/overlays/self-managed")
    }

    /// Creates pods of this session with `dryRun`, all at once; returns the number of those that were admitted.
    async fn dry_runs(&self, session: &Session) -> anyhow::Result<usize> {
        let mut pod: Pod = serde_json::from_value(session_pod(session, &Settings::new("local.test/none:1")))?;
        pod.metadata.name = Some("dry-run".to_owned());
        let (pods, dry_run) = (self.manual.pods(), PostParams { dry_run: true, ..PostParams::default() });
        let created = join_all((0..MANY).map(|_| pods.create(&dry_run, &pod))).await;
        Ok(created.into_iter().flatten().count())
    }

    /// Has pods of an unknown session denied, then cuts the connection to the API server.
    async fn admission(&mut self, replica: SocketAddr) -> anyhow::Result<()> {
        endpoints::set(&self.client, &[replica]).await?;
        register()?;
        let known = self.until_reason("stuck", "ImagePullFailed").await?;
        let mut unknown = known.clone();
        unknown.metadata.uid = Some("00000000-0000-0000-0000-000000000000".to_owned());
        until_so("pods of an unknown session to be denied, those of a known one to be admitted", || async {
            Ok(self.dry_runs(&unknown).await? == 0 && self.dry_runs(&known).await? == MANY)
        })
        .await?;
        self.fires("Refuses").await?;

        self.link.set(Link::Silent);
        ensure!(self.dry_runs(&known).await? == MANY, "pods of a cached session are admitted");
        self.fires("Slow").await?;
        self.link.set(Link::Broken);
        self.fires("WatchesBroken").await?;
        self.fires("NoLeader").await?;
        self.link.set(Link::Up);
        self.prometheus.until("workflow_injector_leader", |values| values == [1.0]).await
    }

    /// Makes the Secret and the configuration unusable.
    async fn files(&mut self) -> anyhow::Result<()> {
        fs::write(self.config.path(), "nonsense: true\n")?;
        self.fires("ConfigBroken").await?;
        // Nothing of ours, so the injector does not repair it.
        let foreign = json!({ "metadata": { "labels": { "app.kubernetes.io/name": null } }, "data": { "tls.crt": "" } });
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), INJECTOR);
        secrets.patch(TLS_SECRET, &PatchParams::default(), &Patch::Merge(foreign)).await?;
        self.fires("CertificateNotCurrent").await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_alert_fires_on_metrics_of_the_program() -> anyhow::Result<()> {
    let (cluster, _turn) = apply_to_empty("manifests/overlays/self-managed").await?;
    let (client, url) = (cluster.client.clone(), cluster.url().parse::<http::Uri>()?);
    manual_operator::register(client.clone()).await?;
    let registered = Api::<MutatingWebhookConfiguration>::all(client.clone()).get(INJECTOR).await?;
    let registered = registered.creation_timestamp().context("it has a time")?.0;
    // Older sessions are left alone, and times have whole seconds.
    until_so("a second to pass", || async {
        Ok(jiff::Timestamp::now().as_second() > registered.as_second())
    })
    .await?;

    let config = tempfile::NamedTempFile::new()?;
    fs::write(config.path(), "image: local.test/none:1\n")?;
    let link =
        FaultProxy::start(url.authority().context("the API server has an address")?.to_string()).await?;
    let path = std::path::absolute(config.path())?.display().to_string();
    // Renewed 20 minutes after it was issued, so that less than an hour is left at any time.
    let flags = ["--config", &path, "--leaf-lifetime", "30m"].map(Into::into).to_vec();
    let injector = Injector::new(api_server::server()?, &released::program()?, flags)?.through(link.port)?;
    let running: Running = injector.start("replica", endpoints::address()?).await?;

    let rules = rules()?;
    let names = rules["groups"][0]["rules"].as_array().into_iter().flatten();
    let left = names.map(|rule| rule["alert"].as_str().unwrap_or_default().to_owned()).collect();
    let prometheus = Prometheus::start(running.ops, &rules)?;
    let manual = ManualOperator::new(TestNamespace::named(cluster, "alerts").await?);
    let mut env = AlertEnv { client, manual, prometheus, link, config, left };
    for alert in ["ReplicaMissing", "CertificateExpires", "CertificateExpired"] {
        env.fires(alert).await?;
    }
    env.outcomes().await?;
    env.rights().await?;
    env.admission(running.https).await?;
    env.files().await?;
    running.kill()?;
    env.fires("Down").await?;
    assert_eq!(env.left, Vec::<String>::new(), "alerts without a condition here");
    Ok(())
}
