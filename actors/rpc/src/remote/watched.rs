//! A `Monitor` of a process of another node: its observer is told once, by that node or of the loss of the connection.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use capnp::Error;
use ww_core::{
    CellId,
    exit::Reason,
    task::{self, Task},
};
use ww_schema::cell_capnp::{monitor, observer};

use super::{Node, Proxy, proxy::is_lost};
use crate::exit_reason;

/// What the other node tells, handed on.
struct Relay {
    to: observer::Client,
    told: Cell<bool>,
}

/// A monitor until it is dropped or cancelled.
struct Monitor {
    watching: RefCell<Option<Watching>>,
}

struct Watching {
    _there: Option<monitor::Client>,
    _here: Task<()>,
    _node: Rc<Node>,
}

/// Monitors a process on behalf of an observer of this node.
pub(super) fn watch(
    process: &Proxy,
    observer: observer::Client,
) -> impl Future<Output = Result<monitor::Client, Error>> + use<> {
    let relay = Rc::new(Relay { to: observer, told: Cell::new(false) });
    let there = process.process();
    let mut request = there.monitor_request();
    request.get().set_observer(capnp_rpc::new_client_from_rc(Rc::clone(&relay)));
    let (asked, status) = (request.send().promise, there.status_request().send().promise);
    let node = Rc::clone(process.node());
    async move {
        let there = match asked.await {
            Ok(answer) => Some(answer.get()?.get_monitor()?),
            // Which is what the observer wants to know.
            Err(error) if is_lost(&error) => None,
            Err(error) => return Err(error),
        };
        // Only for the id that the observer is told.
        let cell = match status.await {
            Ok(answer) => answer.get()?.get_status()?.get_cell(),
            Err(_) => 0,
        };
        let lost = node.lost();
        let telling = async move {
            lost.await;
            relay.tell(CellId::new(cell), &Reason::NoConnection).await;
        };
        let here = task::spawn_local(task::Kind::owned("monitor", cell), telling);
        let watching = Watching { _there: there, _here: here, _node: node };
        Ok(capnp_rpc::new_client(Monitor { watching: Some(watching).into() }))
    }
}

impl Relay {
    async fn tell(&self, cell: CellId, reason: &Reason) {
        if self.told.replace(true) {
            return;
        }
        let mut request = self.to.down_request();
        request.get().set_cell(cell.get());
        exit_reason::set(request.get().init_reason(), reason);
        // Whether it listens is its own affair.
        let _ = request.send().promise.await;
    }
}

impl observer::Server for Relay {
    async fn down(self: Rc<Self>, params: observer::DownParams, _: observer::DownResults) -> Result<(), Error> {
        if self.told.replace(true) {
            return Ok(());
        }
        let mut request = self.to.down_request();
        {
            let told = params.get()?;
            request.get().set_cell(told.get_cell());
            request.get().set_reason(told.get_reason()?)?;
        }
        request.send().promise.await.map(drop)
    }
}

impl monitor::Server for Monitor {
    async fn cancel(self: Rc<Self>, _: monitor::CancelParams, _: monitor::CancelResults) -> Result<(), Error> {
        drop(self.watching.take());
        Ok(())
    }
}
