//! What a client or a peer does that keeps to the protocol: programs, cells, supervisors, subscriptions, messages.

use std::rc::Rc;

use capnp::{Error, ErrorKind};
use futures::future::{LocalBoxFuture, join_all, pending};
use ww_rpc::client::Local;
use ww_schema::{
    admin_capnp::listener,
    cell_capnp::program,
    supervision_capnp::{child_spec, supervisor},
};

use super::{
    cells::SPIN,
    enemy::{Enemy, executor_of, run, spawn},
    streams::OPEN,
};
use crate::{compilation::bomb, image::guest};

/// What one of them does until its connection has ended, or it has all that it gets.
type Doing = fn(Rc<Enemy>) -> LocalBoxFuture<'static, Result<(), Error>>;

/// Programs that take minutes to compile, at once.
const BOMBS: u32 = 8;

/// Most that are held of anything before all is given back: more than any bound by number.
const MANY: usize = 20_000;

/// Every attack of clients and peers that may do everything, by what it does.
pub(super) const CALLS: [(&str, Doing); 11] = [
    ("programs that take minutes to compile", |enemy| Box::pin(bombs(enemy))),
    ("small programs without end", |enemy| Box::pin(programs(enemy, 0))),
    ("large programs without end", |enemy| Box::pin(programs(enemy, 2 << 20))),
    ("cells without end", |enemy| Box::pin(cells(enemy))),
    ("cells that end at once", |enemy| Box::pin(short_lives(enemy))),
    ("supervisors with large specs", |enemy| Box::pin(supervisors(enemy))),
    ("specs of children without end", |enemy| Box::pin(children(enemy))),
    ("restarts without end", |enemy| Box::pin(restarts(enemy))),
    ("subscriptions that are not read", |enemy| Box::pin(subscriptions(enemy))),
    ("monitors and leases without end", |enemy| Box::pin(monitors(enemy))),
    ("messages that stop in the middle", |enemy| Box::pin(messages(enemy))),
];

/// A small program that differs from all others, with so many bytes more.
fn small(number: u64, bytes: usize) -> Vec<u8> {
    let mut wasm = wat::parse_str(r#"(module (func (export "_start")))"#).expect("a program");
    // A section that means nothing: its length, a name of one byte, and the rest.
    let mut length = bytes + 10;
    wasm.push(0);
    while length >= 0x80 {
        wasm.push(length as u8 | 0x80);
        length >>= 7;
    }
    wasm.extend([length as u8, 1, b'x']);
    wasm.extend(number.to_le_bytes());
    wasm.resize(wasm.len() + bytes, 7);
    wasm
}

async fn load(node: &Local, wasm: &[u8]) -> Result<program::Client, Error> {
    let mut request = executor_of(&node.host).load_request();
    request.get().set_wasm(wasm);
    request.send().promise.await?.get()?.get_program()
}

async fn bombs(enemy: Rc<Enemy>) -> Result<(), Error> {
    let (_connection, node) = enemy.connect().await;
    let bombs: Vec<_> = (0..BOMBS).map(bomb).collect();
    let loading = join_all(bombs.iter().map(|bomb| load(&node, bomb)));
    let arrived = async {
        // Its answer comes after those calls have come.
        node.host.id_request().send().promise.await?;
        enemy.struck();
        Ok(())
    };
    // The calls are sent first.
    futures::join!(loading, arrived).1
}

/// Goes on until it is refused, and holds all until then.
async fn programs(enemy: Rc<Enemy>, bytes: usize) -> Result<(), Error> {
    let (_connection, node) = enemy.connect().await;
    let mut held = Vec::new();
    while held.len() < MANY {
        // The number of blows is as good as any to tell programs apart.
        let number = enemy.blows.load(std::sync::atomic::Ordering::Relaxed);
        held.push(load(&node, &small(number, bytes)).await?);
        enemy.struck();
    }
    Ok(())
}

async fn cells(enemy: Rc<Enemy>) -> Result<(), Error> {
    let (_connection, node) = enemy.connect().await;
    let executor = executor_of(&node.host);
    let mite = load(&node, &guest("mite")).await?;
    let mut held = Vec::new();
    while held.len() < MANY {
        let cell = spawn(&executor, |mut spec| {
            spec.reborrow().init_program().set_loaded(mite.clone());
            spec.reborrow().set_async(true);
            spec.init_limits().set_memory(1 << 20);
        });
        held.push(cell.await?);
        enemy.struck();
    }
    Ok(())
}

async fn short_lives(enemy: Rc<Enemy>) -> Result<(), Error> {
    let (_connection, node) = enemy.connect().await;
    let executor = executor_of(&node.host);
    let program = small(0, 0);
    loop {
        join_all((0..8).map(|_| run(&executor, &program))).await.into_iter().collect::<Result<Vec<_>, _>>()?;
        enemy.struck();
    }
}

async fn supervise(node: &Local, template: bool) -> Result<supervisor::Client, Error> {
    let mut request = executor_of(&node.host).supervisor_request();
    let mut options = request.get().init_options();
    if template {
        options.set_strategy(ww_schema::supervision_capnp::options::Strategy::SimpleOneForOne);
        large(options.init_template());
    } else {
        options.set_intensity(100_000);
        options.set_period(1);
    }
    request.send().promise.await?.get()?.get_supervisor()
}

/// A spec with a program and half a megabyte of texts.
fn large(mut spec: child_spec::Builder<'_>) {
    let mut cell = spec.reborrow().init_child().init_cell();
    cell.reborrow().init_program().set_wasm(&wat::parse_str(SPIN).expect("a program"));
    cell.init_args(1).set(0, "x".repeat(512 << 10).as_str());
    spec.set_restart(ww_schema::cell_capnp::Restart::Temporary);
}

async fn supervisors(enemy: Rc<Enemy>) -> Result<(), Error> {
    let (_connection, node) = enemy.connect().await;
    let mut held = Vec::new();
    while held.len() < MANY {
        held.push(supervise(&node, true).await?);
        enemy.struck();
    }
    Ok(())
}

async fn children(enemy: Rc<Enemy>) -> Result<(), Error> {
    let (_connection, node) = enemy.connect().await;
    let supervisor = supervise(&node, false).await?;
    for number in 0..MANY {
        let mut request = supervisor.start_child_request();
        let mut spec = request.get().init_spec();
        spec.set_id(number.to_string().as_str());
        spec.set_restart(ww_schema::cell_capnp::Restart::Transient);
        let mut cell = spec.init_child().init_cell();
        cell.reborrow().init_program().set_wasm(&guest("mite"));
        cell.reborrow().set_async(true);
        cell.reborrow().init_limits().set_memory(1 << 20);
        cell.init_args(1).set(0, "x".repeat(16 << 10).as_str());
        request.send().promise.await?;
        enemy.struck();
    }
    Ok(())
}

/// Cells that trap at each message, and are started again.
async fn restarts(enemy: Rc<Enemy>) -> Result<(), Error> {
    let (_connection, node) = enemy.connect().await;
    let supervisor = supervise(&node, false).await?;
    let mut request = supervisor.start_child_request();
    let mut cell = request.get().init_spec().init_child().init_cell();
    cell.reborrow().init_program().set_wasm(&guest("relay"));
    cell.set_async(true);
    request.send().promise.await?;
    loop {
        let list = supervisor.which_children_request().send().promise.await?;
        let children = list.get()?.get_children()?;
        let child = children.iter().next().ok_or_else(|| Error::failed("the supervisor has lost its child".into()))?;
        let running = match child.get_state().which()? {
            ww_schema::supervision_capnp::supervisor::child::state::Running(process) => Some(process?),
            _ => None,
        };
        if let Some(process) = running {
            let mut request = process.send_request();
            request.get().set_message(b"x");
            // It ends, which is an error, and is the answer.
            let answer = request.send().promise.await.map(drop);
            if answer.as_ref().is_err_and(|error| error.kind == ErrorKind::Disconnected) {
                return answer;
            }
            enemy.struck();
        }
    }
}

/// Never says that it has taken an event.
struct Deaf;

impl listener::Server for Deaf {
    async fn event(self: Rc<Self>, _: listener::EventParams) -> Result<(), Error> {
        pending().await
    }
}

/// Subscribes as often as it may, and makes events.
async fn subscriptions(enemy: Rc<Enemy>) -> Result<(), Error> {
    let (_connection, node) = enemy.connect().await;
    let mut held = Vec::new();
    while held.len() < MANY {
        let mut request = node.admin.watch_request();
        request.get().set_listener(capnp_rpc::new_client(Deaf));
        match request.send().promise.await {
            Ok(answer) => held.push(answer.get()?.get_subscription()?),
            Err(_) => break,
        }
    }
    let executor = executor_of(&node.host);
    loop {
        run(&executor, &small(0, 0)).await?;
        enemy.struck();
    }
}

async fn monitors(enemy: Rc<Enemy>) -> Result<(), Error> {
    let (_connection, node) = enemy.connect().await;
    let cell = run(&executor_of(&node.host), &wat::parse_str(SPIN).expect("a program")).await?;
    let (mut monitors, mut leases) = (Vec::new(), Vec::new());
    while monitors.len() < MANY {
        let monitor = async {
            let mut request = cell.monitor_request();
            request.get().set_observer(capnp_rpc::new_client(Unmoved));
            request.send().promise.await?.get()?.get_monitor()
        };
        let lease = async { cell.lease_request().send().promise.await?.get()?.get_lease() };
        monitors.push(monitor.await?);
        leases.push(lease.await?);
        enemy.struck();
    }
    Ok(())
}

/// Is told of ends, and does nothing.
struct Unmoved;

impl ww_schema::cell_capnp::observer::Server for Unmoved {}

/// Messages to a published cell, of which a byte comes.
async fn messages(enemy: Rc<Enemy>) -> Result<(), Error> {
    let (_connection, node) = enemy.connect().await;
    let mut held = Vec::new();
    while held.len() < MANY {
        let mut request = node.host.dial_request();
        request.get().set_name(OPEN);
        let Ok(answer) = request.send().promise.await else { break };
        let exchange = answer.get()?.get_exchange()?;
        let stream = exchange.request_request().send().pipeline.get_stream();
        let mut request = stream.write_request();
        request.get().set_data(b".");
        request.send().promise.await?;
        held.push((exchange, stream));
        enemy.struck();
    }
    pending().await
}
