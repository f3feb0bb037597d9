//! The server of `Admin`: sees and ends every cell of a node.
//!
//! | file | concept |
//! |---|---|
//! | `status` | what a cell is doing, on the wire |
//! | `tree` | who owns whom |
//! | `events`, `logs` | what goes on, for as long as somebody listens |

use std::{rc::Rc, sync::Arc};

use capnp::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use ww_cell::Cell;
use ww_core::{
    CellId,
    grants::AdminMethod,
    task::{self, Task},
};
use ww_schema::admin_capnp::{admin, subscription};

use crate::{context::Context, process};

mod events;
mod logs;
pub(crate) mod status;
mod tree;

/// Subscriptions of one client at once: as many as a screen has room for.
const MAX_SUBSCRIPTIONS: usize = 64;

/// Tells whoever runs the node that it is to stop.
pub type StopNode = Arc<dyn Fn() + Send + Sync>;

/// The `Admin` of one client.
pub(crate) struct Admin {
    context: Context,
    stop: StopNode,
    subscriptions: Arc<Semaphore>,
}

/// What somebody listens to. Dropping it ends it.
struct Subscription {
    running: std::cell::RefCell<Option<(Task<()>, OwnedSemaphorePermit)>>,
}

impl Admin {
    pub(crate) fn new(context: Context, stop: StopNode) -> Self {
        Self { context, stop, subscriptions: Arc::new(Semaphore::new(MAX_SUBSCRIPTIONS)) }
    }

    /// A cell that lives, or is one of the last that ended.
    fn cell(&self, id: u64) -> Result<Cell, Error> {
        let cell = self.context.executor.directory().cell_or_ended(CellId::new(id));
        cell.ok_or_else(|| {
            Error::failed(format!("no such cell: {id} does not run, and is none of the last that ended"))
        })
    }

    fn subscription(
        &self,
        name: &'static str,
        running: impl Future<Output = Result<(), Error>> + 'static,
    ) -> Result<subscription::Client, Error> {
        let Ok(permit) = Arc::clone(&self.subscriptions).try_acquire_owned() else {
            return Err(Error::overloaded(format!(
                "{MAX_SUBSCRIPTIONS} subscriptions are under way, as many as a client may have: cancel one of them"
            )));
        };
        let kind = task::Kind::owned(name, format!("client {}", self.context.guest.id));
        let task = task::spawn_local(kind, async move {
            if let Err(error) = running.await {
                tracing::debug!(%error, name, "whoever listened does so no more");
            }
        });
        Ok(capnp_rpc::new_client(Subscription { running: Some((task, permit)).into() }))
    }
}

impl subscription::Server for Subscription {
    async fn cancel(
        self: Rc<Self>,
        _: subscription::CancelParams,
        _: subscription::CancelResults,
    ) -> Result<(), Error> {
        self.running.take();
        Ok(())
    }
}

impl admin::Server for Admin {
    async fn list(self: Rc<Self>, _: admin::ListParams, mut results: admin::ListResults) -> Result<(), Error> {
        self.context.require_admin(AdminMethod::List)?;
        let directory = self.context.executor.directory();
        let cells = directory.cells();
        let mut list = results.get().init_cells(u32::try_from(cells.len()).unwrap_or(u32::MAX));
        for (index, cell) in (0..list.len()).zip(&cells) {
            status::set(list.reborrow().get(index), directory, cell);
        }
        Ok(())
    }

    async fn tree(self: Rc<Self>, _: admin::TreeParams, mut results: admin::TreeResults) -> Result<(), Error> {
        self.context.require_admin(AdminMethod::Tree)?;
        let owners = self.context.executor.owners();
        tree::set(results.get().init_root(), self.context.executor.directory(), &owners);
        Ok(())
    }

    async fn watch(self: Rc<Self>, params: admin::WatchParams, mut results: admin::WatchResults) -> Result<(), Error> {
        self.context.require_admin(AdminMethod::Watch)?;
        let listener = params.get()?.get_listener()?;
        let directory = self.context.executor.directory();
        let telling = events::tell(directory.events().listen(), directory.clone(), listener);
        results.get().set_subscription(self.subscription("events", telling)?);
        Ok(())
    }

    async fn logs(self: Rc<Self>, params: admin::LogsParams, mut results: admin::LogsResults) -> Result<(), Error> {
        self.context.require_admin(AdminMethod::Logs)?;
        let params = params.get()?;
        let cell = self.cell(params.get_cell())?;
        let writing = logs::write(cell, params.get_follow(), params.get_sink()?);
        results.get().set_subscription(self.subscription("logs", writing)?);
        Ok(())
    }

    async fn inspect(
        self: Rc<Self>,
        params: admin::InspectParams,
        mut results: admin::InspectResults,
    ) -> Result<(), Error> {
        self.context.require_admin(AdminMethod::Inspect)?;
        let cell = self.cell(params.get()?.get_cell())?;
        let mut results = results.get();
        status::set(results.reborrow().init_status(), self.context.executor.directory(), &cell);
        status::set_limits(results.reborrow().init_limits(), cell.limits());
        results.set_detail(status::detail(&cell));
        Ok(())
    }

    async fn stop(self: Rc<Self>, _: admin::StopParams, _: admin::StopResults) -> Result<(), Error> {
        self.context.require_admin(AdminMethod::Stop)?;
        tracing::info!(client = %self.context.guest.id, "a client tells the node to stop");
        (self.stop)();
        Ok(())
    }

    async fn process(
        self: Rc<Self>,
        params: admin::ProcessParams,
        mut results: admin::ProcessResults,
    ) -> Result<(), Error> {
        self.context.require_admin(AdminMethod::Process)?;
        let cell = self.cell(params.get()?.get_cell())?;
        results.get().set_process(process::of_any(cell, &self.context));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
