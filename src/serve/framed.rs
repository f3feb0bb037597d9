//! A message in frames, with a status at its end.

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use ww_cell::{Envelope, Failure, pipe};
use ww_core::mailbox::Refused;
use ww_net::call::{Ending, Part, Reader, Reason, Status, Writer};

use super::{
    Guarded, NotServed, admit,
    request::{self, Source},
};

/// Serves one framed message through the gate of a cell: the request up to its end, and at the same time the reply, which
/// its status ends.
///
/// What the peer does harms only its own message, as for [`raw`](super::raw). Nothing of the reply is held back, but for the
/// last bytes, which travel with the status: that tells a torn one.
///
/// # Errors
///
/// Where the message was not answered. The peer is told the same in the status.
pub(crate) async fn framed<R, W>(
    guarded: Guarded<'_>,
    envelope: Envelope,
    from: Reader<R, Ending>,
    mut to: Writer<W, Status>,
) -> Result<(), NotServed>
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin,
{
    if let Some(patience) = guarded.patience {
        to.set_stall_timeout(patience);
    }
    let (request, guest_request) = pipe::charged(pipe::CAPACITY, guarded.payer);
    let (pace, progress) = (guarded.pace(), guarded.progress());
    let mut reading = std::pin::pin!(request::read(&pace, from, request, &progress));
    // A node that stops waits until the status is written; the cell serves others meanwhile.
    let (served, last, _telling) = match admit(&guarded, &progress, reading.as_mut()).await {
        Err(error) => (Err(error), Bytes::new(), None),
        Ok(pass) => {
            let telling = guarded.gate.telling();
            let (guest_reply, reply) = pipe::charged(pipe::CAPACITY, guarded.payer);
            pace.begin(guest_reply.gauge());
            let (serving, too_slow) = guarded.admitted(envelope, guest_request, pass).begin(guest_reply);
            let (served, last) = tokio::select! {
                biased;
                answered = answer(serving, reply, &mut to) => answered,
                () = reading => unreachable!("it pends after its end"),
                too_slow = too_slow => (Err(too_slow), Bytes::new()),
            };
            (served.map_err(NotServed::from), last, Some(telling))
        }
    };
    guarded.judge(&served);
    if let Err(error) = to.finish_with(&last, status(&served)).await {
        tracing::debug!(%error, "a caller does not learn what became of its message");
    }
    served
}

/// Serves it, and writes the reply but for its last bytes.
async fn answer<W: AsyncWrite + Unpin>(
    serving: impl Future<Output = Result<(), Failure>>,
    reply: pipe::Reader,
    to: &mut Writer<W, Status>,
) -> (Result<(), Failure>, Bytes) {
    let mut serving = std::pin::pin!(serving);
    let mut writing = std::pin::pin!(write_reply(reply, to));
    tokio::select! {
        biased;
        // First, because then all of the reply is there.
        served = &mut serving => {
            // A guest that goes on without anybody waiting, after a deadline, is not waited for.
            let last = if matches!(served, Err(Failure::Timeout)) { Bytes::new() } else { writing.await };
            (served, last)
        }
        last = &mut writing => (serving.await, last),
    }
}

impl<R: AsyncRead + Unpin + Send> Source for Reader<R, Ending> {
    async fn next(&mut self) -> Result<Option<&[u8]>, String> {
        match self.read().await {
            Ok(Part::Data(bytes)) => Ok(Some(bytes)),
            Ok(Part::End(Ending::Whole)) => Ok(None),
            Ok(Part::End(Ending::Aborted)) => Err("the caller gave it up".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Ends with the reply, of which the last bytes are left to be written with the status; or when the caller does not take it any
/// more: then the rest is discarded.
async fn write_reply<W: AsyncWrite + Unpin>(reply: pipe::Reader, to: &mut Writer<W, Status>) -> Bytes {
    while let Ok(bytes) = reply.read(usize::MAX).await {
        if bytes.is_empty() || reply.is_at_end() {
            return bytes;
        }
        if to.write(&bytes).await.is_err() {
            break;
        }
    }
    Bytes::new()
}

/// What the caller is told.
fn status(served: &Result<(), NotServed>) -> Status {
    let Err(error) = served else { return Status::Ok };
    let refused = |reason| Status::Refused { reason, text: error.to_string() };
    match error {
        NotServed::Busy => refused(Reason::Busy),
        NotServed::Broken => refused(Reason::Timeout),
        NotServed::Failed(failure) => match failure {
            Failure::Guest(error) => Status::Guest(error.to_string()),
            Failure::Ended(reason) | Failure::Refused(Refused::Ended(reason)) => {
                Status::Exit { code: reason.code(), reason: reason.to_string() }
            }
            Failure::Timeout | Failure::TooSlow => refused(Reason::Timeout),
            Failure::TooLarge { .. } => refused(Reason::TooLarge),
            Failure::Refused(Refused::NotServed) => refused(Reason::NoSuchCell),
            _ => refused(Reason::Busy),
        },
    }
}
