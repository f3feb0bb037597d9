//! A client as an owner: somebody outside who starts cells, and whose end is theirs.
//!
//! It has a place in the tree as a cell has, with an id and limits, but no program: nothing runs in it.

use actix::{ActorFutureExt, AsyncContext, Handler, Message, WrapFuture};
use ww_cell::Stop;
use ww_core::{CellId, Limits, exit::Reason};

use super::{Running, Starter};
use crate::{
    executor::{Executor, SpawnError},
    tree::Owner,
};

/// A client's place in the tree. Dropping it ends whatever was started on its behalf, the youngest first.
#[derive(Debug)]
pub struct Session {
    id: CellId,
    stop: Stop,
}

/// What has a place in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A cell.
    Cell,
    /// A supervisor.
    Supervisor,
    /// A client.
    Session,
}

/// Whom a cell belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owned {
    /// The cell, supervisor or session.
    pub id: CellId,
    /// Its owner.
    pub owner: Owner,
    /// Which of the three it is.
    pub kind: Kind,
}

#[derive(Message)]
#[rtype(result = "Result<(), SpawnError>")]
struct OpenSession {
    owner: Owner,
    id: CellId,
    limits: Limits,
    stop: Stop,
}

#[derive(Message)]
#[rtype(result = "Vec<Owned>")]
struct Owners;

impl Executor {
    /// Takes a place for a client, whose cells together get at most `limits`. Cancel safe: a place that nobody waits
    /// for any more is given up.
    ///
    /// # Errors
    ///
    /// Where the node is stopping.
    pub async fn open_session(&self, limits: Limits) -> Result<Session, SpawnError> {
        self.open_session_below(Owner::Node, limits).await
    }

    /// The same for a part of what an owner starts, which can be ended by itself, and ends with the owner at the latest. It
    /// counts as one cell of the owner. Cancel safe.
    ///
    /// # Errors
    ///
    /// Where the node is stopping, the owner has ended or has no room.
    pub async fn open_session_below(&self, owner: Owner, limits: Limits) -> Result<Session, SpawnError> {
        let session = Session { id: self.directory().next_id(), stop: Stop::default() };
        self.send(OpenSession { owner, id: session.id, limits, stop: session.stop.clone() }).await??;
        Ok(session)
    }

    /// Everything that has a place in the tree, in the order in which it was taken.
    ///
    /// # Errors
    ///
    /// Where the node has stopped.
    pub async fn owners(&self) -> Result<Vec<Owned>, SpawnError> {
        self.send(Owners).await
    }
}

impl Session {
    /// As whom it owns cells.
    pub fn id(&self) -> CellId {
        self.id
    }

    /// Says that the connection to the client is lost: what it owns ends with `no-connection` instead of `shutdown`. To be
    /// called before anything is dropped that the client held.
    pub fn lose(&self) {
        self.stop.request(Reason::NoConnection);
    }

    /// Ends whatever was started on its behalf, as dropping it does.
    pub fn end(&self) {
        self.stop.request(Reason::Shutdown);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.end();
    }
}

impl Starter {
    /// Whether what a session owns is about to end, as the session is or one that it is a part of.
    pub(super) fn session_ends(&self, session: CellId) -> bool {
        self.up_from(Owner::Cell(session)).any(|reason| reason.is_some())
    }

    /// Whether the connection is lost of the client that owns something, or a part of it.
    pub(super) fn is_lost(&self, owner: Owner) -> bool {
        self.up_from(owner).any(|reason| reason == Some(&Reason::NoConnection))
    }

    /// The sessions that something belongs to, from the nearest up: why each of them ends, if it does.
    fn up_from(&self, owner: Owner) -> impl Iterator<Item = Option<&Reason>> {
        let session_of = move |owner| match owner {
            Some(Owner::Cell(id)) if self.sessions.contains(&id) || self.lost.contains(&id) => Some(id),
            Some(Owner::Cell(_) | Owner::Node) | None => None,
        };
        let ends = move |id| match self.running.get(&id) {
            Some(Running::Cell(stop)) => stop.reason(),
            _ => self.lost.contains(&id).then_some(&Reason::NoConnection),
        };
        std::iter::successors(session_of(Some(owner)), move |id| session_of(self.tree.owner(*id))).map(ends)
    }
}

impl Handler<OpenSession> for Starter {
    type Result = Result<(), SpawnError>;

    fn handle(&mut self, open: OpenSession, ctx: &mut Self::Context) -> Self::Result {
        let OpenSession { owner, id, limits, stop } = open;
        if self.tree.is_stopping() {
            return Err(SpawnError::Stopped);
        }
        // It has no memory of its own: what its cells have is counted.
        self.tree.reserve(owner, id, limits, 0)?;
        self.sessions.insert(id);
        self.running.insert(id, Running::Cell(stop.clone()));
        let closed = async move { stop.requested().await };
        ctx.spawn(closed.into_actor(self).map(move |reason, actor, _| {
            // A part of what a client started may be told of its end before the whole is.
            if reason == Reason::NoConnection || actor.is_lost(owner) {
                actor.lost.insert(id);
            }
            let effects = actor.leave(id);
            actor.carry_out(effects);
        }));
        Ok(())
    }
}

impl Handler<Owners> for Starter {
    type Result = Vec<Owned>;

    fn handle(&mut self, _: Owners, _: &mut Self::Context) -> Self::Result {
        let owners = self.tree.owners().into_iter();
        let kind = |id| match self.running.get(&id) {
            _ if self.sessions.contains(&id) => Kind::Session,
            Some(Running::Supervisor(_)) => Kind::Supervisor,
            Some(Running::Cell(_)) | None => Kind::Cell,
        };
        owners.map(|(id, owner)| Owned { id, owner, kind: kind(id) }).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fixture::{House, SPIN, spec};

    /// Longer than anything here takes on a busy machine.
    const PATIENCE: Duration = Duration::from_secs(20);

    async fn soon<T>(future: impl Future<Output = T>) -> T {
        tokio::time::timeout(PATIENCE, future).await.expect("it takes far too long")
    }

    fn executor() -> Executor {
        House::shared().executor().0
    }

    #[tokio::test]
    async fn what_a_client_started_ends_with_its_session() {
        let executor = executor();
        let session = executor.open_session(Limits::default()).await.expect("a place");
        let owner = Owner::Cell(session.id());
        let (first, _streams) = executor.run(owner, spec(SPIN)).await.expect("started");
        let (second, _more) = executor.run(owner, spec(SPIN)).await.expect("started");
        let owned = executor.owners().await.expect("running");
        let [first_id, second_id] = [first.id(), second.id()].map(|id| Owned { id, owner, kind: Kind::Cell });
        let client = Owned { id: session.id(), owner: Owner::Node, kind: Kind::Session };
        assert_eq!(owned, [client, first_id, second_id]);
        drop(session);
        assert_eq!(soon(second.exit().wait()).await, Reason::Shutdown);
        assert_eq!(soon(first.exit().wait()).await, Reason::Shutdown);
        assert!(executor.run(owner, spec(SPIN)).await.is_err(), "the owner has ended");
        soon(executor.quiet()).await;
        assert_eq!(executor.owners().await.expect("running"), []);
    }

    #[tokio::test]
    async fn what_a_client_started_whose_connection_is_lost_ends_for_that_reason() {
        let executor = executor();
        let session = executor.open_session(Limits::default()).await.expect("a place");
        let owner = Owner::Cell(session.id());
        let (first, _streams) = executor.run(owner, spec(SPIN)).await.expect("started");
        let (second, more) = executor.run(owner, spec(SPIN)).await.expect("started");
        let exit = second.exit().clone();
        session.lose();
        drop((second, more));
        drop(session);
        assert_eq!(soon(exit.wait()).await, Reason::NoConnection);
        assert_eq!(soon(first.exit().wait()).await, Reason::NoConnection);
        soon(executor.quiet()).await;
    }

    #[tokio::test]
    async fn the_same_goes_for_a_part_of_it_whoever_ends_first() {
        let executor = executor();
        let session = executor.open_session(Limits::default()).await.expect("a place");
        let part = executor.open_session_below(Owner::Cell(session.id()), Limits::default()).await.expect("a place");
        let below = executor.open_session_below(Owner::Cell(part.id()), Limits::default()).await.expect("a place");
        let owner = Owner::Cell(below.id());
        let (first, _streams) = executor.run(owner, spec(SPIN)).await.expect("started");
        let (second, more) = executor.run(owner, spec(SPIN)).await.expect("started");
        let exit = second.exit().clone();
        session.lose();
        drop((second, more, below, part));
        assert_eq!(soon(exit.wait()).await, Reason::NoConnection);
        assert_eq!(soon(first.exit().wait()).await, Reason::NoConnection);
        drop(session);
        soon(executor.quiet()).await;
    }

    #[tokio::test]
    async fn a_part_of_what_an_owner_started_ends_by_itself_and_with_the_owner() {
        let executor = executor();
        let limits = Limits { children: 2, ..Limits::default() };
        let session = executor.open_session(limits.clone()).await.expect("a place");
        let owner = Owner::Cell(session.id());
        let (own, _streams) = executor.run(owner, spec(SPIN)).await.expect("started");
        let part = executor.open_session_below(owner, Limits { children: 1, ..limits.clone() }).await.expect("a place");
        let refused = executor.open_session_below(owner, limits.clone()).await;
        assert!(refused.is_err(), "it counts as a cell of its owner");
        let below = Owner::Cell(part.id());
        let (first, _more) = executor.run(below, spec(SPIN)).await.expect("started");
        assert!(executor.run(below, spec(SPIN)).await.is_err(), "the part has limits of its own");
        drop(part);
        assert_eq!(soon(first.exit().wait()).await, Reason::Shutdown);
        assert!(own.exit().reason().is_none(), "the rest goes on");

        let part = executor.open_session_below(owner, limits).await.expect("the place is free again");
        let (second, _again) = executor.run(Owner::Cell(part.id()), spec(SPIN)).await.expect("started");
        drop(session);
        assert_eq!(soon(second.exit().wait()).await, Reason::Shutdown);
        assert_eq!(soon(own.exit().wait()).await, Reason::Shutdown);
        soon(executor.quiet()).await;
    }

    #[tokio::test]
    async fn a_dropped_process_ends_while_its_session_goes_on() {
        let executor = executor();
        let session = executor.open_session(Limits::default()).await.expect("a place");
        let (process, streams) = executor.run(Owner::Cell(session.id()), spec(SPIN)).await.expect("started");
        let exit = process.exit().clone();
        drop((process, streams));
        assert_eq!(soon(exit.wait()).await, Reason::Shutdown);
        // A client that does nothing holds no one up.
        soon(executor.quiet()).await;
        soon(executor.stop()).await;
        assert!(executor.open_session(Limits::default()).await.is_err(), "the node has stopped");
    }
}
