//! Self-managed certificates on a real API server: rotation under load, what is lost comes back, and
//! one leader at a time.

mod replica;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use workflow_certs::{Lifetimes, store};
use workflow_contract::names::TLS_SECRET;
use workflow_tests::namespace::{TestNamespace, with_namespace};

use replica::{Replica, register, registrations, unregister};

/// How long a wait may take before it is a failure.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long the load lasts, in seconds; two minutes are six authorities.
const ROTATION_SECONDS: &str = "CERTS_ROTATION_SECONDS";

/// Waits until `holds`, looking often.
async fn until<Fut>(what: &str, mut holds: impl FnMut() -> Fut) -> anyhow::Result<()>
where
    Fut: Future<Output = anyhow::Result<bool>>,
{
    let started = Instant::now();
    while !holds().await? {
        anyhow::ensure!(started.elapsed() < PATIENCE, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// A create that admission judges and nobody stores.
async fn call(namespace: &TestNamespace) -> kube::Result<()> {
    let map: ConfigMap = ConfigMap {
        metadata: kube::api::ObjectMeta { name: Some("call".to_owned()), ..Default::default() },
        ..ConfigMap::default()
    };
    let params = PostParams { dry_run: true, ..PostParams::default() };
    namespace.api::<ConfigMap>().create(&params, &map).await.map(drop)
}

/// The caBundle of each entry.
async fn bundles(namespace: &TestNamespace) -> anyhow::Result<Vec<String>> {
    let found = registrations(namespace).get(&namespace.name).await?;
    let bundle = |held: Option<ByteString>| String::from_utf8(held.unwrap_or_default().0);
    let entries = found.webhooks.into_iter().flatten();
    Ok(entries.map(|entry| bundle(entry.client_config.ca_bundle)).collect::<Result<_, _>>()?)
}

async fn stored(namespace: &TestNamespace) -> anyhow::Result<Option<Secret>> {
    Ok(namespace.api::<Secret>().get_opt(TLS_SECRET).await?)
}

/// Not held yet: with lifetimes of seconds, and the machine busy, 4 of 2,584 calls met a certificate that the API
/// server did not trust; 1,549 calls before that met none.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "known to fail now and then: cargo test -p workflow-tests --test certs -- --ignored"]
async fn rotation_under_constant_load_loses_no_call() {
    with_namespace(async |namespace| {
        let seconds = std::env::var(ROTATION_SECONDS).ok().and_then(|text| text.parse().ok()).unwrap_or(45);
        let lifetimes = Lifetimes {
            authority: jiff::SignedDuration::from_secs(20),
            leaf: jiff::SignedDuration::from_secs(4),
            settle: jiff::SignedDuration::from_secs(3),
        };
        let first = Replica::start(&namespace, "first", lifetimes).await?;
        let second = Replica::start(&namespace, "second", lifetimes).await?;
        register(&namespace, &[&first, &second]).await?;
        until("the first call goes through", || async { Ok(call(&namespace).await.is_ok()) }).await?;

        let end = Instant::now() + Duration::from_secs(seconds);
        let load = |namespace: TestNamespace| async move {
            let mut refused = Vec::new();
            let mut calls = 0_u32;
            while Instant::now() < end {
                calls += 1;
                refused.extend(call(&namespace).await.err().map(|error| error.to_string()));
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            (calls, refused)
        };
        let loads: Vec<_> = (0..4).map(|_| tokio::spawn(load(namespace.clone()))).collect();
        let (mut leaves, mut authorities) = (BTreeSet::new(), BTreeSet::new());
        while Instant::now() < end {
            for facts in [first.resolver.facts(), second.resolver.facts()].into_iter().flatten() {
                leaves.insert(facts.serial);
                authorities.insert(facts.issuer_key_id);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let (mut calls, mut refused) = (0, Vec::new());
        for load in loads {
            let (more, failures) = load.await?;
            calls += more;
            refused.extend(failures);
        }
        let held = bundles(&namespace).await?;
        unregister(&namespace).await?;
        println!(
            "{calls} calls, {} refused, {} leaves, {} authorities",
            refused.len(),
            leaves.len(),
            authorities.len()
        );
        anyhow::ensure!(
            refused.is_empty(),
            "{} of {calls} refused, the first: {}",
            refused.len(),
            refused[0]
        );
        anyhow::ensure!(
            u64::try_from(authorities.len())? >= seconds / 20,
            "too few authorities: {authorities:?}"
        );
        anyhow::ensure!(u64::try_from(leaves.len())? >= seconds / 5, "too few leaves: {}", leaves.len());
        anyhow::ensure!(held.len() == 2 && held[0] == held[1], "every entry holds one bundle");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_or_damaged_comes_back_as_it_was() {
    with_namespace(async |namespace| {
        let first = Replica::start(&namespace, "first", Lifetimes::default()).await?;
        let second = Replica::start(&namespace, "second", Lifetimes::default()).await?;
        register(&namespace, &[&first, &second]).await?;
        until("the first call goes through", || async { Ok(call(&namespace).await.is_ok()) }).await?;
        let secrets = namespace.api::<Secret>();
        let good = secrets.get(TLS_SECRET).await?.data;
        let registered = bundles(&namespace).await?;
        let serial = |replica: &Replica| replica.resolver.facts().map(|facts| facts.serial);
        let served = serial(&first);
        anyhow::ensure!(served.is_some() && served == serial(&second), "both serve one certificate");

        secrets.delete(TLS_SECRET, &DeleteParams::default()).await?;
        until("a deleted Secret comes back", || async {
            Ok(stored(&namespace).await?.is_some_and(|secret| secret.data == good))
        })
        .await?;

        let damage = json!({"stringData": {store::KEY: "no key"}});
        secrets.patch(TLS_SECRET, &PatchParams::default(), &Patch::Merge(damage)).await?;
        until("a damaged Secret is mended", || async {
            Ok(stored(&namespace).await?.is_some_and(|secret| secret.data == good))
        })
        .await?;

        let empty = json!([{"op": "remove", "path": "/webhooks/1/clientConfig/caBundle"}]);
        let patch = Patch::Json::<()>(serde_json::from_value(empty)?);
        registrations(&namespace).patch(&namespace.name, &PatchParams::default(), &patch).await?;
        until("a removed caBundle is filled again", || async {
            Ok(bundles(&namespace).await? == registered)
        })
        .await?;

        let owners = registrations(&namespace).get(&namespace.name).await?.metadata.owner_references;
        unregister(&namespace).await?;
        anyhow::ensure!(
            serial(&first) == served && serial(&second) == served,
            "the same certificate is served"
        );
        anyhow::ensure!(owners.is_some_and(|owners| owners[0].kind == "Namespace"), "the namespace owns it");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_replica_leads_and_hands_over_when_it_ends() {
    with_namespace(async |namespace| {
        let mut first = Replica::start(&namespace, "first", Lifetimes::default()).await?;
        tokio::time::timeout(PATIENCE, first.leading.wait_for(|leads| *leads)).await??;
        let mut second = Replica::start(&namespace, "second", Lifetimes::default()).await?;
        until("the second serves", || async { Ok(second.resolver.facts().is_some()) }).await?;
        anyhow::ensure!(*first.leading.borrow() && !*second.leading.borrow(), "the first still leads alone");

        let served = second.resolver.facts();
        first.stop().await?;
        tokio::time::timeout(PATIENCE, second.leading.wait_for(|leads| *leads)).await??;
        anyhow::ensure!(second.resolver.facts() == served, "a new leader keeps the certificate");
        Ok(())
    })
    .await;
}
