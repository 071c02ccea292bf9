//! The component `live-delivery` and its setting, for as long as a test or the demo needs them.

use kube::Client;

use crate::installed::Installed;
use crate::manifests::{Kubectl, render};

/// Line of config.yaml that the component needs.
pub const SETTING: &str = "liveDelivery: true";

/// The component's objects on the cluster, deleted when it is dropped.
struct Component {
    kubectl: Kubectl,
    objects: String,
}

impl Component {
    fn install() -> anyhow::Result<Self> {
        let component = Self { kubectl: Kubectl::local(), objects: render("components/live-delivery")? };
        component.kubectl.run(&["apply", "-f", "-"], Some(&component.objects))?;
        Ok(component)
    }
}

impl Drop for Component {
    fn drop(&mut self) {
        if let Err(error) =
            self.kubectl.run(&["delete", "--ignore-not-found", "-f", "-"], Some(&self.objects))
        {
            tracing::warn!(%error, "component live-delivery is left");
        }
    }
}

/// Runs `work` with deliveries into running sessions, and restores the installation afterwards. No other test may use
/// the injector at the same time.
pub async fn with_live_delivery(
    client: &Client,
    work: impl AsyncFnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let _component = Component::install()?;
    let installed = Installed::in_cluster(client);
    let done = installed.put_back_after(async |config| {
        installed.configure(&format!("{}\n{SETTING}\n", config.trim_end())).await?;
        work().await
    });
    Box::pin(done).await
}
