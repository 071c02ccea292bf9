//! The component host-network on a node: the replica listens in the node's network, on ports of its own, and delivers.

use anyhow::ensure;
use kube::ResourceExt;
use workflow_contract::names::INJECTOR;
use workflow_tests::disruption::Replicas;
use workflow_tests::env::TestEnv;
use workflow_tests::installer::Installer;
use workflow_tests::namespace::{TestNamespace, with_namespace};
use workflow_tests::operator::Mode;
use workflow_tests::session::SessionBuilder;
use workflow_tests::wait::until_so;

use crate::{TURN, runs_with_its_workflow};

async fn installs_and_delivers(installer: &Installer, namespace: TestNamespace) -> anyhow::Result<()> {
    installer.uninstall().await?;
    // Two replicas need two nodes, so the Deployment is scaled as soon as it exists. `check` is part of the installation.
    let scale = ["-n", INJECTOR, "scale", "deployment/workflow-injector", "--replicas=1"];
    let one_replica = until_so("the Deployment", || async { Ok(installer.kubectl(&scale).await.is_ok()) });
    let (installation, scaling) = tokio::join!(installer.install_with("host-network"), one_replica);
    installation.and(scaling)?;

    let present = Replicas::in_cluster(&namespace.cluster.client).present().await?;
    ensure!(present.len() == 1, "{} replicas", present.len());
    for pod in &present {
        let spec = pod.spec.clone().unwrap_or_default();
        let status = pod.status.clone().unwrap_or_default();
        ensure!(spec.host_network == Some(true) && status.pod_ip == status.host_ip, "{}", pod.name_any());
        let ports = spec.containers.iter().flat_map(|container| container.ports.iter().flatten());
        let ports: Vec<_> = ports.filter_map(|port| port.host_port).collect();
        ensure!(ports == [10343, 10344], "{ports:?}");
    }
    let env = TestEnv::new(namespace, Mode::PostRunning).await?;
    let repository = env.git.repository("acme/flow").file("README.md", "# Flow\n").create()?;
    env.create(SessionBuilder::new("s").workflow(repository.url(), "main")).await?;
    env.session_until("s", "its workflow", runs_with_its_workflow).await?;
    env.delete("s").await?;
    installer.uninstall().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn delivers_from_the_network_of_the_node() {
    with_namespace(|namespace| async move {
        let _turn = TURN.lock().await;
        if !namespace.cluster.is_local() {
            // Ports of other people's nodes may be in use.
            return Ok(());
        }
        let installer = Installer::new(&namespace.cluster);
        installer.put_back_after(async || installs_and_delivers(&installer, namespace.clone()).await).await
    })
    .await;
}
