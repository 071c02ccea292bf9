//! A new leader whose watch of the Secret is behind.

use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use workflow_certs::{Lifetimes, State, store};
use workflow_contract::names::TLS_SECRET;
use workflow_tests::api_server;
use workflow_tests::faults::Faults;
use workflow_tests::namespace::TestNamespace;
use workflow_tests::wait::TIMEOUT;

use super::replica::{Replica, bundles, register, unregister};

/// The shortest lifetimes of a rotation.
const LIFETIMES: Lifetimes = Lifetimes {
    ca: jiff::SignedDuration::from_secs(20),
    serving: jiff::SignedDuration::from_secs(4),
    settle: jiff::SignedDuration::from_secs(3),
};

async fn stored(secrets: &Api<Secret>) -> anyhow::Result<State> {
    Ok(store::decode(&secrets.get(TLS_SECRET).await?.data.unwrap_or_default())?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_with_a_late_watch_removes_no_ca_in_use() -> anyhow::Result<()> {
    let (cluster, _turn) = api_server::exclusive().await?;
    let namespace = TestNamespace::named(cluster, "takeover").await?;
    let secrets = namespace.api::<Secret>();
    let mut first = Replica::start(&namespace, "first", LIFETIMES).await?;
    tokio::time::timeout(TIMEOUT, first.leading.wait_for(|leads| *leads)).await??;
    let (client, faults) = Faults::client(api_server::server()?.config().await?)?;
    let mut second = Replica::start_with(client, &namespace, "second", LIFETIMES).await?;
    register(&namespace, &[&first, &second]).await?;

    let takeover = async {
        let first_ca = loop {
            match second.resolver.info() {
                Some(info) => break info.issuer_key_id,
                None => tokio::task::yield_now().await,
            }
        };
        faults.blind_to("secrets");
        // Until the CA that the second replica has read is retired.
        while stored(&secrets).await?.ca.info.key_id == first_ca {}
        first.stop().await?;
        second.leading.wait_for(|leads| *leads).await?;

        let before = stored(&secrets).await?.serving.info.serial;
        loop {
            let state = stored(&secrets).await?;
            for bundle in bundles(&namespace).await? {
                let ca = state.ca.pair.certificate.trim();
                anyhow::ensure!(bundle.contains(ca), "the CA of the serving certificate is not trusted");
            }
            // The second replica has renewed the serving certificate.
            if state.serving.info.serial != before {
                return anyhow::Ok(());
            }
        }
    };
    let result = tokio::time::timeout(TIMEOUT, takeover).await;
    unregister(&namespace).await?;
    result?
}
