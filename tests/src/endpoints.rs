//! The endpoints of the injector's Service, written as their controller would for replicas that no kubelet runs.

use std::net::{IpAddr, SocketAddr};

use anyhow::Context;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;
use workflow_contract::names::INJECTOR;
use workflow_git_server::address_facing;

/// Label of a slice, with the name of its Service.
const SERVICE: &str = "kubernetes.io/service-name";
/// Address for documentation (RFC 5737): not of this machine; nothing is sent there.
const EXTERNAL: &str = "192.0.2.1";

/// An address of this machine that is valid in an EndpointSlice, where loopback is not.
pub fn address() -> anyhow::Result<IpAddr> {
    address_facing(EXTERNAL, 443).context("this machine has no address but loopback, or no default route")
}

/// Sets the endpoints of the Service.
pub async fn set(client: &Client, replicas: &[SocketAddr]) -> anyhow::Result<()> {
    for replica in replicas {
        add(client, *replica).await?;
    }
    let slices = slices(client);
    for slice in slices
        .list(&ListParams::default().labels(&format!("{SERVICE}={INJECTOR}")))
        .await
        .context("list the endpoints")?
    {
        let name = slice.metadata.name.unwrap_or_default();
        if !replicas.iter().any(|replica| self::name(*replica) == name) {
            gone(slices.delete(&name, &DeleteParams::default()).await)?;
        }
    }
    Ok(())
}

/// Adds a replica to the Service.
pub async fn add(client: &Client, replica: SocketAddr) -> anyhow::Result<()> {
    let name = name(replica);
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": { "name": name, "labels": { SERVICE: INJECTOR } },
        "addressType": if replica.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{ "addresses": [replica.ip()], "conditions": { "ready": true } }],
        "ports": [{ "name": "https", "protocol": "TCP", "port": replica.port() }],
    });
    let apply = PatchParams::apply("workflow-tests").force();
    slices(client).patch(&name, &apply, &Patch::Apply(slice)).await.map(drop).context("add an endpoint")
}

/// Removes a replica from the Service.
pub async fn remove(client: &Client, replica: SocketAddr) -> anyhow::Result<()> {
    gone(slices(client).delete(&name(replica), &DeleteParams::default()).await)
}

fn gone<T>(deleted: kube::Result<T>) -> anyhow::Result<()> {
    match deleted {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        deleted => deleted.map(drop).context("remove an endpoint"),
    }
}

fn name(replica: SocketAddr) -> String {
    format!("{INJECTOR}-{}", replica.port())
}

fn slices(client: &Client) -> Api<EndpointSlice> {
    Api::namespaced(client.clone(), INJECTOR)
}
