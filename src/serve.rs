//! One stream, one message: between a stream of bytes from somewhere else and the mailbox of a cell.
//!
//! | file | what |
//! |---|---|
//! | `request` | from the peer to the guest, and how much of it is there |
//! | `reply` | from the guest to the peer |
//! | `framed` | the same in frames, with a status |
//! | `pace` | how slow a caller may be in any case |
//! | `behind` | how slow it may be while others wait |

mod behind;
mod framed;
mod pace;
mod reply;
mod request;

use std::{future::pending, time::Duration};

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use ww_cell::{Cell, Envelope, Failure, Slot, pipe};
use ww_core::Account;
use ww_net::call::CALL_TIMEOUT;

use crate::gate::{Caller, Gate, Pass};

pub(crate) use self::framed::framed;
use self::{
    behind::Others,
    pace::Pace,
    request::{Bytes, Progress, Stage},
};

/// Bytes of a reply that are held until the guest has returned, so that a fault gives an empty reply and no torn one.
pub const HELD: usize = 64 * 1024;

/// How long a peer may take no byte of a reply, or send no byte of a request, while nobody else waits for the cell: longer
/// than any network that works.
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

/// By what right a message comes.
#[derive(Clone, Copy)]
pub(crate) enum Way<'a> {
    /// By the published name of the cell, for which it is enough to know it: those who wait are counted, and those whose
    /// messages ended the cell are kept out.
    Name,
    /// From a cell or client that holds the process, which is one incarnation: it pays for what it sends, and the mailbox
    /// bounds what waits.
    Process(&'a Cell),
}

/// A cell, what is in front of it, and who wants to get there.
#[derive(Clone, Copy)]
pub(crate) struct Guarded<'a> {
    pub(crate) slot: &'a Slot,
    pub(crate) gate: &'a Gate,
    /// How long the caller may be silent; `None` for as long as it likes.
    pub(crate) patience: Option<Duration>,
    /// How long the cell has for one message, if a request without end is to break off before that.
    pub(crate) deadline: Option<Duration>,
    pub(crate) caller: Caller,
    pub(crate) way: Way<'a>,
    /// Pays for what is read ahead, and held of the reply.
    pub(crate) payer: &'a Account,
}

/// Serves one message without framing: the request up to its end, then the reply up to its end, both at the same time.
///
/// What the peer does harms only its own message. A peer that vanishes, falls silent in the middle of its request, or
/// takes no byte of the reply for [`PEER_TIMEOUT`] leaves the guest with a failed input and an output that is
/// discarded; the guest finishes. So does one that keeps the cell waiting for 200 ms, or for some more after many bytes,
/// while other messages wait for the cell. Not cancel safe: the cell finishes what it has begun, and the peer sees a torn
/// reply.
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
    let pace = Pace::new(Some(PEER_TIMEOUT));
    let nobody = Account::unlimited();
    let progress = Progress::default();
    let reading = request::read(&pace, Bytes::new(from), request, &progress);
    let others = Others::of_anybody(slot);
    let message = Admitted { slot, cell: None, envelope, request: guest_request, others, pass: None };
    answer(message, &nobody, &pace, HELD, reading, to).await
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
    guarded: Guarded<'_>,
    held: usize,
    envelope: Envelope,
    from: impl AsyncRead + Unpin + Send,
    to: impl AsyncWrite + Unpin,
) -> Result<(), NotServed> {
    let (request, guest_request) = pipe::charged(pipe::CAPACITY, guarded.payer);
    let (pace, progress) = (guarded.pace(), guarded.progress());
    let mut reading = std::pin::pin!(request::read(&pace, Bytes::new(from), request, &progress));
    let pass = admit(&guarded, &progress, reading.as_mut()).await?;
    // A node that stops waits until the reply is written; the cell serves others meanwhile.
    let _telling = matches!(guarded.way, Way::Name).then(|| guarded.gate.telling());
    let message = guarded.admitted(envelope, guest_request, pass);
    let served = answer(message, guarded.payer, &pace, held, reading, to).await.map_err(NotServed::from);
    guarded.judge(&served);
    served
}

/// A message that its cell can be told of.
struct Admitted<'a> {
    slot: &'a Slot,
    /// The incarnation that is meant, if it is one.
    cell: Option<&'a Cell>,
    envelope: Envelope,
    request: pipe::Reader,
    others: Others<'a>,
    /// Its place inside the gate until the cell has answered, if it needs one.
    pass: Option<Pass>,
}

impl<'a> Guarded<'a> {
    fn pace(&self) -> Pace {
        Pace::new(self.patience).for_deadline(self.deadline)
    }

    fn progress(&self) -> Progress {
        match self.way {
            Way::Name => Progress::default(),
            // A cell may have something to say first, to who has it at hand.
            Way::Process(_) => Progress::announced(),
        }
    }

    fn admitted(&self, envelope: Envelope, request: pipe::Reader, pass: Option<Pass>) -> Admitted<'a> {
        let others = Others::than(envelope.clone(), self.slot, (self.gate, self.caller));
        let cell = match self.way {
            Way::Name => None,
            Way::Process(cell) => Some(cell),
        };
        Admitted { slot: self.slot, cell, envelope, request, others, pass }
    }

    /// What became of the message is held against its caller.
    fn judge(&self, served: &Result<(), NotServed>) {
        if matches!(self.way, Way::Name) || matches!(served, Err(NotServed::Failed(Failure::TooSlow))) {
            self.gate.judge(self.caller, served);
        }
    }
}

impl<'a> Admitted<'a> {
    /// Two futures: the first has it served, and the second ends when its caller has made others wait for too long. Then the
    /// cell goes on with a failed input.
    fn begin(
        self,
        reply: pipe::Writer,
    ) -> (impl Future<Output = Result<(), Failure>> + use<'a>, impl Future<Output = Failure> + use<'a>) {
        let Self { slot, cell, envelope, request, others, pass } = self;
        let (requested, replied) = (request.gauge(), reply.gauge());
        let serving = async move {
            let served = match cell {
                Some(cell) => cell.process_message(envelope, request, reply).await,
                None => slot.process_message(envelope, request, reply).await,
            };
            // What the caller still has to take is no matter of the cell.
            drop(pass);
            served
        };
        let too_slow = async move {
            others.lose_patience(&requested, &replied).await;
            requested.fail(Failure::TooSlow.to_string());
            Failure::TooSlow
        };
        (serving, too_slow)
    }
}

/// A place for a message inside the gate, by what is there of it; `None` for one that needs none.
async fn admit(
    &Guarded { gate, caller, way, .. }: &Guarded<'_>,
    progress: &Progress,
    reading: impl Future<Output = ()>,
) -> Result<Option<Pass>, NotServed> {
    if matches!(way, Way::Name) && gate.refuses(&caller) {
        return Err(NotServed::Busy);
    }
    let entering = async {
        let mut now = progress.at_least(Stage::Begun).await;
        // What is there of a message of one that has lagged is never enough, unless it is whole.
        let next = if gate.has_lagged(&caller) { Stage::Whole } else { Stage::Full };
        if now < next {
            tokio::select! {
                biased;
                later = progress.at_least(next) => now = later,
                pass = gate.enter_free(caller) => return Ok(Some(pass)),
            }
        }
        if now == Stage::Full {
            tokio::select! {
                biased;
                later = progress.at_least(Stage::Whole) => now = later,
                pass = gate.enter_large(caller) => return pass.map(Some).ok_or(NotServed::Busy),
            }
        }
        match (now, way) {
            (Stage::Whole, _) if gate.has_lagged(&caller) => {
                gate.enter_large(caller).await.map(Some).ok_or(NotServed::Busy)
            }
            (Stage::Whole, Way::Name) => gate.enter(caller).map(Some).ok_or(NotServed::Busy),
            (Stage::Whole, Way::Process(_)) => Ok(None),
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
    message: Admitted<'_>,
    payer: &Account,
    pace: &Pace,
    held: usize,
    reading: impl Future<Output = ()>,
    mut to: impl AsyncWrite + Unpin,
) -> Result<(), Failure> {
    let (guest_reply, reply) = pipe::charged(pipe::CAPACITY, payer);
    pace.begin(guest_reply.gauge());
    let (serving, too_slow) = message.begin(guest_reply);
    let answering = async {
        let (served, rest) = tokio::join!(serving, reply::write(pace, (payer, held), reply, &mut to));
        // Only then is it the whole reply.
        if let (Ok(()), Some(rest)) = (&served, rest) {
            rest.end(pace, &mut to).await;
        }
        served
    };
    tokio::select! {
        biased;
        served = answering => served,
        // Once the request is read, the reply decides; a peer that still sends is not waited for.
        () = reading => unreachable!("it pends after its end"),
        // Last, because most are answered before there is anything to wait for.
        too_slow = too_slow => Err(too_slow),
    }
}

/// Goes on for ever after its end, for a `select!` that another branch ends.
async fn for_ever(future: impl Future<Output = ()>) {
    future.await;
    pending::<()>().await;
}

#[cfg(test)]
mod tests;
