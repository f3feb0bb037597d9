//! `wetware:cell/process`: links, monitors and exit signals between cells, as far as the caller [reaches](crate::reach) them.

use wasmtime::component::{ComponentType, Lift, Linker};
use wasmtime_wasi::I32Exit;
use ww_core::{
    CellId,
    exit::Reason,
    links::{Exit, Monitor},
};

use super::error::Error;
use crate::{cell::Mode, guest::Guest};

#[derive(Clone, Copy, Debug, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "guests choose them")]
enum Signal {
    #[component(name = "kill")]
    Kill,
    #[component(name = "shutdown")]
    Shutdown,
}

/// What a cell is told that has nobody to tell.
const ONLY_ASYNC: &str =
    "only a cell in async mode can be told of ends: this one has no instance that outlives a message";

pub(super) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut instance = linker.instance("wetware:cell/process@0.1.0")?;
    instance.func_wrap("link", |store, (cell,): (u64,)| {
        let guest = store.data();
        let linked = reached(guest, cell)
            .and_then(|cell| guest.own.directory.link(guest.own.id(), cell).map_err(Error::refused));
        Ok((linked,))
    })?;
    instance.func_wrap("unlink", |store, (cell,): (u64,)| {
        let (guest, cell) = (store.data(), CellId::new(cell));
        let may = guest.own.may_unlink(guest.current.as_ref(), cell);
        if may {
            guest.own.directory.unlink(guest.own.id(), cell);
        }
        Ok((may.then_some(()).ok_or(Error::Denied),))
    })?;
    instance.func_wrap("monitor", |store, (cell,): (u64,)| {
        let guest = store.data();
        let monitor = reached(guest, cell)
            .and_then(|cell| live(guest).map(|()| cell))
            .and_then(|cell| guest.own.directory.monitor(guest.own.id(), cell).map_err(Error::refused));
        Ok((monitor.map(Monitor::get),))
    })?;
    instance.func_wrap("demonitor", |store, (monitor,): (u64,)| {
        let guest = store.data();
        Ok((granted(guest).map(|()| guest.own.directory.demonitor(guest.own.id(), Monitor::new(monitor))),))
    })?;
    instance.func_wrap("trap-exits", |store, (on,): (bool,)| {
        let guest = store.data();
        let before =
            granted(guest).and_then(|()| live(guest)).map(|()| guest.own.directory.trap_exits(guest.own.id(), on));
        Ok((before,))
    })?;
    instance.func_wrap("signal", |store, (cell, signal): (u64, Signal)| {
        let guest = store.data();
        let exit = match signal {
            Signal::Kill => Exit::Kill,
            Signal::Shutdown => Exit::With(Reason::Shutdown),
        };
        let sent = reached(guest, cell).and_then(|cell| {
            let sent = guest.own.directory.exit(guest.own.id(), cell, exit);
            if sent { Ok(()) } else { Err(Error::refused("too many signals wait for the cell already")) }
        });
        Ok((sent,))
    })?;
    instance.func_wrap("exit", |store, (code,): (u8,)| match granted(store.data()) {
        Ok(()) => Err(I32Exit(code.into()).into()),
        Err(denied) => Ok((Err::<(), _>(denied),)),
    })
}

fn granted(guest: &Guest) -> Result<(), Error> {
    if guest.own.spec.grants.process.is_some() { Ok(()) } else { Err(Error::Denied) }
}

/// A cell that the guest has named by its number, if it may.
fn reached(guest: &Guest, cell: u64) -> Result<CellId, Error> {
    let cell = CellId::new(cell);
    if guest.own.reaches(guest.current.as_ref(), cell) { Ok(cell) } else { Err(Error::Denied) }
}

fn live(guest: &Guest) -> Result<(), Error> {
    if guest.own.cell.mode() == Some(Mode::Async) { Ok(()) } else { Err(Error::refused(ONLY_ASYNC)) }
}
