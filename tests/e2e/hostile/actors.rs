//! What a cell does to others that has every grant: mail, names, links, signals, lines of the log.

use std::rc::Rc;

use capnp::Error;
use futures::future::{LocalBoxFuture, join_all};
use tokio::task::yield_now;
use ww_schema::peer_capnp::{executor, process};

use super::{
    cells::HELD,
    enemy::{Enemy, executor_of, send, spawn},
    node::ASKED,
};
use crate::image::guest;

/// What the two cells do until one of them has ended: the hostile one, and one beside it.
type Doing = fn(Rc<Enemy>, Cells) -> LocalBoxFuture<'static, Result<(), Error>>;

/// Every grant of a cell, by its reserved name.
const GRANTS: [&str; 6] = [
    "wetware:cell/self",
    "wetware:cell/mail",
    "wetware:cell/registry",
    "wetware:cell/process",
    "wetware:cell/log",
    "wetware:peer/host",
];

/// Every attack, by what it does.
pub(super) const ACTORS: [(&str, Doing); 9] = [
    ("mail to a cell that computes", |enemy, cells| Box::pin(mail(enemy, cells))),
    ("mail to itself", |enemy, cells| Box::pin(mail_to_itself(enemy, cells))),
    ("mail to the cell that others ask", |enemy, cells| Box::pin(mail_to_others(enemy, cells))),
    ("questions to itself", |enemy, cells| Box::pin(again(enemy, cells, |own, _, _| format!("ask #{own}\ncount")))),
    ("names without end", |enemy, cells| Box::pin(again(enemy, cells, |_, _, turn| format!("register n{turn}")))),
    ("links and monitors without end", |enemy, cells| {
        Box::pin(again(enemy, cells, |_, other, turn| {
            format!("{} {other}", if turn % 2 == 0 { "monitor" } else { "link" })
        }))
    }),
    ("ends by number", |enemy, cells| {
        Box::pin(again(enemy, cells, |own, other, turn| {
            let to = turn % 300;
            if to == own || to == other { "count".into() } else { format!("kill {to}") }
        }))
    }),
    ("signals without end", |enemy, cells| Box::pin(signals(enemy, cells))),
    ("lines of the log without end", |enemy, cells| Box::pin(log(enemy, cells))),
];

/// The hostile cell, and one beside it, which a client started that is no better.
pub(super) struct Cells {
    hostile: process::Client,
    other: process::Client,
    ids: [u64; 2],
}

async fn start(executor: &executor::Client, id: &mut u64) -> Result<process::Client, Error> {
    let cell = spawn(executor, |mut spec| {
        spec.reborrow().init_program().set_wasm(&guest("neighbour"));
        spec.reborrow().set_async(true);
        let mut grants = spec.reborrow().init_grants(GRANTS.len() as u32);
        for (index, name) in (0..).zip(GRANTS) {
            grants.reborrow().get(index).set_name(name);
        }
        let mut limits = spec.init_limits();
        limits.set_memory(4 << 20);
        limits.set_held(HELD);
    });
    let cell = cell.await?;
    *id = cell.status_request().send().promise.await?.get()?.get_status()?.get_cell();
    Ok(cell)
}

/// Starts both, and does with them what is hostile.
pub(super) async fn attack(enemy: Rc<Enemy>, doing: Doing) -> Result<(), Error> {
    let (_connection, node) = enemy.connect().await;
    let executor = executor_of(&node.host);
    let mut ids = [0; 2];
    let (hostile, other) = (start(&executor, &mut ids[0]).await?, start(&executor, &mut ids[1]).await?);
    doing(enemy, Cells { hostile, other, ids }).await
}

/// The same command again and again, with other numbers. Its errors are the answers that it deserves.
async fn again(enemy: Rc<Enemy>, cells: Cells, command: fn(u64, u64, u64) -> String) -> Result<(), Error> {
    let [own, other] = cells.ids;
    send(&cells.other, b"trap on").await?;
    for turn in 0.. {
        // A cell that has ended is started again.
        if !enemy.goes_on(send(&cells.hostile, command(own, other, turn).as_bytes()).await) {
            break;
        }
        yield_now().await;
    }
    Ok(())
}

/// One message, whose answer shows that the attack arrives, and a thousand at once again and again.
async fn flood(enemy: Rc<Enemy>, cells: &Cells, to: &str, bytes: usize) -> Result<(), Error> {
    enemy.goes_on(send(&cells.hostile, format!("tell {to}\nx").as_bytes()).await);
    let command = format!("flood {to} 1000\n{}", "x".repeat(bytes));
    while enemy.goes_on(send(&cells.hostile, command.as_bytes()).await) {
        yield_now().await;
    }
    Ok(())
}

async fn mail(enemy: Rc<Enemy>, cells: Cells) -> Result<(), Error> {
    let to = format!("#{}", cells.ids[1]);
    tokio::select! {
        computed = send(&cells.other, b"spin") => computed.map(drop),
        flooded = flood(enemy, &cells, &to, 128 << 10) => flooded,
    }
}

async fn mail_to_itself(enemy: Rc<Enemy>, cells: Cells) -> Result<(), Error> {
    let to = format!("#{}", cells.ids[0]);
    flood(enemy, &cells, &to, 128 << 10).await
}

async fn mail_to_others(enemy: Rc<Enemy>, cells: Cells) -> Result<(), Error> {
    flood(enemy, &cells, ASKED, 1 << 10).await
}

async fn signals(enemy: Rc<Enemy>, cells: Cells) -> Result<(), Error> {
    send(&cells.hostile, b"trap on").await?;
    let command = format!("shutdown {}", cells.ids[0]);
    loop {
        let all = join_all((0..64).map(|_| send(&cells.hostile, command.as_bytes()))).await;
        if !all.into_iter().all(|answer| enemy.goes_on(answer)) {
            return Ok(());
        }
        yield_now().await;
    }
}

async fn log(enemy: Rc<Enemy>, cells: Cells) -> Result<(), Error> {
    let command = format!("log warn\n{}", "\u{1b}[2J\nFORGED".repeat(400));
    while enemy.goes_on(send(&cells.hostile, command.as_bytes()).await) {
        yield_now().await;
    }
    Ok(())
}
