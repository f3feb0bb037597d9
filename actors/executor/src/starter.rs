//! The actor that loads what has yet to be compiled, and ends what clients leave behind.
//!
//! It is supervised by the node, and stops when the node has stopped. Bounded are the starts under way for each owner, by
//! [`MAX_STARTING`]. No handler waits: a start compiles outside, where its owner has a turn, and comes back.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use actix::{Actor, ActorFutureExt, Context, Handler, Message, ResponseActFuture, WrapFuture};
use ww_cell::{Class, Stop};
use ww_core::{
    Account, CellId, Limits,
    account::Holder,
    task::{self, Kind},
};

use crate::{
    executor::{MAX_STARTING, Shared, SpawnError},
    ownership::Ownership,
    start::{Start, Started},
    tree::Owner,
};

/// The actor behind the executor.
pub(crate) struct Starter {
    ownership: Arc<Ownership>,
    /// Starts under way for each owner.
    starting: HashMap<Owner, usize>,
}

/// Starts a cell, which has its place, once its program has been loaded.
#[derive(Message)]
#[rtype(result = "Result<Started, SpawnError>")]
pub(crate) struct Load {
    pub(crate) start: Start,
    pub(crate) executor: Weak<Shared>,
}

/// Takes a place for a client.
#[derive(Message)]
#[rtype(result = "Result<Account, SpawnError>")]
pub(crate) struct OpenSession {
    pub(crate) owner: Owner,
    pub(crate) id: CellId,
    pub(crate) limits: Limits,
    pub(crate) holder: Holder,
    pub(crate) stop: Stop,
}

impl Starter {
    pub(crate) fn new(ownership: Arc<Ownership>) -> Self {
        Self { ownership, starting: HashMap::new() }
    }

    /// A place among the starts of an owner.
    fn begin(&mut self, owner: Owner) -> Result<(), SpawnError> {
        let starting = self.starting.entry(owner).or_default();
        if *starting >= MAX_STARTING {
            return Err(SpawnError::Busy);
        }
        *starting += 1;
        Ok(())
    }

    fn finish(&mut self, owner: Owner) {
        if let Some(starting) = self.starting.get_mut(&owner) {
            *starting -= 1;
            if *starting == 0 {
                self.starting.remove(&owner);
            }
        }
    }
}

impl Actor for Starter {
    type Context = Context<Self>;
}

impl Handler<Load> for Starter {
    type Result = ResponseActFuture<Self, Result<Started, SpawnError>>;

    fn handle(&mut self, Load { start, executor }: Load, _: &mut Self::Context) -> Self::Result {
        let owner = start.owner;
        if let Err(error) = self.begin(owner) {
            let refused = start.launch(executor.upgrade(), Err(error));
            return Box::pin(async { refused }.into_actor(self));
        }
        let class = Class::for_memory(start.place.limits().memory);
        let runtime = executor.upgrade().map(|shared| shared.runtime.clone());
        let (wasm, stop) = (start.wasm.clone(), start.stop.clone());
        let lineage = self.ownership.lineage(owner);
        let loading = async move {
            let Some(runtime) = runtime else { return Err(SpawnError::Stopped) };
            Ok(runtime.load_for(&lineage, wasm, class).await?)
        };
        let loading = async move {
            tokio::select! {
                biased;
                reason = stop.requested() => Err(SpawnError::Cancelled(reason)),
                program = loading => program,
            }
        };
        Box::pin(loading.into_actor(self).map(move |program, actor, _| {
            actor.finish(owner);
            start.launch(executor.upgrade(), program)
        }))
    }
}

impl Handler<OpenSession> for Starter {
    type Result = Result<Account, SpawnError>;

    fn handle(&mut self, open: OpenSession, _: &mut Self::Context) -> Self::Result {
        let OpenSession { owner, id, limits, holder, stop } = open;
        let account = self.ownership.open_session(owner, id, limits, holder, &stop)?;
        let ownership = Arc::clone(&self.ownership);
        // A task of its own: the actor would look at all its futures for each message.
        drop(task::spawn_local(Kind::detached("session", id), async move {
            let reason = stop.requested().await;
            ownership.session_ended(id, owner, &reason);
        }));
        Ok(account)
    }
}
