//! What a connection of others may hold before anybody has accepted anything.
//!
//! A layer around the multiplexers. On yamux a peer may send [`STREAM_WINDOW`](crate::config::STREAM_WINDOW) bytes on
//! a stream before anybody has read of it. So each stream that a peer opens takes a place before it is even negotiated,
//! and one without a place is reset: at most as many bytes wait unread as places times that. QUIC bounds the bytes of a
//! connection by itself.
//!
//! And a connection that is closed is gone [`CLOSE_TIMEOUT`] later, even if its peer reads nothing.

use std::{
    collections::{HashMap, VecDeque},
    io::{self, IoSlice, IoSliceMut},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use tokio::time::{Sleep, sleep};

use crate::{
    config::{CLOSE_TIMEOUT, STREAMS_PER_CONNECTION, StreamLimits},
    origin::Origin,
    standing::Standing,
};

/// Streams of a stranger's connection that need no place of those that strangers share: one of `ping`, one of
/// `identify`, and a message. So nobody is silenced by others.
pub(crate) const FLOOR: usize = 3;

/// Streams that a peer has opened and that are not being negotiated yet: as many as it may open before it has to wait
/// for an acknowledgement, by the convention of yamux.
const MAX_QUEUED: usize = 256;

/// Streams that are taken from a connection in one turn, some microseconds each.
const STREAMS_PER_TURN: usize = 64;

/// A multiplexer with bounds.
pub(crate) struct Bounded<M: StreamMuxer> {
    inner: M,
    /// `None` where the multiplexer bounds bytes by itself.
    places: Option<Places>,
    /// Streams that the peer opened.
    queue: VecDeque<Substream<M::Substream>>,
    taker: Option<Waker>,
    closing: Option<Pin<Box<Sleep>>>,
}

/// A stream with its place.
pub(crate) struct Substream<S> {
    inner: S,
    _place: Option<Place>,
}

/// The streams that strangers have opened on all connections of yamux. Clones are the same.
#[derive(Clone)]
pub(crate) struct Pool(Arc<Shared>);

struct Shared {
    /// All of them, and those from one address.
    limits: (usize, usize),
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    addresses: HashMap<Origin, usize>,
}

/// The places of one connection. Clones are the same.
#[derive(Clone)]
pub(crate) struct Places {
    taken: Arc<AtomicUsize>,
    /// What is shared with others, and under which address.
    shared: Option<(Pool, Origin)>,
}

/// The place of one stream. Dropping it gives it back.
struct Place {
    taken: Arc<AtomicUsize>,
    shared: Option<(Pool, Origin)>,
}

impl Pool {
    pub(crate) fn new(limits: StreamLimits) -> Self {
        let limits = (limits.strangers, limits.per_address);
        Self(Arc::new(Shared { limits, taken: Mutex::default() }))
    }

    /// The places of a new connection.
    pub(crate) fn places(&self, standing: Standing, origin: Origin) -> Places {
        let shared = (standing == Standing::Stranger).then(|| (self.clone(), origin));
        Places { taken: Arc::default(), shared }
    }

    fn take(&self, origin: Origin) -> bool {
        let (all, per_address) = self.0.limits;
        let mut taken = self.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.all >= all || taken.addresses.get(&origin).copied().unwrap_or_default() >= per_address {
            return false;
        }
        taken.all += 1;
        *taken.addresses.entry(origin).or_default() += 1;
        true
    }

    fn give_back(&self, origin: Origin) {
        let mut taken = self.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        if let Some(count) = taken.addresses.get_mut(&origin) {
            *count -= 1;
            if *count == 0 {
                taken.addresses.remove(&origin);
            }
        }
    }
}

impl Places {
    fn take(&self) -> Option<Place> {
        let own = self.taken.load(Ordering::Relaxed);
        if own >= STREAMS_PER_CONNECTION {
            return None;
        }
        let shared = self.shared.as_ref().filter(|_| own >= FLOOR);
        if shared.is_some_and(|(pool, origin)| !pool.take(*origin)) {
            return None;
        }
        self.taken.fetch_add(1, Ordering::Relaxed);
        Some(Place { taken: Arc::clone(&self.taken), shared: shared.cloned() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
        if let Some((pool, origin)) = &self.shared {
            pool.give_back(*origin);
        }
    }
}

impl<M: StreamMuxer> Bounded<M> {
    /// A multiplexer whose streams need a place, where there are places.
    pub(crate) fn new(inner: M, places: Option<Places>) -> Self {
        Self { inner, places, queue: VecDeque::new(), taker: None, closing: None }
    }
}

impl<M: StreamMuxer + Unpin> StreamMuxer for Bounded<M>
where
    M::Substream: Unpin,
{
    type Substream = Substream<M::Substream>;
    type Error = M::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Self::Substream, M::Error>> {
        if self.places.is_none() {
            let inbound = Pin::new(&mut self.inner).poll_inbound(cx);
            return inbound.map_ok(|inner| Substream { inner, _place: None });
        }
        if let Some(stream) = self.queue.pop_front() {
            return Poll::Ready(Ok(stream));
        }
        // Filled by `poll`, which libp2p calls in any case.
        self.taker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Self::Substream, M::Error>> {
        let outbound = Pin::new(&mut self.inner).poll_outbound(cx);
        outbound.map_ok(|inner| Substream { inner, _place: None })
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), M::Error>> {
        if let Poll::Ready(closed) = Pin::new(&mut self.inner).poll_close(cx) {
            return Poll::Ready(closed);
        }
        let closing = self.closing.get_or_insert_with(|| Box::pin(sleep(CLOSE_TIMEOUT)));
        // The peer does not read: its socket is dropped without a farewell.
        closing.as_mut().poll(cx).map(Ok)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, M::Error>> {
        let this = &mut *self;
        let Some(places) = &this.places else { return Pin::new(&mut this.inner).poll(cx) };
        for _ in 0..STREAMS_PER_TURN {
            let inner = match Pin::new(&mut this.inner).poll_inbound(cx) {
                Poll::Ready(Ok(inner)) => inner,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            };
            let place = if this.queue.len() < MAX_QUEUED { places.take() } else { None };
            let Some(place) = place else {
                tracing::debug!("a stream of a peer finds no place and is reset");
                continue;
            };
            this.queue.push_back(Substream { inner, _place: Some(place) });
            if let Some(taker) = this.taker.take() {
                taker.wake();
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Substream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }

    fn poll_read_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_read_vectored(cx, bufs)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Substream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::{future::poll_fn, io::Cursor};
    use tokio::time::Instant;

    use super::*;

    /// A connection whose peer reads nothing, so that no farewell leaves.
    struct Stuck;

    impl StreamMuxer for Stuck {
        type Substream = Cursor<Vec<u8>>;
        type Error = Infallible;

        fn poll_inbound(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<Self::Substream, Infallible>> {
            Poll::Ready(Ok(Cursor::default()))
        }

        fn poll_outbound(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<Self::Substream, Infallible>> {
            Poll::Pending
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Pending
        }

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, Infallible>> {
            Poll::Pending
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_whose_peer_reads_nothing_is_closed_all_the_same() {
        let (mut muxer, start) = (Bounded::new(Stuck, None), Instant::now());
        poll_fn(|cx| Pin::new(&mut muxer).poll_close(cx)).await.unwrap();
        assert!(start.elapsed() >= CLOSE_TIMEOUT);
    }

    #[test]
    fn streams_that_nobody_takes_are_bounded_and_the_turn_ends() {
        let pool = Pool::new(StreamLimits::default());
        let mut muxer = Bounded::new(Stuck, Some(pool.places(Standing::Named, Origin::Elsewhere)));
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..2 * MAX_QUEUED / STREAMS_PER_TURN {
            assert!(Pin::new(&mut muxer).poll(&mut cx).is_pending());
        }
        assert_eq!(muxer.queue.len(), MAX_QUEUED);
        assert!(Pin::new(&mut muxer).poll_inbound(&mut cx).is_ready());
    }

    #[test]
    fn strangers_share_places_and_each_connection_has_some_of_its_own() {
        let limits = StreamLimits { strangers: 4, per_address: 3, ..StreamLimits::default() };
        let pool = Pool::new(limits);
        let mut held = Vec::new();
        let mut fill = |standing, last| {
            let places = pool.places(standing, Origin::V4([192, 0, 2, last].into()));
            let taken = std::iter::from_fn(|| places.take()).collect::<Vec<_>>();
            let count = taken.len();
            held.push(taken);
            count
        };
        let counts = [1, 1, 2, 3].map(|last| fill(Standing::Stranger, last));
        assert_eq!(counts, [FLOOR + 3, FLOOR, FLOOR + 1, FLOOR]);
        assert_eq!(fill(Standing::Dialled, 1), STREAMS_PER_CONNECTION);
        held.clear();
        let taken = pool.0.taken.lock().unwrap();
        assert!(taken.all == 0 && taken.addresses.is_empty());
    }
}
