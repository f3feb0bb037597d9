//! A client as an owner: somebody outside who starts cells, and whose end is theirs.
//!
//! It has a place in the tree as a cell has, with an id and limits, but no program: nothing runs in it.

use std::sync::Arc;

use ww_cell::Stop;
use ww_core::{Account, CellId, Limits, account::Holder, exit::Reason};

use crate::{
    executor::{Executor, SpawnError},
    starter::OpenSession,
    tree::Owner,
};

/// A client's place in the tree. Dropping it asks all that was started on its behalf to end, at once.
#[derive(Debug)]
pub struct Session {
    id: CellId,
    account: Account,
    stop: Stop,
}

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
        let id = self.directory().next_id();
        self.open(owner, id, limits, Holder::Client(id)).await
    }

    /// A place for a peer by its name, above the sessions of all its connections: they hold at most `held` bytes together,
    /// and compile in its turns. All else is bounded for each of them. Cancel safe.
    ///
    /// # Errors
    ///
    /// Where the node is stopping, or has no room.
    pub async fn open_peer(&self, name: Arc<str>, held: u64) -> Result<Session, SpawnError> {
        let limits = Limits { held, children: u32::MAX, subtree_cells: u32::MAX, ..Limits::default() };
        self.open(Owner::Node, self.directory().next_id(), limits, Holder::Peer(name)).await
    }

    async fn open(&self, owner: Owner, id: CellId, limits: Limits, holder: Holder) -> Result<Session, SpawnError> {
        let stop = Stop::default();
        // Ends what comes of it if nobody waits any more.
        let mut session = Session { id, account: Account::unlimited(), stop: stop.clone() };
        session.account = self.send(OpenSession { owner, id, limits, holder, stop }).await??;
        Ok(session)
    }
}

impl Session {
    /// As whom it owns cells.
    pub fn id(&self) -> CellId {
        self.id
    }

    /// What the node holds for the client, and for all that was started on its behalf.
    pub fn account(&self) -> &Account {
        &self.account
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        fixture::{House, SPIN, spec},
        ownership::{Kind, Owned},
    };

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
        let owned = executor.owners();
        let [first_id, second_id] = [first.id(), second.id()].map(|id| Owned { id, owner, kind: Kind::Cell });
        let client = Owned { id: session.id(), owner: Owner::Node, kind: Kind::Session };
        assert_eq!(owned, [client, first_id, second_id]);
        drop(session);
        assert_eq!(soon(second.exit().wait()).await, Reason::Shutdown);
        assert_eq!(soon(first.exit().wait()).await, Reason::Shutdown);
        assert!(executor.run(owner, spec(SPIN)).await.is_err(), "the owner has ended");
        soon(executor.quiet()).await;
        assert_eq!(executor.owners(), []);
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
    async fn all_connections_of_a_peer_hold_together_what_it_may_and_end_one_by_one() {
        let executor = executor();
        let peer = executor.open_peer("12D3KooW".into(), 1 << 20).await.expect("a place");
        let limits = Limits { held: 1 << 20, children: 1, ..Limits::default() };
        let mut sessions = Vec::new();
        for _ in 0..2 {
            let session = executor.open_session_below(Owner::Cell(peer.id()), limits.clone()).await.expect("a place");
            let (process, streams) = executor.run(Owner::Cell(session.id()), spec(SPIN)).await.expect("started");
            sessions.push((session, process, streams));
        }
        let charge = sessions[0].0.account().charge(700 << 10).expect("room");
        let refused = sessions[1].0.account().charge(700 << 10).expect_err("the other one has taken it");
        assert!(refused.to_string().contains("for the peer 12D3KooW"), "{refused}");
        let kind = |id| executor.owners().iter().find(|owned| owned.id == id).map(|owned| owned.kind);
        assert_eq!((kind(peer.id()), kind(sessions[0].0.id())), (Some(Kind::Peer), Some(Kind::Session)));
        let (first, process, _streams) = sessions.remove(0);
        first.lose();
        assert_eq!(soon(process.exit().wait()).await, Reason::NoConnection);
        drop(charge);
        assert!(sessions[0].1.exit().reason().is_none(), "what another connection started goes on");
        assert!(sessions[0].0.account().charge(700 << 10).is_ok(), "there is room again");
        drop(sessions);
        drop(peer);
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
