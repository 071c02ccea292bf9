//! Under fifty session pods a second nothing that an admin does to the injector loses a call, and a crash costs no session
//! its workflow or its prompt.
//!
//! That another authority loses none either takes a minute and needs no node: see `replicas.rs`.
//!
//! Each test has the injector for itself: they take turns, and no other test may use it meanwhile.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Mutex, watch};
use workflow_tests::load::{self, Span, Story};
use workflow_tests::lobby::{Lobby, Wish};
use workflow_tests::namespace::with_namespace;
use workflow_tests::upheaval::{Hand, Upheaval};

static TURN: Mutex<()> = Mutex::const_new(());

#[expect(clippy::print_stdout, reason = "what was counted; shown with --nocapture")]
fn tell(what: &str) {
    println!("{what}");
}

fn nothing_is_wrong(story: &Story) -> anyhow::Result<()> {
    tell(&story.to_string());
    let wrong = story.wrong();
    anyhow::ensure!(wrong.is_empty(), "{story}\n{}", wrong.join("\n"));
    Ok(())
}

/// Sessions a second while something crashes: enough that some meet the crash.
const SESSIONS: u32 = 5;
/// Of these so many run on the node, those first that were refused.
const RUN: usize = 2;
/// After a crash calls may still be lost for so long: until kube-proxy knows what is ready.
const AFTERMATH: SignedDuration = SignedDuration::from_secs(5);

/// Creates sessions until it is told to stop, and gives their names.
async fn sessions(lobby: Arc<Lobby>, mut stop: watch::Receiver<bool>) -> anyhow::Result<Vec<String>> {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / SESSIONS);
    let mut names = Vec::new();
    while !*stop.borrow_and_update() {
        ticks.tick().await;
        let name = format!("s-{}", names.len());
        lobby.create(&name, Wish::Workflow).await?;
        names.push(name);
    }
    Ok(names)
}

/// What a crash costs is refusals, while it lasts. Nobody's workflow or prompt is among it.
async fn costs_refusals_only(upheaval: Upheaval) {
    with_namespace(move |namespace| async move {
        let _turn = TURN.lock().await;
        if !namespace.cluster.is_local() {
            return Ok(());
        }
        let hand = Hand::on(&namespace.cluster);
        hand.whole_again().await?;
        let lobby = Arc::new(Lobby::open(namespace.clone()).await?);
        let (stop, stopped) = watch::channel(false);
        let names = tokio::spawn(sessions(Arc::clone(&lobby), stopped));
        let mut crash = None;
        let work = async {
            let from = Timestamp::now();
            hand.cause(upheaval).await?;
            crash = Some(Span { from, to: Timestamp::now() }.and(AFTERMATH));
            anyhow::Ok(())
        };
        let story = load::during(&namespace, Box::pin(work)).await?;
        stop.send_replace(true);
        let names = names.await??;
        nothing_is_wrong(&story)?;
        let crash: Vec<_> = crash.into_iter().collect();
        let lost = story.lost(&crash);
        anyhow::ensure!(lost.is_empty(), "{upheaval} at {crash:?}: {story}\n{}", lost.join("\n"));

        for name in &names {
            let wrong = lobby.waits(name).await?;
            anyhow::ensure!(wrong.is_empty(), "{name}: {}", wrong.join(", "));
        }
        let refused = lobby.refused();
        tell(&format!("{upheaval}: {} sessions, {} of them refused at first", names.len(), refused.len()));
        for name in refused.keys().chain(names.iter().filter(|name| !refused.contains_key(*name))).take(RUN) {
            let wrong = lobby.runs(name, Wish::Workflow).await?;
            anyhow::ensure!(wrong.is_empty(), "{name}: {}", wrong.join(", "));
            lobby.remove(name).await?;
        }
        Ok(())
    })
    .await;
}

async fn loses_nothing(upheaval: Upheaval) {
    with_namespace(move |namespace| async move {
        let _turn = TURN.lock().await;
        namespace.cluster.require_injector().await?;
        let hand = Hand::on(&namespace.cluster);
        hand.whole_again().await?;
        let story = load::during(&namespace, Box::pin(hand.cause_to_the_end(upheaval))).await?;
        nothing_is_wrong(&story)?;
        let lost = story.lost(&[]);
        anyhow::ensure!(lost.is_empty(), "{upheaval}: {story}\n{}", lost.join("\n"));
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_loses_no_call() {
    loses_nothing(Upheaval::Rollout).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_eviction_loses_no_call() {
    loses_nothing(Upheaval::Eviction).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deletion_of_the_leaders_pod_loses_no_call() {
    loses_nothing(Upheaval::Deletion).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_leader_loses_no_call() {
    loses_nothing(Upheaval::NewLeader).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_leaf_loses_no_call() {
    loses_nothing(Upheaval::NewLeaf).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_secret_loses_no_call() {
    loses_nothing(Upheaval::LostSecret).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_killed_costs_refusals_but_no_workflow_and_no_prompt() {
    costs_refusals_only(Upheaval::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_is_killed_costs_refusals_but_no_workflow_and_no_prompt() {
    costs_refusals_only(Upheaval::ApiServer).await;
}
