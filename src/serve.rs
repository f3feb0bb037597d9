//! One stream, one message: between a stream of bytes from somewhere else and the mailbox of a cell.
//!
//! | file | what |
//! |---|---|
//! | `request` | from the peer to the guest, and how much of it is there |
//! | `reply` | from the guest to the peer |
//! | `framed` | the same in frames, with a status |
//! | `pace` | how slow a peer may be |

mod framed;
mod pace;
mod reply;
mod request;

use std::{future::pending, time::Duration};

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use ww_cell::{Envelope, Failure, Slot, pipe};
use ww_core::Account;
use ww_net::call::CALL_TIMEOUT;

use crate::gate::{Caller, Gate, Pass};

pub(crate) use self::framed::framed;
use self::{
    pace::Pace,
    request::{Bytes, Progress, Stage},
};

/// Bytes of a reply that are held until the guest has returned, so that a fault gives an empty reply and no torn one.
pub const HELD: usize = 64 * 1024;

/// How long a peer may take no byte of a reply, or send no byte of a request: longer than any network that works.
pub const PEER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long one message may take, from its first byte to the last one of its reply: nobody holds a cell for ever.
pub const MESSAGE_TIMEOUT: Duration = CALL_TIMEOUT;

/// Why a message was not answered.
#[derive(Debug, Error)]
pub(crate) enum NotServed {
    /// Too many wait for the cell.
    #[error("too many messages wait for the cell: try again later")]
    Busy,
    /// The request broke off before the cell was told of it.
    #[error("the request broke off before the cell saw it")]
    Broken,
    /// The cell did not answer.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// A cell, what is in front of it, and who wants to get there.
#[derive(Clone, Copy)]
pub(crate) struct Guarded<'a> {
    pub(crate) slot: &'a Slot,
    pub(crate) gate: &'a Gate,
    /// How long the peer may be silent.
    pub(crate) patience: Duration,
    /// How long the cell has for one message.
    pub(crate) deadline: Option<Duration>,
    pub(crate) caller: Caller,
    /// Pays for what is read ahead, and held of the reply.
    pub(crate) payer: &'a Account,
}

/// Serves one message without framing: the request up to its end, then the reply up to its end, both at the same time.
///
/// What the peer does harms only its own message. A peer that vanishes, falls silent in the middle of its request, or
/// takes no byte of the reply for [`PEER_TIMEOUT`] leaves the guest with a failed input and an output that is
/// discarded; the guest finishes. Not cancel safe: the cell finishes what it has begun, and the peer sees a torn reply.
///
/// # Errors
///
/// Where the message was not answered. The peer then sees an empty reply, or, if more than [`HELD`] bytes were on their
/// way already, a torn one.
pub async fn raw(
    slot: &Slot,
    envelope: Envelope,
    from: impl AsyncRead + Unpin + Send,
    to: impl AsyncWrite + Unpin,
) -> Result<(), Failure> {
    let (request, guest_request) = pipe::pipe(pipe::CAPACITY);
    let pace = Pace::new(PEER_TIMEOUT, None);
    let nobody = Account::unlimited();
    let progress = Progress::default();
    let reading = request::read(&pace, Bytes::new(from), request, &progress);
    answer((slot, &nobody), &pace, HELD, envelope, guest_request, reading, to).await
}

/// Serves one message whose request and reply are the two halves of a stream: [`raw`], within a time. The reply ends
/// with the stream, and the time is the caller's: the cell goes on after it, without anybody waiting.
///
/// # Errors
///
/// As [`raw`].
pub async fn process_message(
    slot: &Slot,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    timeout: Option<Duration>,
) -> Result<(), Failure> {
    let (from, to) = tokio::io::split(stream);
    raw(slot, slot.envelope(timeout), from, to).await
}

/// [`raw`] through the gate of a cell. Of the reply, `held` bytes are held back.
pub(crate) async fn admitted(
    Guarded { slot, gate, patience, deadline, caller, payer }: Guarded<'_>,
    held: usize,
    envelope: Envelope,
    from: impl AsyncRead + Unpin + Send,
    to: impl AsyncWrite + Unpin,
) -> Result<(), NotServed> {
    let (request, guest_request) = pipe::charged(pipe::CAPACITY, payer);
    let pace = Pace::new(patience, Some(gate)).for_deadline(deadline);
    let progress = Progress::default();
    let mut reading = std::pin::pin!(request::read(&pace, Bytes::new(from), request, &progress));
    let _pass = admit(gate, caller, &progress, reading.as_mut()).await?;
    pace.begin();
    let served =
        answer((slot, payer), &pace, held, envelope, guest_request, reading, to).await.map_err(NotServed::from);
    gate.judge(caller, &served);
    served
}

/// A place for a message inside the gate, by what is there of it.
async fn admit(
    gate: &Gate,
    caller: Caller,
    progress: &Progress,
    reading: impl Future<Output = ()>,
) -> Result<Pass, NotServed> {
    if gate.refuses(&caller) {
        return Err(NotServed::Busy);
    }
    let entering = async {
        let mut now = progress.at_least(Stage::Begun).await;
        if now == Stage::Begun {
            tokio::select! {
                biased;
                later = progress.at_least(Stage::Full) => now = later,
                pass = gate.enter_free(caller) => return Ok(pass),
            }
        }
        if now == Stage::Full {
            tokio::select! {
                biased;
                later = progress.at_least(Stage::Whole) => now = later,
                pass = gate.enter_large(caller) => return pass.ok_or(NotServed::Busy),
            }
        }
        match now {
            Stage::Whole => gate.enter(caller).ok_or(NotServed::Busy),
            _ => Err(NotServed::Broken),
        }
    };
    tokio::select! {
        biased;
        // First, so that what it has read is known.
        () = reading => unreachable!("it pends after its end"),
        entered = entering => entered,
    }
}

async fn answer(
    (slot, payer): (&Slot, &Account),
    pace: &Pace<'_>,
    held: usize,
    envelope: Envelope,
    guest_request: pipe::Reader,
    reading: impl Future<Output = ()>,
    mut to: impl AsyncWrite + Unpin,
) -> Result<(), Failure> {
    let (guest_reply, reply) = pipe::charged(pipe::CAPACITY, payer);
    let answering = async {
        let (served, rest) = tokio::join!(
            slot.process_message(envelope, guest_request, guest_reply),
            reply::write(pace, (payer, held), reply, &mut to)
        );
        // Only then is it the whole reply.
        if let (Ok(()), Some(rest)) = (&served, rest) {
            rest.end(pace, &mut to).await;
        }
        served
    };
    tokio::select! {
        served = answering => served,
        // Once the request is read, the reply decides; a peer that still sends is not waited for.
        () = reading => unreachable!("it pends after its end"),
    }
}

/// Goes on for ever after its end, for a `select!` that another branch ends.
async fn for_ever(future: impl Future<Output = ()>) {
    future.await;
    pending::<()>().await;
}

#[cfg(test)]
mod tests;
