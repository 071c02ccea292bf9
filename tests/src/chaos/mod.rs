//! Fifty session pods a second while everything that is done to an injector in its life is done to it at random.
//!
//! ```text
//!  load ───── 50/s pods for no node, created, looked at, deleted
//!  sessions ─ one in 25: by the stand-in operator; its pod waits for a node, and really runs if there is room
//!  upheavals  drawn from the seed, one after the other; an authority settles beside the others
//! ```
//!
//! The node is small: of the sessions two run at a time, each of whose pods asks for 500m of its CPUs; the others are
//! judged by their pods and conditions. It is bounded: after the plan's time nothing new is begun.

mod draw;
mod judge;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, interval, sleep, sleep_until};

use crate::load::{Load, RATE, Span};
use crate::lobby::{Lobby, Wish};
use crate::namespace::TestNamespace;
use crate::upheaval::{Hand, Upheaval};
use crate::wait::PATIENCE;

use draw::{Draws, fitting};
pub use judge::{Life, Memory, Report};

/// One session of the operator for so many pods.
const ONE_IN: u64 = 25;
/// Sessions whose pods run at a time.
const ROOM: usize = 2;
/// Each so many sessions one has a branch that is not there.
const MISSPELT: usize = 5;
/// Before the end of the time, nothing more is done to the injector for so long.
const QUIET: Duration = Duration::from_secs(5);

/// How it is to be done.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Tells what happens when.
    pub seed: u64,
    /// How long the load lasts.
    pub length: Duration,
}

/// Does it in this namespace. Fails only where nothing could be judged.
pub async fn run(namespace: TestNamespace, plan: Plan) -> anyhow::Result<Report> {
    let hand = Arc::new(Hand::on(&namespace.cluster));
    hand.whole_again().await?;
    let lobby = Arc::new(Lobby::open(namespace.clone()).await?);
    let load = Load::start(&namespace).await?;
    let end = Instant::now() + plan.length;
    let upheavals = tokio::spawn(upheavals(Arc::clone(&hand), plan, end, namespace.cluster.is_local()));
    let lives = tokio::spawn(lives(Arc::clone(&lobby), end));
    let memory = tokio::spawn(memory(Arc::clone(&hand), plan.length, end));

    let upheavals = upheavals.await?;
    sleep_until(end).await;
    let story = load.stop().await?;
    let upheavals =
        upheavals.context("the injector could not be brought into trouble, or did not get out of it")?;
    let (lives, memory) = (lives.await?, memory.await?);
    let refused = lobby.refused().into_iter().map(|(name, at)| (name, Span { from: at, to: at })).collect();
    Ok(Report { seed: plan.seed, length: plan.length, story, lives, refused, upheavals, memory })
}

async fn upheavals(
    hand: Arc<Hand>,
    plan: Plan,
    end: Instant,
    local: bool,
) -> anyhow::Result<Vec<(Upheaval, Span)>> {
    let mut done = Vec::new();
    let mut authority: Option<JoinHandle<anyhow::Result<()>>> = None;
    for (pause, upheaval) in Draws::new(plan.seed, fitting(plan.length, local)) {
        sleep(pause).await;
        if Instant::now() + QUIET > end {
            break;
        }
        let from = Timestamp::now();
        if upheaval == Upheaval::NewAuthority {
            match authority.take() {
                Some(going) if !going.is_finished() => {
                    authority = Some(going);
                    continue;
                }
                Some(ended) => ended.await??,
                None => {}
            }
            let hand = Arc::clone(&hand);
            authority = Some(tokio::spawn(async move { hand.cause(upheaval).await.map(drop) }));
        } else {
            Box::pin(hand.cause(upheaval)).await?;
        }
        done.push((upheaval, Span { from, to: Timestamp::now() }));
    }
    if let Some(going) = authority {
        going.await??;
    }
    Ok(done)
}

/// Sessions of the operator, at their rate, up to the end; then waits for the last of them.
async fn lives(lobby: Arc<Lobby>, end: Instant) -> Vec<Life> {
    let room = Arc::new(Semaphore::new(ROOM));
    let mut ticks = interval(Duration::from_secs(ONE_IN) / u32::try_from(RATE).unwrap_or(1));
    let (mut living, mut number) = (JoinSet::new(), 0);
    while Instant::now() < end {
        ticks.tick().await;
        let wish = if number % MISSPELT == MISSPELT - 1 { Wish::Misspelt } else { Wish::Workflow };
        living.spawn(life(Arc::clone(&lobby), Arc::clone(&room), format!("s-{number}"), wish));
        number += 1;
    }
    living.join_all().await
}

async fn life(lobby: Arc<Lobby>, room: Arc<Semaphore>, name: String, wish: Wish) -> Life {
    let mut life = Life { name, ..Life::default() };
    if let Err(error) = live(&lobby, &room, wish, &mut life).await {
        life.stuck = Some(format!("{error:#}"));
    }
    life
}

async fn live(lobby: &Lobby, room: &Semaphore, wish: Wish, life: &mut Life) -> anyhow::Result<()> {
    lobby.create(&life.name, wish).await?;
    life.wrong = lobby.waits(&life.name).await?;
    let place = room.try_acquire();
    if place.is_ok() {
        life.ran = true;
        let wrong = lobby.runs(&life.name, wish).await?;
        life.delivered = wish == Wish::Workflow && wrong.is_empty();
        life.wrong.extend(wrong);
    }
    // The place is kept until the pod is gone.
    lobby.remove(&life.name).await
}

/// At the beginning, in the middle, and a moment before the end.
async fn memory(hand: Arc<Hand>, length: Duration, end: Instant) -> Vec<Memory> {
    let mut all = Vec::new();
    for at in [end - length + QUIET, end - length / 2, end - QUIET / 2] {
        sleep_until(at).await;
        // While the API server is away it is asked again.
        let now = loop {
            match hand.memory().await {
                Ok(now) => break now,
                Err(_) if Instant::now() > end + PATIENCE => return all,
                Err(_) => sleep(Duration::from_millis(200)).await,
            }
        };
        all.push(now);
    }
    all
}
