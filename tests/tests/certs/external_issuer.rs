//! The leader and a registration whose caBundle another controller fills.

use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::sync::watch;
use workflow_injector::registration::ca_bundle;
use workflow_tests::api_server;
use workflow_tests::manifests::objects;
use workflow_tests::namespace::TestNamespace;
use workflow_tests::wait::until_found;

const NAME: &str = "of-others";

fn bytes(text: &str) -> ByteString {
    ByteString(text.as_bytes().to_vec())
}

struct Registration {
    api: Api<MutatingWebhookConfiguration>,
}

impl Registration {
    /// Creates the registration of a manifests directory under another name, for no object.
    async fn create(api: Api<MutatingWebhookConfiguration>, directory: &str) -> anyhow::Result<Self> {
        let mut registration: Value = objects(directory)?.remove(0);
        registration["metadata"]["name"] = json!(NAME);
        registration["webhooks"][0]["objectSelector"] = json!({ "matchLabels": { "none": "none" } });
        registration["webhooks"][0]["clientConfig"]["caBundle"] = json!(bytes("theirs"));
        api.create(&PostParams::default(), &serde_json::from_value(registration)?).await?;
        Ok(Self { api })
    }

    async fn patch(&self, patch: Value) -> anyhow::Result<()> {
        self.api.patch(NAME, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// Waits until our namespace owns the registration, and returns its CA bundles.
    async fn once_owned(&self) -> anyhow::Result<Vec<ByteString>> {
        until_found("an owner of the registration", || async {
            let found = self.api.get(NAME).await?;
            let is_owned = !found.owner_references().is_empty();
            let entries = found.webhooks.into_iter().flatten();
            Ok(is_owned.then(|| entries.filter_map(|entry| entry.client_config.ca_bundle).collect()))
        })
        .await
    }
}

/// Runs a leader with the bundle `ours`, and returns the CA bundles once it has set the owner, twice: the owner is removed
/// in between.
async fn reconciled(directory: &str) -> anyhow::Result<[Vec<ByteString>; 2]> {
    let (cluster, _turn) = api_server::exclusive().await?;
    let client = cluster.client.clone();
    let namespace = TestNamespace::named(cluster, &directory.replace('/', "-")).await?;
    let registration = Registration::create(Api::all(client.clone()), directory).await?;
    let (_leads, leading) = watch::channel(true);
    let (_sender, bundle) = watch::channel(Some(Arc::from("ours")));
    let (in_place, _) = watch::channel(None);
    let (views, _) = watch::channel(None);
    let leader = tokio::spawn(ca_bundle::run(
        client,
        NAME.to_owned(),
        namespace.name.clone(),
        leading,
        bundle,
        in_place,
        views,
    ));

    let first = registration.once_owned().await?;
    registration.patch(json!({ "metadata": { "ownerReferences": null } })).await?;
    let second = registration.once_owned().await?;
    leader.abort();
    registration.api.delete(NAME, &DeleteParams::default()).await?;
    Ok([first, second])
}

#[tokio::test(flavor = "multi_thread")]
async fn does_not_change_the_bundle_of_cert_manager() -> anyhow::Result<()> {
    let bundles = reconciled("overlays/cert-manager/registration").await?;
    assert_eq!(bundles, [vec![bytes("theirs")], vec![bytes("theirs")]]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn does_not_change_the_bundle_of_openshift() -> anyhow::Result<()> {
    let bundles = reconciled("overlays/openshift/registration").await?;
    assert_eq!(bundles, [vec![bytes("theirs")], vec![bytes("theirs")]]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn fills_a_bundle_that_no_other_controller_fills() -> anyhow::Result<()> {
    let bundles = reconciled("registration").await?;
    assert_eq!(bundles, [vec![bytes("ours")], vec![bytes("ours")]]);
    Ok(())
}
