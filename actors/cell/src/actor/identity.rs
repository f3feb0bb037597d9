//! `wetware:cell/self`: what a cell may know of itself and of the message that it is handling.

use tokio::time::Instant;
use wasmtime::component::{ComponentType, Lift, Linker, Lower};
use ww_core::{exit::Reason, links::Signal};

use super::error::Denied;
use crate::{
    guest::Guest,
    message::{Current, Sender},
};

#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
enum From {
    #[component(name = "node")]
    Node,
    #[component(name = "cell")]
    Cell(u64),
    #[component(name = "peer")]
    Peer(Vec<u8>),
}

#[derive(Clone, Copy, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
enum End {
    #[component(name = "normal")]
    Normal,
    #[component(name = "exit")]
    Exit,
    #[component(name = "trap")]
    Trap,
    #[component(name = "limit")]
    Limit,
    #[component(name = "killed")]
    Killed,
    #[component(name = "shutdown")]
    Shutdown,
    #[component(name = "start-failed")]
    StartFailed,
    #[component(name = "link")]
    Link,
    #[component(name = "host-fault")]
    HostFault,
    #[component(name = "no-process")]
    NoProcess,
    #[component(name = "no-connection")]
    NoConnection,
}

#[derive(ComponentType, Lift, Lower)]
#[component(record)]
struct ExitReason {
    end: End,
    code: u8,
    text: String,
}

#[derive(ComponentType, Lift, Lower)]
#[component(record)]
struct Exited {
    cell: u64,
    reason: ExitReason,
}

#[derive(ComponentType, Lift, Lower)]
#[component(record)]
struct Down {
    monitor: u64,
    cell: u64,
    reason: ExitReason,
}

#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
enum Kind {
    #[component(name = "message")]
    Message,
    #[component(name = "exit")]
    Exit(Exited),
    #[component(name = "down")]
    Down(Down),
}

#[derive(ComponentType, Lift, Lower)]
#[component(record)]
struct Envelope {
    id: u64,
    trace: (u64, u64),
    sender: From,
    remaining: Option<u64>,
    kind: Kind,
}

pub(super) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut instance = linker.instance("wetware:cell/self@0.1.0")?;
    instance.func_wrap("id", |store, (): ()| {
        let own = &store.data().own;
        Ok((if own.spec.grants.identity { Ok(own.id().get()) } else { Err(Denied::Denied) },))
    })?;
    instance.func_wrap("name", |store, (): ()| {
        let own = &store.data().own;
        Ok((if own.spec.grants.identity { Ok(own.cell.name().to_owned()) } else { Err(Denied::Denied) },))
    })?;
    instance.func_wrap("current", |store, (): ()| {
        let guest = store.data();
        let granted = guest.own.spec.grants.identity;
        Ok((if granted { Ok(guest.current.as_ref().map(Envelope::of)) } else { Err(Denied::Denied) },))
    })
}

impl Envelope {
    fn of(Current { envelope, signal }: &Current) -> Self {
        let sender = match &envelope.sender {
            Sender::Host => From::Node,
            Sender::Cell(cell) => From::Cell(cell.get()),
            Sender::Peer(peer) => From::Peer(peer.clone()),
        };
        let remaining = envelope.deadline.map(|deadline| {
            let remaining = deadline.saturating_duration_since(Instant::now()).as_millis();
            u64::try_from(remaining).unwrap_or(u64::MAX)
        });
        let kind = match signal.as_deref() {
            None => Kind::Message,
            Some(Signal::Down { monitor, cell, reason }) => {
                Kind::Down(Down { monitor: monitor.get(), cell: cell.get(), reason: ExitReason::of(reason) })
            }
            Some(signal) => Kind::Exit(Exited { cell: signal.cell().get(), reason: ExitReason::of(signal.reason()) }),
        };
        let (high, low) = ((envelope.trace >> 64) as u64, envelope.trace as u64);
        Self { id: envelope.id, trace: (high, low), sender, remaining, kind }
    }
}

impl ExitReason {
    fn of(reason: &Reason) -> Self {
        let end = match reason {
            Reason::Normal => End::Normal,
            Reason::Exit(_) => End::Exit,
            Reason::Trap(_) => End::Trap,
            Reason::Limit(_) => End::Limit,
            Reason::Killed => End::Killed,
            Reason::Shutdown => End::Shutdown,
            Reason::StartFailed(_) => End::StartFailed,
            Reason::Link { .. } => End::Link,
            Reason::NoProcess => End::NoProcess,
            Reason::NoConnection => End::NoConnection,
            // What is new to this interface is the node's business.
            _ => End::HostFault,
        };
        Self { end, code: reason.code(), text: reason.to_string() }
    }
}
