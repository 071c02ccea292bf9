//! Makes the injector's own rotation due, by what it keeps in its Secret: certificates that are as old as its rules say.
//! Everything after that is the injector's doing.

use anyhow::{Context, bail, ensure};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, DeleteParams};
use workflow_certs::issue::{self, Validity};
use workflow_certs::rotate::{Action, apply};
use workflow_certs::secret::{Found, TlsSecret, Version};
use workflow_certs::state::Issued;
use workflow_certs::{Lifetimes, State};
use workflow_contract::names::{INJECTOR, TLS_SECRET};

use crate::wait::{until_found, until_so};

/// How long the old authority is trusted after its successor took over; as long as the last leaf of it, in earnest.
const FORGOTTEN_AFTER: SignedDuration = SignedDuration::from_secs(5);

/// Puts a leaf in place that is due for renewal, and waits until it was renewed.
pub async fn renew_leaf(client: &Client) -> anyhow::Result<()> {
    let old = changed(client, |state| {
        let now = Timestamp::now();
        let left = Lifetimes::default().leaf / 3 - SignedDuration::from_hours(1);
        let validity = Validity { not_before: now - SignedDuration::from_mins(5), not_after: now + left };
        state.leaf = Issued::new(issue::leaf(&state.current.pair, &state.leaf.facts.names, validity)?)?;
        Ok(())
    })
    .await?;
    until_so("the leaf to be renewed", || async {
        Ok(read(client).await?.0.leaf.facts.serial != old.leaf.facts.serial)
    })
    .await
}

/// Adds another authority as the next one, waits until it has taken over, and lets the old one be forgotten.
pub async fn change_authority(client: &Client) -> anyhow::Result<()> {
    ensure!(read(client).await?.0.next.is_none(), "another authority is on its way already");
    let before = changed(client, |state| {
        if state.next.is_some() {
            // It was written, and the answer was lost.
            return Ok(());
        }
        let names = state.leaf.facts.names.clone();
        *state = apply(Action::AddNext, Some(state), &names, Timestamp::now(), &Lifetimes::default())?;
        Ok(())
    })
    .await?;
    until_so("the next authority to take over", || async {
        Ok(read(client).await?.0.current.facts.key_id != before.current.facts.key_id)
    })
    .await?;
    changed(client, |state| {
        // Not at once: every replica is to have heard of the new leaf.
        let until = Timestamp::now() + FORGOTTEN_AFTER;
        state.retired.iter_mut().for_each(|retired| retired.until = until);
        Ok(())
    })
    .await?;
    until_so("the old authority to be forgotten", || async { Ok(read(client).await?.0.retired.is_empty()) })
        .await
}

/// Deletes the Secret, and waits until it is there again, with the authority that it had.
pub async fn lose(client: &Client) -> anyhow::Result<()> {
    let before = read(client).await?.0;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), INJECTOR);
    secrets.delete(TLS_SECRET, &DeleteParams::default()).await.context("delete the Secret")?;
    let authority = before.current.pair.certificate.trim();
    until_so("the Secret to be written again", || async {
        Ok(read(client).await?.0.bundle().contains(authority))
    })
    .await
}

/// Changes what the Secret holds, on top of what the leader may write meanwhile. Gives what was written.
async fn changed(
    client: &Client,
    change: impl Fn(&mut State) -> anyhow::Result<()>,
) -> anyhow::Result<State> {
    // Meanwhile the API server may be killed, or the Secret be lost.
    until_found("the Secret to be changed", || async {
        let (mut state, version) = read(client).await?;
        change(&mut state)?;
        let written = TlsSecret::new(client.clone(), INJECTOR).write(&state, Some(version)).await?;
        Ok(written.then_some(state))
    })
    .await
}

async fn read(client: &Client) -> anyhow::Result<(State, Version)> {
    match TlsSecret::new(client.clone(), INJECTOR).read().await? {
        Found::Whole(state, version) => Ok((*state, version)),
        Found::Absent => bail!("there is no Secret {TLS_SECRET}"),
        Found::Broken(error, _) => Err(error).context("the Secret holds no certificates"),
    }
}
