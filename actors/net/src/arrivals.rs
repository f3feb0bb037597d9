//! Connections of others that have not proven yet who they are.
//!
//! All that is known of such a connection is its address, so nothing is kept for anybody. Each has a deadline. Where as
//! many wait as may, from one address or from all, the one that has waited longest makes room: a peer whose handshake
//! takes milliseconds is through before as many others have come after it, whatever they do. Of all addresses it is one
//! of those from which most wait.
//!
//! A layer around the transports. What makes room is dropped at once, with its socket. Bounded are the connections in
//! their handshake ([`Limits`]) and their time.

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture, task::AtomicWaker};
use libp2p::{
    Multiaddr, PeerId, Transport,
    core::{
        muxing::StreamMuxerBox,
        transport::{Boxed, DialOpts, ListenerId, TransportError, TransportEvent},
    },
};
use tokio::time::{Sleep, sleep};

use crate::{config::Limits, counts::Refusals, origin::Origin};

/// What a handshake leads to.
type Secured = (PeerId, StreamMuxerBox);

/// The handshake of one connection.
type Upgrade = BoxFuture<'static, io::Result<Secured>>;

/// The transports of a node, with bounds on the connections that come in.
pub(crate) struct Arrivals {
    inner: Boxed<Secured>,
    deadline: Duration,
    waiting: Waiting,
}

/// Connections in their handshake. Clones are the same.
#[derive(Clone)]
struct Waiting {
    all: usize,
    per_address: usize,
    refusals: Refusals,
    table: Arc<Mutex<Table>>,
}

#[derive(Default)]
struct Table {
    /// In the order in which they came.
    slots: BTreeMap<u64, (Origin, Arc<Slot>)>,
    /// How many there are of each address.
    origins: HashMap<Origin, usize>,
    next: u64,
}

/// A handshake that can be taken away from the task that drives it.
struct Slot {
    upgrade: Mutex<Option<Upgrade>>,
    waker: AtomicWaker,
}

/// Drives a handshake until it is through, late, or has to make room.
pub(crate) struct Arrival {
    id: u64,
    slot: Arc<Slot>,
    deadline: Pin<Box<Sleep>>,
    waiting: Waiting,
}

impl Arrivals {
    /// A layer around transports; a handshake may take as long as `deadline`.
    pub(crate) fn new(inner: Boxed<Secured>, limits: Limits, deadline: Duration, refusals: Refusals) -> Self {
        let [all, per_address] = [limits.pending_incoming, limits.pending_per_address].map(|limit| limit as usize);
        Self { inner, deadline, waiting: Waiting { all, per_address, refusals, table: Arc::default() } }
    }
}

impl Waiting {
    /// Lets one more wait, and drops those that make room for it.
    fn admit(&self, origin: Origin, upgrade: Upgrade) -> (u64, Arc<Slot>) {
        let slot = Arc::new(Slot { upgrade: Mutex::new(Some(upgrade)), waker: AtomicWaker::new() });
        let mut table = self.lock();
        let id = table.next;
        table.next += 1;
        table.slots.insert(id, (origin, Arc::clone(&slot)));
        *table.origins.entry(origin).or_default() += 1;
        let mut gone = Vec::new();
        if table.origins[&origin] > self.per_address {
            gone.extend(table.take_oldest(|of, _| of == origin));
        }
        if table.slots.len() > self.all {
            let most = table.origins.values().copied().max().unwrap_or_default();
            gone.extend(table.take_oldest(|_, count| count == most));
        }
        drop(table);
        for slot in gone {
            self.refusals.pending();
            slot.give_up();
        }
        (id, slot)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Takes the oldest out for whose origin, and how many there are of it, something holds.
    fn take_oldest(&mut self, is_meant: impl Fn(Origin, usize) -> bool) -> Option<Arc<Slot>> {
        let meant = |(_, (origin, _)): &(&u64, &(Origin, Arc<Slot>))| is_meant(*origin, self.origins[origin]);
        let id = *self.slots.iter().find(meant)?.0;
        self.remove(id)
    }

    fn remove(&mut self, id: u64) -> Option<Arc<Slot>> {
        let (origin, slot) = self.slots.remove(&id)?;
        if let Some(count) = self.origins.get_mut(&origin) {
            *count -= 1;
            if *count == 0 {
                self.origins.remove(&origin);
            }
        }
        Some(slot)
    }
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Option<Upgrade>> {
        self.upgrade.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops the handshake, and has its task find out.
    fn give_up(&self) {
        let upgrade = self.lock().take();
        drop(upgrade);
        self.waker.wake();
    }
}

impl Future for Arrival {
    type Output = io::Result<Secured>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.slot.waker.register(cx.waker());
        let mut upgrade = self.slot.lock();
        let Some(handshake) = upgrade.as_mut() else {
            let text = "the handshake made room for another one: too many wait, from this address or from all";
            return Poll::Ready(Err(io::Error::other(text)));
        };
        if let Poll::Ready(outcome) = handshake.poll_unpin(cx) {
            *upgrade = None;
            return Poll::Ready(outcome);
        }
        drop(upgrade);
        if self.deadline.as_mut().poll(cx).is_ready() {
            *self.slot.lock() = None;
            let text = format!("the handshake took longer than {:?}", crate::config::INCOMING_TIMEOUT);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, text)));
        }
        Poll::Pending
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        self.waiting.lock().remove(self.id);
    }
}

impl Transport for Arrivals {
    type Output = Secured;
    type Error = io::Error;
    type ListenerUpgrade = Arrival;
    type Dial = <Boxed<Secured> as Transport>::Dial;

    fn listen_on(&mut self, id: ListenerId, addr: Multiaddr) -> Result<(), TransportError<io::Error>> {
        self.inner.listen_on(id, addr)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.remove_listener(id)
    }

    fn dial(&mut self, addr: Multiaddr, opts: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        self.inner.dial(addr, opts)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<TransportEvent<Arrival, io::Error>> {
        let this = &mut *self;
        Pin::new(&mut this.inner).poll(cx).map(|event| match event {
            TransportEvent::Incoming { listener_id, upgrade, local_addr, send_back_addr } => {
                let (id, slot) = this.waiting.admit(Origin::of(&send_back_addr), upgrade);
                let (waiting, deadline) = (this.waiting.clone(), Box::pin(sleep(this.deadline)));
                let upgrade = Arrival { id, slot, deadline, waiting };
                TransportEvent::Incoming { listener_id, upgrade, local_addr, send_back_addr }
            }
            TransportEvent::NewAddress { listener_id, listen_addr } => {
                TransportEvent::NewAddress { listener_id, listen_addr }
            }
            TransportEvent::AddressExpired { listener_id, listen_addr } => {
                TransportEvent::AddressExpired { listener_id, listen_addr }
            }
            TransportEvent::ListenerClosed { listener_id, reason } => {
                TransportEvent::ListenerClosed { listener_id, reason }
            }
            TransportEvent::ListenerError { listener_id, error } => {
                TransportEvent::ListenerError { listener_id, error }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use futures::future::pending;

    use super::*;
    use crate::ConnectionCounts;

    /// A waiting room, and which of those that came are still in it.
    struct Hall {
        waiting: Waiting,
        came: Vec<Arc<Slot>>,
    }

    impl Hall {
        fn new(all: usize, per_address: usize) -> Self {
            let waiting = Waiting { all, per_address, refusals: Refusals::default(), table: Arc::default() };
            Self { waiting, came: Vec::new() }
        }

        fn come(&mut self, last: u8) -> u64 {
            let (id, slot) = self.waiting.admit(Origin::V4([192, 0, 2, last].into()), pending().boxed());
            self.came.push(slot);
            id
        }

        fn still_there(&self) -> Vec<usize> {
            (0..self.came.len()).filter(|at| self.came[*at].lock().is_some()).collect()
        }
    }

    #[test]
    fn the_oldest_of_an_address_makes_room() {
        let mut hall = Hall::new(4, 2);
        for last in [1, 1, 2, 1] {
            hall.come(last);
        }
        assert_eq!(hall.still_there(), [1, 2, 3]);
        assert_eq!(hall.waiting.refusals.counts(), ConnectionCounts { pending_dropped: 1, ..Default::default() });
    }

    #[test]
    fn of_all_addresses_the_one_with_most_makes_room() {
        let mut hall = Hall::new(3, 2);
        for last in [1, 2, 2, 3] {
            hall.come(last);
        }
        assert_eq!(hall.still_there(), [0, 2, 3], "not the oldest of all");
        hall.come(4);
        assert_eq!(hall.still_there(), [2, 3, 4], "all have one: the oldest");
    }

    #[test]
    fn none_waits_where_none_may() {
        let mut hall = Hall::new(0, 0);
        hall.come(1);
        assert!(hall.still_there().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_handshake_ends_with_its_room_and_with_its_time() {
        let mut hall = Hall::new(1, 1);
        let arrival = |hall: &mut Hall| {
            let id = hall.come(1);
            let slot = Arc::clone(&hall.came[id as usize]);
            let deadline = Box::pin(sleep(Duration::from_secs(1)));
            Arrival { id, slot, deadline, waiting: hall.waiting.clone() }
        };
        let mut first = arrival(&mut hall);
        assert!(futures::poll!(&mut first).is_pending());
        let second = arrival(&mut hall);
        assert!(first.await.err().unwrap().to_string().contains("made room"));
        assert_eq!(second.await.err().unwrap().kind(), io::ErrorKind::TimedOut);
        let table = hall.waiting.lock();
        assert!(table.slots.is_empty() && table.origins.is_empty());
    }
}
