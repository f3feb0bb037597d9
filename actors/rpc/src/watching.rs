//! The servers of `Monitor` and `Lease`: being told of an end, and bringing one about.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use capnp::Error;
use ww_cell::Directory;
use ww_core::{
    CellId,
    exit::Reason,
    links::{Exit, MAX_MONITORS},
    task,
};
use ww_executor::Process;
use ww_schema::cell_capnp::{lease, monitor, observer};

use crate::{context::Context, exit_reason};

/// Tells an observer of the end, unless it is dropped or cancelled before.
struct Monitor {
    telling: RefCell<Option<task::Task<()>>>,
    count: Rc<Cell<usize>>,
}

/// A `Monitor` of a cell.
pub(crate) fn monitor(
    process: &Process,
    observer: observer::Client,
    context: &Context,
) -> Result<monitor::Client, Error> {
    let count = &context.monitors;
    if count.get() >= MAX_MONITORS {
        return Err(Error::failed(format!("{MAX_MONITORS} monitors, as many as one connection may hold: cancel one")));
    }
    count.set(count.get() + 1);
    let (id, exit) = (process.id(), process.cell().exit().clone());
    let ended = exit.reason().is_some();
    let telling = async move {
        let reason = if ended { Reason::NoProcess } else { exit.wait().await };
        let mut request = observer.down_request();
        request.get().set_cell(id.get());
        exit_reason::set(request.get().init_reason(), &reason);
        // Whether it listens is its own affair.
        let _ = request.send().promise.await;
    };
    let telling = task::spawn_local(task::Kind::owned("monitor", id), telling);
    Ok(capnp_rpc::new_client(Monitor { telling: RefCell::new(Some(telling)), count: Rc::clone(count) }))
}

impl monitor::Server for Monitor {
    async fn cancel(self: Rc<Self>, _: monitor::CancelParams, _: monitor::CancelResults) -> Result<(), Error> {
        drop(self.telling.take());
        Ok(())
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.count.set(self.count.get().saturating_sub(1));
    }
}

/// Ends a process when it is dropped before it was released.
struct Lease {
    process: Rc<Process>,
    /// Whose signal it is sent instead.
    signal: Option<(Directory, CellId)>,
    released: Cell<bool>,
}

/// A `Lease` of a cell, which ends it, or sends it a signal of whoever has the lease.
pub(crate) fn lease(process: Rc<Process>, signal: bool, context: &Context) -> lease::Client {
    let signal = signal.then(|| (context.executor.directory().clone(), context.guest.id));
    capnp_rpc::new_client(Lease { process, signal, released: Cell::new(false) })
}

impl lease::Server for Lease {
    async fn release(self: Rc<Self>, _: lease::ReleaseParams, _: lease::ReleaseResults) -> Result<(), Error> {
        self.released.set(true);
        Ok(())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.released.get() {
            return;
        }
        let (cell, reason) = (self.process.cell(), Reason::NoConnection);
        match &self.signal {
            None => cell.stop(reason),
            Some((directory, from)) => {
                if !directory.exit(*from, cell.id(), Exit::With(reason)) {
                    tracing::warn!(cell = %cell.id(), "a cell has no room for the loss of one that it is linked to");
                }
            }
        }
    }
}
