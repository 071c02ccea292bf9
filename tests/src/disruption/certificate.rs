//! Makes the injector's own rotation due by replacing the certificates in its Secret with ones that are old enough. The
//! injector does the rest.

use anyhow::{Context, bail, ensure};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, DeleteParams};
use workflow_certs::issue::{self, Validity};
use workflow_certs::rotation::Issued;
use workflow_certs::rotation::{Action, apply};
use workflow_certs::store::{StoreError, Stored, TlsSecret, Version};
use workflow_certs::{Lifetimes, State};
use workflow_contract::names::{INJECTOR, TLS_SECRET};

use crate::wait::{until_found, until_so};

/// Time for which the old CA is trusted after its successor took over. The injector itself waits until the last
/// certificate of that CA has expired.
const RETIRED_FOR: SignedDuration = SignedDuration::from_secs(5);

/// Stores a serving certificate that is due for renewal, and waits until it is renewed.
pub async fn renew(client: &Client) -> anyhow::Result<()> {
    let old = change(client, |state| {
        let now = Timestamp::now();
        let left = Lifetimes::default().serving / 3 - SignedDuration::from_hours(1);
        let validity = Validity { not_before: now - SignedDuration::from_mins(5), not_after: now + left };
        state.serving = Issued::new(issue::serving(&state.ca.pair, &state.serving.info.names, validity)?)?;
        Ok(())
    })
    .await?;
    until_so("the serving certificate to be renewed", || async {
        Ok(read(client).await?.0.serving.info.serial != old.serving.info.serial)
    })
    .await
}

/// Adds another CA as the next one, waits until it has taken over, and shortens the time until the old one is dropped.
pub async fn rotate_ca(client: &Client) -> anyhow::Result<()> {
    ensure!(read(client).await?.0.next.is_none(), "a rotation of the CA is under way already");
    let before = change(client, |state| {
        if state.next.is_some() {
            // It was written, but the response was lost.
            return Ok(());
        }
        let names = state.serving.info.names.clone();
        *state = apply(Action::AddNext, Some(state), &names, Timestamp::now(), &Lifetimes::default())?;
        Ok(())
    })
    .await?;
    until_so("the next CA to take over", || async {
        Ok(read(client).await?.0.ca.info.key_id != before.ca.info.key_id)
    })
    .await?;
    change(client, |state| {
        // Every replica needs time to load the new serving certificate.
        let until = Timestamp::now() + RETIRED_FOR;
        state.retired.iter_mut().for_each(|retired| retired.until = until);
        Ok(())
    })
    .await?;
    until_so("the old CA to be dropped", || async { Ok(read(client).await?.0.retired.is_empty()) }).await
}

/// Deletes the Secret, and waits until it is written again with the same CA.
pub async fn delete_secret(client: &Client) -> anyhow::Result<()> {
    let before = read(client).await?.0;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), INJECTOR);
    secrets.delete(TLS_SECRET, &DeleteParams::default()).await.context("delete the Secret")?;
    let ca = before.ca.pair.certificate.trim();
    until_so("the Secret to be written again", || async { Ok(read(client).await?.0.bundle().contains(ca)) })
        .await
}

/// Changes the Secret, also if the leader writes it at the same time. Returns the written state.
async fn change(client: &Client, change: impl Fn(&mut State) -> anyhow::Result<()>) -> anyhow::Result<State> {
    // Other disruptions may kill the API server or delete the Secret at the same time.
    until_found("the Secret to be changed", || async {
        let (mut state, version) = read(client).await?;
        change(&mut state)?;
        match TlsSecret::new(client.clone(), INJECTOR).write(&state, Some(version)).await {
            Ok(()) => Ok(Some(state)),
            Err(StoreError::Conflict) => Ok(None),
            Err(error) => Err(error.into()),
        }
    })
    .await
}

async fn read(client: &Client) -> anyhow::Result<(State, Version)> {
    match TlsSecret::new(client.clone(), INJECTOR).read().await? {
        Stored::Valid(state, version) => Ok((*state, version)),
        Stored::Absent => bail!("there is no Secret {TLS_SECRET}"),
        Stored::Damaged(error, _) => Err(error).context("the Secret holds no certificates"),
        Stored::Unmanaged(unmanaged) => Err(unmanaged.into()),
    }
}
