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
//! Each attack goes on for a moment, or for as long as `make soak` says, and no other one beside it. A client and a peer ask a
//! cell meanwhile ([`probes`]), and the memory of the node is looked at. After it the node answers newcomers. After the last
//! one the node holds nothing for the principal any more; in a soak each has a node of its own, so that this is after each.
//! `row` measures, `bar` says what is expected.
//!
//! `places` has what is exact: how many places there are, and who gets them.

mod actors;
mod bar;
mod calls;
mod cells;
mod component;
mod enemy;
mod node;
mod places;
mod probes;
mod row;
mod script;
mod strangers;
mod streams;

use std::{
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use futures::future::join_all;
use ww_schema::peer_capnp::process;

use self::{
    bar::Bar,
    enemy::{Enemy, Granted},
    node::{ASKED, HELD_FOR_CLIENT, HELD_FOR_PEER, MEMORY_OF_PEER, Victim},
    probes::Asking,
    row::{Measured, Row, Scene, attack},
    script::scripts,
    streams::{OPEN, STREAM_ROWS},
};
use crate::image::Image;

/// A part of the names of the rows that run, to look at some more closely; all run without it.
const ONLY: &str = "WW_HOSTILE_ROW";

/// What the streams of one peer, or of one address, may hold in the network's own buffers.
const NETWORK: u64 = 128 << 20;

/// Cells that compute at once: more than a machine of two cores has.
const COMPUTING: usize = 4;

/// The machine is measured by one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Every script, over connections of one after the other.
fn said(account: u64) -> Vec<Row> {
    let rows = scripts().into_iter().map(|(name, script)| {
        let script = Arc::new(script);
        let play = move |enemy: Rc<Enemy>| {
            let script = Arc::clone(&script);
            async move {
                if let Some(wire) = enemy.open().await {
                    script.play(wire, &enemy).await;
                }
                Ok(())
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
        let attack = attack(move |enemy: Rc<Enemy>| streams::attack(enemy, cell, doing));
        Row::new(name, account + NETWORK, attack).asking_attacked(cell == OPEN)
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
                    enemy::begins(&cell).await?;
                    enemy.struck();
                    // Its output is not read, and not thrown away.
                    let _output = cell.stdout_request().send().promise.await?;
                    cell.wait_request().send().promise.await?;
                }
            };
            // One that cannot go on holds none of the others up, and all are started again after the last.
            let all = (0..count).map(|_| async { one().await.unwrap_or_else(|error| enemy.failed(error)) });
            join_all(all).await;
            Ok(())
        }
    };
    // The client that started them pays as well, and is as bad.
    Row::new(name, HELD_FOR_CLIENT + count as u64 * cells::MEMORY, attack(run))
}

fn scripted(granted: Granted) -> Vec<Row> {
    scripts().into_iter().map(|(name, script)| running(name, script.component(), granted, 1)).collect()
}

/// The names of all rows of all principals.
fn names() -> impl Iterator<Item = &'static str> {
    let told = scripts().into_iter().map(|(name, _)| name).chain(calls::CALLS.map(|(name, _)| name));
    let cells = cells::programs().into_iter().map(|(name, _)| name).chain(actors::ACTORS.map(|(name, _)| name));
    let strangers = STREAM_ROWS.map(|(name, ..)| name).into_iter().chain(strangers::STRANGERS.map(|(name, _)| name));
    told.chain(cells).chain(strangers)
}

/// Runs all rows against one node; in a soak, each against a node of its own. The question whether a node holds anything makes
/// it hold much for a moment, of which the allocator keeps some: nothing can be measured after it.
fn withstands(principal: &'static str, rows: impl IntoIterator<Item = Row>, who: impl Fn(&Victim<'_>) -> Enemy) {
    let only = std::env::var(ONLY).unwrap_or_default();
    assert!(names().any(|name| name.contains(&only)), "{ONLY}: no row has a name with {only:?}");
    let rows: Vec<_> = rows.into_iter().filter(|row| row.name.contains(&only)).collect();
    // A test that has failed holds nobody up.
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (began, bar) = (Instant::now(), Bar::of_this_run());
    let together = if bar.soaks { 1 } else { rows.len().max(1) };
    let faults: Vec<_> = rows.chunks(together).flat_map(|rows| against(principal, rows, bar, &who)).collect();
    println!("{principal}: {} rows, {:?}", rows.len(), began.elapsed());
    assert!(faults.is_empty(), "{principal}:\n{}", faults.join("\n"));
}

/// Runs some rows against one node, which holds nothing for the principal at the end. Returns what is not as the bar has it.
fn against(principal: &'static str, rows: &[Row], bar: Bar, who: impl Fn(&Victim<'_>) -> Enemy) -> Vec<String> {
    let image = Image::of("echo");
    let victim = Victim::start(&image, bar);
    let (honest, enemy) = (victim.honest(), who(&victim));
    let client = Asking::Client(victim.socket.clone(), ASKED);
    let asking = [client, Asking::Peer(honest.clone(), ASKED), Asking::Peer(honest, OPEN)];
    let mut scene = Scene { principal, victim, enemy, asking, bar };
    let Some(alone) = scene.newcomers() else { scene.give_up("before", "a node that nobody attacks does not answer") };
    println!("{principal}: {} MiB, {} and {} alone", scene.memory() >> 20, alone[0], alone[1]);
    let (mut all, mut faults) = (Vec::new(), Vec::new());
    for row in rows {
        let measured = row.run(&mut scene);
        println!("{principal} | {measured}");
        faults.extend(measured.faults(&bar));
        all.push(measured);
    }
    faults.extend(Measured::remainder(&all));
    if !scene.victim.settled() {
        scene.give_up("after all", "the node still holds what nobody has");
    }
    if !faults.is_empty() && !bar.soaks {
        scene.give_up("faults", &faults.join("\n"));
    }
    scene.victim.stop();
    faults
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
    let soaks = Bar::of_this_run().soaks;
    let all = if soaks { said(account).into_iter().chain(called(account)).collect() } else { Vec::new() };
    // In a run of the tests the cell that is attacked is asked beside those that come over TCP.
    let streamed = streamed(account).into_iter().map(|row| if soaks { row } else { row.asking_attacked(false) });
    withstands("peer, QUIC", all.into_iter().chain(streamed), |victim| victim.named(1));
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
    let all = if Bar::of_this_run().soaks { scripted(Granted::Everything) } else { Vec::new() };
    withstands("cell, all grants", all.into_iter().chain(acting), |victim| victim.client());
}

#[test]
fn hostile_strangers_of_one_address_harm_nobody() {
    let account = ww_core::account::DEFAULT_ADDRESS;
    let rows = strangers::STRANGERS.into_iter().map(|(name, doing)| {
        Row::new(
            name,
            account + NETWORK,
            attack(move |enemy| async move {
                doing(enemy).await;
                Ok(())
            }),
        )
    });
    withstands("strangers, TCP", streamed(account).into_iter().chain(rows), |victim| victim.stranger(0));
    if Bar::of_this_run().soaks {
        withstands("strangers, QUIC", streamed(account), |victim| victim.stranger(1));
    }
}
