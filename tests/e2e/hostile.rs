//! One hostile principal beside those who mean well: a node answers the others, grows by little more than what it holds for
//! that one, and never ends.
//!
//! | principal | what it does | where |
//! |---|---|---|
//! | a client, a named peer, a cell | what no library of Cap'n Proto would say | `script` |
//! | a client, a named peer | programs, cells, supervisors, subscriptions, messages | `calls` |
//! | a cell without any grant | loops, memory, random bytes, output | `cells` |
//! | a cell with every grant | mail, names, links, signals, lines of the log | `actors` |
//! | a named peer, strangers | streams to a published cell | `streams` |
//! | strangers of one address | sockets, handshakes, keys | `strangers` |
//!
//! Each attack goes on for a moment, or for as long as `make soak` says. Beside it a client and a peer ask a cell
//! ([`probes`]), and the memory of the node is looked at. After it the node holds nothing for the principal any more, and
//! answers newcomers. `bar` says what is expected, and [`Row::known`] where a row is not held to it, and why.
//!
//! `places` has what is exact: how many places there are, and who gets them.

mod actors;
mod bar;
mod calls;
mod cells;
mod enemy;
mod node;
mod places;
mod probes;
mod script;
mod strangers;
mod streams;

use std::{
    rc::Rc,
    sync::{Arc, Mutex, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use futures::future::join_all;
use ww_schema::peer_capnp::process;

use self::{
    bar::{Bar, GROWTH},
    enemy::{Attack, Enemy, Granted},
    node::{ASKED, HELD_FOR_CLIENT, HELD_FOR_PEER, MEMORY_OF_PEER, Victim},
    probes::{Asking, Latencies, Probe, local},
    script::scripts,
    streams::{OPEN, STREAM_ROWS},
};
use crate::image::Image;

/// How often the memory of a node is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// A part of the names of the rows that run, to look at one more closely; all run without it.
const ONLY: &str = "WW_HOSTILE_ROW";

/// What the streams of one peer, or of one address, may hold in the network's own buffers.
const NETWORK: u64 = 128 << 20;

/// Cells that compute at once: more than a machine of two cores has.
const COMPUTING: usize = 4;

/// In a soak the machine is measured by one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// One attack.
struct Row {
    name: &'static str,
    attack: Attack,
    /// What the account of the principal holds at most, with the linear memory of its cells.
    account: u64,
    /// Whether the cell that is attacked is asked as well.
    asks_attacked: bool,
    known: Option<Known>,
}

/// A row that is not held to the bar, to what it is held, and why.
#[derive(Clone, Copy)]
struct Known {
    latency: Option<Duration>,
    growth: Option<u64>,
    why: &'static str,
}

/// Rows that are not held to the bar.
const KNOWN: [(&str, Known); 0] = [];

impl Row {
    fn new(name: &'static str, account: u64, attack: Attack) -> Self {
        let known = KNOWN.iter().find(|(row, _)| *row == name).map(|(_, known)| *known);
        Self { name, attack, account, asks_attacked: false, known }
    }
}

/// Does something again and again, whatever becomes of it.
fn attack<F, T>(doing: impl Fn(Rc<Enemy>) -> F + Clone + Send + Sync + 'static) -> Attack
where
    F: Future<Output = T> + 'static,
{
    Arc::new(move |enemy| {
        let doing = doing.clone();
        Box::pin(async move {
            loop {
                doing(Rc::clone(&enemy)).await;
                tokio::task::yield_now().await;
            }
        })
    })
}

/// Every script, over connections of one after the other.
fn said(account: u64) -> Vec<Row> {
    let rows = scripts().into_iter().map(|(name, script)| {
        let script = Arc::new(script);
        let play = move |enemy: Rc<Enemy>| {
            let script = Arc::clone(&script);
            async move {
                if let Some(wire) = enemy.open().await {
                    enemy.struck();
                    script.play(wire).await;
                }
            }
        };
        Row::new(name, account, attack(play))
    });
    rows.collect()
}

/// What clients and named peers call.
fn called(account: u64) -> Vec<Row> {
    calls::CALLS.into_iter().map(|(name, doing)| Row::new(name, account, attack(doing))).collect()
}

/// What peers do with streams.
fn streamed(account: u64) -> Vec<Row> {
    let rows = STREAM_ROWS.into_iter().map(|(name, cell, doing)| {
        let attack = attack(move |enemy: Rc<Enemy>| {
            let client = enemy.peer().clone();
            streams::attack(enemy, client, cell, doing)
        });
        Row { asks_attacked: cell == OPEN, ..Row::new(name, account + NETWORK, attack) }
    });
    rows.collect()
}

/// A program that runs once, again and again, as so many cells.
fn running(name: &'static str, wasm: Vec<u8>, granted: Granted, count: usize) -> Row {
    let wasm: Arc<[u8]> = wasm.into();
    let run = move |enemy: Rc<Enemy>| {
        let wasm = Arc::clone(&wasm);
        async move {
            let (_connection, node) = enemy.connect().await;
            let executor = enemy::narrowed(&node.host, granted, cells::HELD, cells::MEMORY);
            let one = async || -> Result<(), capnp::Error> {
                loop {
                    let cell: process::Client = enemy::run(&executor, &wasm).await?;
                    enemy.struck();
                    // Its output is not read, and not thrown away.
                    let _output = cell.stdout_request().send().promise.await?;
                    cell.wait_request().send().promise.await?;
                }
            };
            let all = join_all((0..count).map(|_| one())).await;
            drop(all);
        }
    };
    // The client that started them pays as well, and is as bad.
    Row::new(name, HELD_FOR_CLIENT + count as u64 * cells::MEMORY, attack(run))
}

fn scripted(granted: Granted) -> Vec<Row> {
    scripts().into_iter().map(|(name, script)| running(name, script.component(), granted, 1)).collect()
}

/// Runs all rows against one node.
fn withstands(principal: &str, rows: impl IntoIterator<Item = Row>, enemy: impl FnOnce(&Victim<'_>) -> Enemy) {
    let bar = Bar::of_this_run();
    let _alone = bar.soaks.then(|| ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    let image = Image::of("echo");
    let mut victim = Victim::start(&image);
    let (honest, enemy) = (victim.honest(), enemy(&victim));
    let client = Asking::Client(victim.socket.clone(), ASKED);
    let asking = [client, Asking::Peer(honest.clone(), ASKED), Asking::Peer(honest.clone(), OPEN)];
    let newcomers = |victim: &Victim<'_>| {
        let all = asking.clone().map(|asking| Probe::start(victim.runtime.handle(), asking));
        all.into_iter().map(Probe::stop).collect::<Option<Vec<_>>>()
    };
    let alone = newcomers(&victim).expect("a node that nobody attacks answers");
    let before = victim.server.running.anonymous();
    println!("{principal}: {} MiB, {} and {} alone", before >> 20, alone[0], alone[1]);
    let mut faults = Vec::new();
    let only = std::env::var(ONLY).unwrap_or_default();
    for row in rows.into_iter().filter(|row| row.name.contains(&only)) {
        enemy.blows.store(0, Ordering::Relaxed);
        let runtime = victim.runtime.handle().clone();
        let probed = if row.asks_attacked { &asking[..] } else { &asking[..2] };
        let probes: Vec<_> = probed.iter().map(|asking| Probe::start(&runtime, asking.clone())).collect();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let attacker = {
            let (attack, enemy, runtime) = (Arc::clone(&row.attack), enemy.clone(), runtime.clone());
            thread::spawn(move || {
                local(&runtime, async {
                    tokio::select! {
                        () = attack(Rc::new(enemy)) => {}
                        _ = stopped => {}
                    }
                });
            })
        };
        let (began, mut largest) = (Instant::now(), 0);
        while began.elapsed() < bar.time || enemy.blows.load(Ordering::Relaxed) == 0 {
            largest = largest.max(victim.server.running.anonymous());
            thread::sleep(LOOK);
            assert!(!attacker.is_finished() && began.elapsed() < bar.time + crate::harness::PATIENCE, "{}", row.name);
        }
        let latencies: Option<Vec<_>> = probes.into_iter().map(Probe::stop).collect();
        largest = largest.max(victim.server.running.anonymous());
        stop.send(()).unwrap_or_default();
        attacker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let (Some(latencies), Some(_)) = (latencies, newcomers(&victim)) else {
            victim
                .server
                .running
                .give_up(&format!("{principal}, {}: somebody who means well was not answered", row.name))
        };
        let stays = victim.server.running.anonymous();
        let grown = |now: u64| now.saturating_sub(before) >> 20;
        println!(
            "{principal} | {} | {} blows | {} | {} | {}+{} MiB, {} stay",
            row.name,
            enemy.blows.load(Ordering::Relaxed),
            latencies.iter().map(Latencies::to_string).collect::<Vec<_>>().join(" | "),
            grown(largest),
            row.account >> 20,
            GROWTH >> 20,
            grown(stays),
        );
        let known = row.known;
        let most = known.and_then(|known| known.latency).unwrap_or(bar.latency);
        for latency in &latencies[..2] {
            if latency.percentile(99) > most {
                faults.push(format!("{}: an answer took {latency}, expected at most {most:?}", row.name));
            }
        }
        let most = row.account + known.and_then(|known| known.growth).unwrap_or(GROWTH);
        if largest.saturating_sub(before) > most {
            faults.push(format!(
                "{}: the node grew by {} MiB, expected {} at most",
                row.name,
                grown(largest),
                most >> 20
            ));
        }
        if let Some(Known { why, .. }) = known {
            println!("{principal} | {} | not held to the bar: {why}", row.name);
        }
    }
    assert!(faults.is_empty(), "{principal}:\n{}", faults.join("\n"));
    victim.stop();
}

#[test]
fn a_hostile_client_harms_nobody() {
    withstands("client", said(HELD_FOR_CLIENT).into_iter().chain(called(HELD_FOR_CLIENT)), |victim| victim.client());
}

#[test]
fn a_hostile_peer_that_is_named_harms_nobody_over_tcp() {
    let account = HELD_FOR_PEER + MEMORY_OF_PEER;
    let all = if Bar::of_this_run().soaks { called(account) } else { Vec::new() };
    let rows = said(account).into_iter().chain(streamed(account));
    withstands("peer, TCP", rows.chain(all), |victim| victim.named(0));
}

#[test]
fn a_hostile_peer_that_is_named_harms_nobody_over_quic() {
    let account = HELD_FOR_PEER + MEMORY_OF_PEER;
    let all =
        if Bar::of_this_run().soaks { said(account).into_iter().chain(called(account)).collect() } else { Vec::new() };
    withstands("peer, QUIC", all.into_iter().chain(streamed(account)), |victim| victim.named(1));
}

#[test]
fn a_hostile_cell_without_any_grant_harms_nobody() {
    let computing = cells::programs().into_iter().map(|(name, wasm)| running(name, wasm, Granted::Nothing, COMPUTING));
    withstands("cell, no grant", scripted(Granted::Nothing).into_iter().chain(computing), |victim| victim.client());
}

#[test]
fn a_hostile_cell_with_every_grant_harms_nobody() {
    let account = HELD_FOR_CLIENT + 2 * cells::MEMORY;
    let acting = actors::ACTORS
        .into_iter()
        .map(|(name, doing)| Row::new(name, account, attack(move |enemy: Rc<Enemy>| actors::attack(enemy, doing))));
    withstands("cell, all grants", scripted(Granted::Everything).into_iter().chain(acting), |victim| victim.client());
}

#[test]
fn hostile_strangers_of_one_address_harm_nobody() {
    let account = ww_core::account::DEFAULT_ADDRESS;
    let rows = strangers::STRANGERS.into_iter().map(|(name, doing)| Row::new(name, account + NETWORK, attack(doing)));
    withstands("strangers, TCP", streamed(account).into_iter().chain(rows), |victim| victim.stranger(0));
    if Bar::of_this_run().soaks {
        withstands("strangers, QUIC", streamed(account), |victim| victim.stranger(1));
    }
}
