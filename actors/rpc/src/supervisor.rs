//! The server of `Supervisor`: the calls of OTP's supervisor.

use std::rc::Rc;

use capnp::Error;
use ww_core::{SlotId, supervisor::ChildId, text};
use ww_executor::{Child, ChildInfo, ChildStatus, SupervisorHandle, Which};
use ww_schema::supervision_capnp::supervisor;

use crate::{
    context::Context,
    exit_reason,
    membrane::{Scope, Undo},
    process, shelf, spec,
};

pub(crate) struct Server {
    handle: SupervisorHandle,
    /// Whether its children are instances of a template.
    simple: bool,
    context: Context,
    /// Whether it was made outside the scope of the context, so that it does not end with it.
    outlives_scope: bool,
}

/// A `Supervisor`. Dropping it does not end the supervisor.
pub(crate) fn client(handle: SupervisorHandle, context: Context) -> supervisor::Client {
    let simple = handle.is_simple();
    shelf::new_supervisor(Server { handle, simple, context, outlives_scope: false })
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::failed(error.to_string())
}

impl Server {
    /// The same supervisor, whose children that are started through it belong to a scope.
    pub(crate) fn within(&self, scope: &Rc<Scope>) -> Option<supervisor::Client> {
        if self.context.is_within(scope) {
            return None;
        }
        let context = self.context.within(scope);
        let handle = self.handle.clone();
        Some(shelf::new_supervisor(Self { handle, simple: self.simple, context, outlives_scope: true }))
    }

    /// Sees to it that a child ends with the scope through which it was started.
    async fn note(&self, which: Which, child: &ChildInfo) -> Result<(), Error> {
        let (Some(place), Some(slot), true) = (self.context.place(), child.slot, self.outlives_scope) else {
            return Ok(());
        };
        let noted = place.note(Undo { supervisor: self.handle.clone(), which: which.clone(), slot });
        if noted.is_err() {
            // What cannot be taken back is not begun.
            let _ = self.handle.terminate_child(which).await;
        }
        noted
    }

    fn which(&self, id: &str) -> Result<Which, Error> {
        if !self.simple {
            return ChildId::new(id).map(Which::Id).map_err(failed);
        }
        let slot = id.parse().map_err(|_| {
            failed(format_args!("{} is no instance: expected an id of whichChildren", text::quoted(id)))
        })?;
        Ok(Which::Instance(SlotId::new(slot)))
    }

    fn write(&self, mut to: supervisor::child::Builder<'_>, id: Option<&str>, child: &ChildInfo) {
        match (id, &child.id, child.slot) {
            (Some(id), ..) => to.set_id(id),
            (None, Some(id), _) => to.set_id(id.as_str()),
            (None, None, Some(slot)) => to.set_id(slot.to_string()),
            (None, None, None) => {}
        }
        let mut state = to.init_state();
        match &child.status {
            ChildStatus::Running(Child::Cell(process)) => {
                state.set_running(process::observer(process, &self.context));
            }
            ChildStatus::Running(Child::Supervisor(handle)) => {
                state.set_supervisor(client(handle.clone(), self.context.clone()));
            }
            ChildStatus::Stopped => state.set_stopped(()),
            ChildStatus::Starting | ChildStatus::Stopping | ChildStatus::Restarting => state.set_restarting(()),
        }
    }
}

impl supervisor::Server for Server {
    async fn start_child(
        self: Rc<Self>,
        params: supervisor::StartChildParams,
        mut results: supervisor::StartChildResults,
    ) -> Result<(), Error> {
        let spec = params.get()?.get_spec()?;
        if self.simple {
            let from = match spec::names_program(spec)? {
                true => Some(spec::child(&self.context, spec).await?.from),
                false => None,
            };
            let child = self.handle.start_instance(from).await.map_err(failed)?;
            if let Some(slot) = child.slot {
                self.note(Which::Instance(slot), &child).await?;
            }
            self.write(results.get().init_child(), None, &child);
            return Ok(());
        }
        let spec = spec::child(&self.context, spec).await?;
        let id = spec.id.clone();
        let child = self.handle.start_child(spec).await.map_err(failed)?;
        self.note(Which::Id(id.clone()), &child).await?;
        self.write(results.get().init_child(), Some(id.as_str()), &child);
        Ok(())
    }

    async fn terminate_child(
        self: Rc<Self>,
        params: supervisor::TerminateChildParams,
        _: supervisor::TerminateChildResults,
    ) -> Result<(), Error> {
        let which = self.which(params.get()?.get_id()?.to_str()?)?;
        self.handle.terminate_child(which).await.map_err(failed)
    }

    async fn restart_child(
        self: Rc<Self>,
        params: supervisor::RestartChildParams,
        mut results: supervisor::RestartChildResults,
    ) -> Result<(), Error> {
        let id = ChildId::new(params.get()?.get_id()?.to_str()?).map_err(failed)?;
        let child = self.handle.restart_child(id.clone()).await.map_err(failed)?;
        self.write(results.get().init_child(), Some(id.as_str()), &child);
        Ok(())
    }

    async fn delete_child(
        self: Rc<Self>,
        params: supervisor::DeleteChildParams,
        _: supervisor::DeleteChildResults,
    ) -> Result<(), Error> {
        let id = ChildId::new(params.get()?.get_id()?.to_str()?).map_err(failed)?;
        self.handle.delete_child(id).await.map_err(failed)
    }

    async fn which_children(
        self: Rc<Self>,
        _: supervisor::WhichChildrenParams,
        mut results: supervisor::WhichChildrenResults,
    ) -> Result<(), Error> {
        let children = self.handle.which_children().await.map_err(failed)?;
        let mut list = results.get().init_children(u32::try_from(children.len()).unwrap_or(u32::MAX));
        for (index, child) in (0..).zip(&children) {
            self.write(list.reborrow().get(index), None, child);
        }
        Ok(())
    }

    async fn count_children(
        self: Rc<Self>,
        _: supervisor::CountChildrenParams,
        mut results: supervisor::CountChildrenResults,
    ) -> Result<(), Error> {
        let counts = self.handle.count_children().await.map_err(failed)?;
        let mut to = results.get();
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        to.set_specs(number(counts.specs));
        to.set_active(number(counts.active));
        to.set_supervisors(number(counts.supervisors));
        to.set_workers(number(counts.workers));
        Ok(())
    }

    async fn stop(self: Rc<Self>, _: supervisor::StopParams, _: supervisor::StopResults) -> Result<(), Error> {
        self.handle.stop().await;
        Ok(())
    }

    async fn wait(
        self: Rc<Self>,
        _: supervisor::WaitParams,
        mut results: supervisor::WaitResults,
    ) -> Result<(), Error> {
        let ended = self.handle.exit().wait().await;
        exit_reason::set(results.get().init_reason(), &ended);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
