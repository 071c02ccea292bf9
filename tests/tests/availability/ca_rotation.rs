//! A rotation of the CA under fifty session pods a second. It takes the settle time of a minute and needs no kubelet: two
//! released programs run behind a Service on an API server of their own.

use anyhow::ensure;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, PostParams};
use serde_json::json;
use workflow_contract::names::INJECTOR;
use workflow_tests::api_server;
use workflow_tests::disruption::certificate;
use workflow_tests::endpoints;
use workflow_tests::load;
use workflow_tests::namespace::TestNamespace;
use workflow_tests::released::{self, Injector};
use workflow_tests::wait::until_so;

/// The registration as it is installed.
const REGISTRATION: &str = include_str!("../../../manifests/registration/mutatingwebhookconfiguration.yaml");

#[tokio::test(flavor = "multi_thread")]
async fn ca_rotation_loses_no_request() -> anyhow::Result<()> {
    let (cluster, _turn) = api_server::exclusive().await?;
    let (client, address) = (cluster.client.clone(), endpoints::address()?);
    let injector = Injector::install(&client, api_server::server()?, &released::program()?).await?;
    let service: Service = serde_json::from_value(json!({
        "metadata": { "name": INJECTOR }, "spec": { "ports": [{ "name": "https", "port": 443 }] },
    }))?;
    Api::namespaced(client.clone(), INJECTOR).create(&PostParams::default(), &service).await?;
    let replicas = [injector.start("replica-0", address).await?, injector.start("replica-1", address).await?];
    endpoints::set(&client, &replicas.each_ref().map(|replica| replica.https)).await?;
    let registration: MutatingWebhookConfiguration = serde_saphyr::from_str(REGISTRATION)?;
    let registrations: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    registrations.create(&PostParams::default(), &registration).await?;
    let has_bundle = |found: &MutatingWebhookConfiguration| {
        let bundles = found.webhooks.iter().flatten().map(|webhook| &webhook.client_config.ca_bundle);
        bundles.into_iter().all(Option::is_some)
    };
    until_so("caBundle to be set", || async { Ok(has_bundle(&registrations.get(INJECTOR).await?)) }).await?;

    let namespace = TestNamespace::named(cluster, "ca-rotation").await?;
    let report = load::during(&namespace, Box::pin(certificate::rotate_ca(&client))).await?;
    ensure!(report.violations().is_empty(), "{:?}", report.violations());
    let failures = report.failures(&[]);
    ensure!(failures.is_empty(), "{report}\n{}", failures.join("\n"));
    Ok(())
}
