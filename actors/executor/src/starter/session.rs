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
        let session = Session { id: self.directory().next_id(), stop: Stop::default() };
        self.send(OpenSession { id: session.id, limits, stop: session.stop.clone() }).await??;
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
}

impl Drop for Session {
    fn drop(&mut self) {
        self.stop.request(Reason::Shutdown);
    }
}

impl Handler<OpenSession> for Starter {
    type Result = Result<(), SpawnError>;

    fn handle(&mut self, OpenSession { id, limits, stop }: OpenSession, ctx: &mut Self::Context) -> Self::Result {
        if self.tree.is_stopping() {
            return Err(SpawnError::Stopped);
        }
        // It has no memory of its own: what its cells have is counted.
        self.tree.reserve(Owner::Node, id, limits, 0)?;
        self.sessions.insert(id);
        self.running.insert(id, Running::Cell(stop.clone()));
        let closed = async move { stop.requested().await };
        ctx.spawn(closed.into_actor(self).map(move |reason, actor, _| {
            if reason == Reason::NoConnection {
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
