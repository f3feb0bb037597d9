//! The clients of a node's control socket, or of one peer: how many there may be, and who has to make room.
//!
//! A client that has not said anything yet is the first to go when all places are taken, and goes by itself after
//! [`HELLO`]: connections that do nothing keep nobody out.
//!
//! When the node stops, clients that wait for an answer get it: the end of the last cell is news as well.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, OnceCell, watch},
    time::{sleep, timeout},
};
use ww_core::Limits;
use ww_executor::{Executor, Owner, Session, SpawnError};

use crate::load::Load;

/// Clients at once: many times the windows that a person has open, and few enough file descriptors.
pub const MAX_CLIENTS: usize = 256;

/// Connections of one peer at once: those of a few cells of its node, or of a few windows of a person.
pub const MAX_OF_PEER: usize = 32;

/// How long a client may take for its first message: it sends one as soon as it is connected.
pub(crate) const HELLO: Duration = Duration::from_secs(10);

/// How long a client is served at least when the node stops, so that what follows from the last ends gets out.
const LINGER: Duration = Duration::from_millis(50);

/// How long a client may take for its last answers when the node stops.
const FAREWELL: Duration = Duration::from_secs(1);

/// The clients of one node or one peer. Clones are the same.
#[derive(Clone, Debug)]
pub struct Clients(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    most: usize,
    /// The peer whose connections they are; `None` where each is somebody else's.
    peer: Option<Peer>,
    table: Mutex<Table>,
    closing: watch::Sender<bool>,
    left: Notify,
}

#[derive(Debug)]
struct Peer {
    name: Arc<str>,
    /// Bytes that are held for all its connections.
    held: u64,
    /// From its first connection on, as what it started may end later than the last one.
    session: OnceCell<Session>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    /// By the order in which they came.
    places: BTreeMap<u64, Seat>,
}

#[derive(Clone, Debug)]
struct Seat {
    /// Whether it has sent a whole message.
    heard: Arc<AtomicBool>,
    leave: Arc<Notify>,
}

/// The place of one client, free when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    clients: Clients,
    number: u64,
    seat: Seat,
}

impl Default for Clients {
    fn default() -> Self {
        Self::new(MAX_CLIENTS)
    }
}

impl Clients {
    /// With this many places.
    pub fn new(most: usize) -> Self {
        Self::with(most, None)
    }

    /// The connections of one peer, by its name. There are at most [`MAX_OF_PEER`] of them, and the node holds `held` bytes for
    /// all together.
    pub fn of_peer(name: &str, held: u64) -> Self {
        Self::with(MAX_OF_PEER, Some(Peer { name: name.into(), held, session: OnceCell::new() }))
    }

    fn with(most: usize, peer: Option<Peer>) -> Self {
        let (closing, left) = (watch::Sender::new(false), Notify::new());
        Self(Arc::new(Inner { most, peer, table: Mutex::default(), closing, left }))
    }

    /// A place in the tree for one of them.
    pub(crate) async fn open_session(&self, executor: &Executor, limits: Limits) -> Result<Session, SpawnError> {
        let Some(Peer { name, held, session }) = &self.0.peer else { return executor.open_session(limits).await };
        let peer = session.get_or_try_init(|| executor.open_peer(Arc::clone(name), *held)).await?;
        executor.open_session_below(Owner::Cell(peer.id()), limits).await
    }

    /// A place for a client that sets `heard` with its first message; `None` where all are taken by clients that have
    /// said something.
    pub(crate) fn admit(&self, heard: Arc<AtomicBool>) -> Option<Place> {
        if *self.0.closing.borrow() {
            return None;
        }
        let mut table = self.lock();
        if table.places.len() >= self.0.most {
            let silent = table.places.iter().find(|(_, seat)| !seat.heard.load(Ordering::Relaxed));
            let silent = silent.map(|(&number, _)| number)?;
            if let Some(seat) = table.places.remove(&silent) {
                seat.leave.notify_one();
            }
        }
        let number = table.next;
        table.next += 1;
        let seat = Seat { heard, leave: Arc::default() };
        table.places.insert(number, seat.clone());
        drop(table);
        Some(Place { clients: self.clone(), number, seat })
    }

    /// Admits nobody any more, and waits until all have left, at most for two seconds.
    pub async fn close(&self) {
        self.0.closing.send_replace(true);
        let all = async {
            loop {
                let left = self.0.left.notified();
                if self.lock().places.is_empty() {
                    return;
                }
                left.await;
            }
        };
        if timeout(2 * FAREWELL, all).await.is_err() {
            tracing::warn!("clients did not leave in time");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Nothing panics while the lock is held.
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Returns when the client has to go, with the reason: another one needs the place, it was silent for too long, or
    /// the node stops.
    pub(crate) async fn lost(&self, load: &Load) -> &'static str {
        tokio::select! {
            why = self.silent() => why,
            () = self.closed(load) => "the node stops",
        }
    }

    /// The node stops, and the client has all its answers.
    async fn closed(&self, load: &Load) {
        let mut closing = self.clients.0.closing.subscribe();
        // The sender lives as long as this.
        let _ = closing.wait_for(|closing| *closing).await;
        sleep(LINGER).await;
        let _ = timeout(FAREWELL, load.idle()).await;
    }

    async fn silent(&self) -> &'static str {
        tokio::select! {
            () = self.seat.leave.notified() => return "others need its place, and it has said nothing",
            () = sleep(HELLO) => {}
        }
        if self.seat.heard.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        "it has said nothing for too long"
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.clients.lock().places.remove(&self.number);
        self.clients.0.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use ww_executor::Kind;

    use super::*;
    use crate::fixture::{executor_alone, local};

    fn heard(heard: bool) -> Arc<AtomicBool> {
        Arc::new(AtomicBool::new(heard))
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_that_said_nothing_makes_room() {
        let clients = Clients::default();
        let mut places = vec![clients.admit(heard(true)).expect("room")];
        places.extend((1..MAX_CLIENTS).map(|_| clients.admit(heard(false)).expect("room")));
        let newcomer = clients.admit(heard(true)).expect("somebody makes room");
        assert!(places[1].lost(&Load::default()).now_or_never().is_some_and(|why| why.contains("others")));
        assert!(places[0].lost(&Load::default()).now_or_never().is_none());
        assert!(places[2].lost(&Load::default()).now_or_never().is_none());
        // Leaving a second time takes nobody's place.
        places.truncate(1);
        assert_eq!(clients.lock().places.len(), 2);
        drop((places, newcomer));
        assert!(clients.lock().places.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn clients_that_have_said_something_keep_their_places() {
        let clients = Clients::default();
        let places: Vec<_> = (0..MAX_CLIENTS).map(|_| clients.admit(heard(true)).expect("room")).collect();
        assert!(clients.admit(heard(false)).is_none());
        drop(places);
        let silent = clients.admit(heard(false)).expect("room again");
        assert!(silent.lost(&Load::default()).await.contains("too long"));
    }

    #[test]
    fn connections_of_a_peer_that_open_at_once_have_one_place_above_them_and_a_failure_is_tried_again() {
        local(async {
            let (executor, clients) = (executor_alone(), Clients::of_peer("12D3KooW", 1 << 20));
            let node = executor.account();
            let all = node.charge(node.most() - node.held()).expect("nobody else is there");
            let open = || clients.open_session(&executor, Limits::default());
            open().await.map(drop).expect_err("the node has no room");
            drop(all);
            let (one, other) = tokio::join!(open(), open());
            let sessions = [one, other].map(|session| session.expect("a place").id());
            let owners = executor.owners();
            let peers: Vec<_> = owners.iter().filter(|owned| owned.kind == Kind::Peer).collect();
            assert_eq!(peers.len(), 1, "{owners:?}");
            for owned in owners.iter().filter(|owned| sessions.contains(&owned.id)) {
                assert_eq!(owned.owner, Owner::Cell(peers[0].id));
            }
        });
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_gets_its_answers_before_the_node_stops() {
        let clients = Clients::default();
        let (place, load) = (clients.admit(heard(true)).expect("room"), Load::default());
        load.begin(1, 8).expect("room");
        let mut closing = Box::pin(clients.close());
        assert!(closing.as_mut().now_or_never().is_none());
        assert!(clients.admit(heard(true)).is_none(), "nobody comes any more");
        {
            let mut lost = Box::pin(place.lost(&load));
            assert!(timeout(2 * LINGER, lost.as_mut()).await.is_err(), "an answer is missing");
            assert_eq!(lost.await, "the node stops", "nobody is waited for any longer");
        }
        load.finished(1);
        assert_eq!(place.lost(&load).await, "the node stops");
        drop(place);
        closing.await;
    }
}
