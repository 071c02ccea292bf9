//! RBAC of each overlay: a replica with the rights of its overlay does all of its work without a forbidden request, and
//! uses every right.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, ensure};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt};
use serde_json::Value;
use tokio::sync::watch;
use workflow_certs::issue::{self, Validity};
use workflow_certs::{CertInfo, Clock, Lifetimes};
use workflow_contract::names::INJECTOR;
use workflow_injector::metrics::Metrics;
use workflow_injector::replica::{Identity, Issuer, Replica};
use workflow_injector::server::ServerPhase;
use workflow_tests::api_server::{self, ApiServer};
use workflow_tests::manifests::{Kubectl, objects};
use workflow_tests::manual_operator::{self, ManualOperator};
use workflow_tests::namespace::TestNamespace;
use workflow_tests::session::{SessionBuilder, SessionView};
use workflow_tests::wait::{TIMEOUT, until_exists, until_so};

/// Rights that are used only while a watch is behind or broken.
const FALLBACKS: [&str; 2] = ["get mutatingwebhookconfigurations", "get pods"];

/// The shortest lifetimes of a rotation, so that the test includes a renewal.
const LIFETIMES: Lifetimes = Lifetimes {
    ca: SignedDuration::from_secs(20),
    serving: SignedDuration::from_secs(4),
    settle: SignedDuration::from_secs(3),
};

/// `VERB RESOURCE` of each request of the injector's account.
struct Requests {
    made: BTreeSet<String>,
    forbidden: BTreeSet<String>,
}

/// Reads the requests of the audit log from this offset on.
fn requests(log: &Path, from: u64) -> anyhow::Result<Requests> {
    let mut file = fs::File::open(log)?;
    file.seek(SeekFrom::Start(from))?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let (mut made, mut forbidden) = (BTreeSet::new(), BTreeSet::new());
    for event in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let (verb, object) = (event["verb"].as_str().unwrap_or_default(), &event["objectRef"]);
        let Some(resource) = object["resource"].as_str() else { continue };
        let subresource = object["subresource"].as_str().map(|name| format!("/{name}")).unwrap_or_default();
        let request = format!("{verb} {resource}{subresource}");
        if event["responseStatus"]["code"] == 403 {
            forbidden.insert(request.clone());
        }
        made.insert(request);
    }
    Ok(Requests { made, forbidden })
}

/// Grants the injector's account the rights of this overlay and no others; returns them as `VERB RESOURCE`.
pub fn grant(kubectl: &Kubectl, way: &str) -> anyhow::Result<BTreeSet<String>> {
    kubectl.run(
        &["-n", INJECTOR, "delete", "role,rolebinding,lease,secret", "--all", "--ignore-not-found"],
        None,
    )?;
    let mut granted = BTreeSet::new();
    for object in objects(way)? {
        let kind = object["kind"].as_str().unwrap_or_default();
        if kind == "Namespace" || kind.contains("Role") {
            kubectl.run(&["apply", "--server-side", "-f", "-"], Some(&object.to_string()))?;
        }
        for rule in object["rules"].as_array().into_iter().flatten() {
            for resource in rule["resources"].as_array().into_iter().flatten() {
                let verbs = rule["verbs"].as_array().into_iter().flatten();
                let right = |verb: &Value| Some(format!("{} {}", verb.as_str()?, resource.as_str()?));
                granted.extend(verbs.filter_map(right));
            }
        }
    }
    Ok(granted)
}

/// A directory with a serving certificate and key, as mounted from another issuer's Secret.
fn directory() -> anyhow::Result<tempfile::TempDir> {
    let now = Timestamp::now();
    let validity = Validity { not_before: now, not_after: now + SignedDuration::from_hours(1) };
    let ca = issue::ca(validity)?;
    let pair = issue::serving(&ca, &["localhost".to_owned()], validity)?;
    let directory = tempfile::tempdir()?;
    fs::write(directory.path().join("tls.crt"), pair.certificate)?;
    fs::write(directory.path().join("tls.key"), pair.key.expose())?;
    Ok(directory)
}

/// Runs a leading replica until it has done each kind of its work.
async fn work(
    server: &ApiServer,
    manual: &ManualOperator,
    session: &str,
    issuer: Issuer,
) -> anyhow::Result<()> {
    let kubeconfig = Kubeconfig::read_from(server.injectors_kubeconfig()?)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let client = Client::try_from(config)?;
    let identity = Identity { namespace: INJECTOR.to_owned(), name: session.to_owned() };
    let renews = matches!(issuer, Issuer::SelfManaged(_));
    let (phase, phases) = watch::channel(ServerPhase::Serving);
    let mut replica = Replica::start(
        &client,
        &Clock::default(),
        &identity,
        issuer,
        Arc::default(),
        Arc::new(Metrics::default()),
        phases,
    )?;
    tokio::time::timeout(TIMEOUT, replica.leading.wait_for(|leads| *leads)).await??;

    manual
        .begin(SessionBuilder::new(session).workflow("https://git.invalid/o/r.git", "main").build())
        .await?;
    manual.end(session, 22, "Error", "no such branch").await?;
    let holds = |reason: &str| {
        let reason = reason.to_owned();
        move |session: &workflow_tests::session::Session| {
            session.workflow_reconciled().is_some_and(|condition| condition.reason == reason)
        }
    };
    until_exists(&manual.sessions(), session, "its outcome", TIMEOUT, holds("RefNotFound")).await?;

    let registrations: Api<MutatingWebhookConfiguration> = Api::all(manual.cluster().client.clone());
    until_so("the registration to be owned", || async {
        Ok(!registrations.get(INJECTOR).await?.owner_references().is_empty())
    })
    .await?;
    until_so("a certificate to be served", || async { Ok(replica.resolver.info().is_some()) }).await?;
    if renews {
        let first = replica.resolver.info().context("a certificate is served")?.serial;
        until_so("the certificate to be renewed", || async {
            Ok(replica.resolver.info().is_some_and(|info: CertInfo| info.serial != first))
        })
        .await?;
    }
    phase.send_replace(ServerPhase::Ending);
    replica.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_overlay_grants_the_rights_that_a_replica_uses_and_no_others() -> anyhow::Result<()> {
    let (cluster, _turn) = api_server::exclusive().await?;
    let server = api_server::server()?;
    let kubectl = Kubectl::with(&server.admin_kubeconfig_file()?);
    let client = cluster.client.clone();
    let manual = ManualOperator::new(TestNamespace::named(cluster, "rights").await?);
    let directory = directory()?;
    let other = || Issuer::Other(directory.path().to_owned());
    let ways =
        [("cert-manager", other()), ("openshift", other()), ("self-managed", Issuer::SelfManaged(LIFETIMES))];
    for (way, issuer) in ways {
        let granted = grant(&kubectl, &format!("overlays/{way}"))?;
        let before = fs::metadata(server.audit_log())?.len();
        manual_operator::unregister(client.clone()).await?;
        manual_operator::register(client.clone()).await?;
        work(server, &manual, way, issuer).await.context(way)?;

        // A watch is in the log once it has ended.
        let log = server.audit_log();
        until_so("each right to be used", || async {
            let made = requests(&log, before)?.made;
            let unused = granted.difference(&made).filter(|right| !FALLBACKS.contains(&right.as_str()));
            let unused: Vec<_> = unused.collect();
            ensure!(unused.is_empty(), "{way}: granted and never used: {unused:?}");
            Ok(true)
        })
        .await?;
        assert_eq!(requests(&log, before)?.forbidden, BTreeSet::new(), "{way}");
    }
    Ok(())
}
