//! The view of the registration on which readiness depends, also while the watch is broken.

use anyhow::Context;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::watch;
use workflow_injector::registration::ca_bundle;
use workflow_injector::registration::readiness::{EntryBundle, TrustView};
use workflow_tests::api_server;
use workflow_tests::faults::Faults;
use workflow_tests::wait::TIMEOUT;

const NAME: &str = "readiness-view";

/// Waits until the view has one entry with this bundle, or none.
async fn until_view_is(view: &mut watch::Receiver<TrustView>, bundle: Option<&str>) -> anyhow::Result<()> {
    let entry = |bundle: &str| EntryBundle {
        webhook: "w.readiness.test".to_owned(),
        bundle: Some(bundle.to_owned()),
    };
    let wanted: TrustView = Some(bundle.map(entry).into_iter().collect());
    let result = tokio::time::timeout(TIMEOUT, view.wait_for(|view| *view == wanted)).await;
    result
        .with_context(|| format!("the view does not become {wanted:?}"))?
        .map(drop)
        .context("the watch has ended")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_while_the_watch_is_broken_is_observed() -> anyhow::Result<()> {
    let (cluster, _turn) = api_server::exclusive().await?;
    let registrations: Api<MutatingWebhookConfiguration> = Api::all(cluster.client.clone());
    let (client, faults) = Faults::client(api_server::server()?.config().await?)?;
    let (_leader, leading) = watch::channel(false);
    let (_bundles, bundle) = watch::channel(None);
    let (views, mut view) = watch::channel(None);
    let (name, in_place) = (NAME.to_owned(), watch::Sender::default());
    let watching = ca_bundle::run(client, name.clone(), name, leading, bundle, in_place, views);
    let watching = tokio::spawn(watching);
    until_view_is(&mut view, None).await?;

    let client_config = |bundle: &str| json!({"caBundle": ByteString(bundle.as_bytes().to_vec()), "url": "https://none.test/"});
    let registration = json!({"metadata": {"name": NAME}, "webhooks": [{
        "name": "w.readiness.test", "admissionReviewVersions": ["v1"], "sideEffects": "None",
        "clientConfig": client_config(&ca()?), "rules": [],
    }]});
    let created =
        registrations.create(&PostParams::default(), &serde_json::from_value(registration)?).await?;
    let first = created.webhooks.into_iter().flatten().find_map(|one| one.client_config.ca_bundle);
    let first = String::from_utf8(first.unwrap_or_default().0)?;
    until_view_is(&mut view, Some(&first)).await?;

    faults.blind(true);
    let second = ca()?;
    let change =
        json!([{"op": "replace", "path": "/webhooks/0/clientConfig", "value": client_config(&second)}]);
    let change = Patch::Json::<()>(serde_json::from_value(change)?);
    registrations.patch(NAME, &PatchParams::default(), &change).await?;
    until_view_is(&mut view, Some(&second)).await?;

    faults.blind(false);
    registrations.delete(NAME, &DeleteParams::default()).await?;
    until_view_is(&mut view, None).await?;
    watching.abort();
    Ok(())
}

fn ca() -> anyhow::Result<String> {
    Ok(rcgen::generate_simple_self_signed(["readiness.test".to_owned()])?.cert.pem())
}
