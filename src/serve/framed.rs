//! A message in frames, with a status at its end.

use tokio::io::{AsyncRead, AsyncWrite};
use ww_cell::{Envelope, Failure, Slot, pipe};
use ww_core::mailbox::Refused;
use ww_net::call::{Ending, Part, Reader, Reason, Status, Writer};

use super::{
    Guarded, NotServed, admit,
    pace::{Pace, Spent},
    request::{self, Source},
};

/// Serves one framed message through the gate of a cell: the request up to its end, and at the same time the reply, which
/// its status ends.
///
/// What the peer does harms only its own message, as for [`raw`](super::raw). Nothing of the reply is held back: the
/// status tells a torn one.
///
/// # Errors
///
/// Where the message was not answered. The peer is told the same in the status.
pub(crate) async fn framed<R, W>(
    Guarded { slot, gate, patience, deadline, peer }: Guarded<'_>,
    envelope: Envelope,
    from: Reader<R, Ending>,
    mut to: Writer<W, Status>,
) -> Result<(), NotServed>
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin,
{
    to.set_stall_timeout(patience);
    let (request, guest_request) = pipe::pipe(pipe::CAPACITY);
    let pace = Pace::new(patience, Some(gate)).for_deadline(deadline);
    let (stage, watch) = request::stage();
    let mut reading = std::pin::pin!(request::read(&pace, from, request, stage));
    // A node that stops waits until the status is written; the cell serves others meanwhile.
    let (served, _telling) = match admit(gate, peer, watch, reading.as_mut()).await {
        Err(error) => (Err(error), None),
        Ok(_pass) => {
            pace.begin();
            let telling = gate.telling();
            let served = tokio::select! {
                served = answer(slot, &pace, envelope, guest_request, &mut to) => served.map_err(NotServed::from),
                () = reading => unreachable!("it pends after its end"),
            };
            (served, Some(telling))
        }
    };
    gate.judge(peer, &served);
    if let Err(error) = to.finish(status(&served)).await {
        tracing::debug!(%error, "a caller does not learn what became of its message");
    }
    served
}

async fn answer<W: AsyncWrite + Unpin>(
    slot: &Slot,
    pace: &Pace<'_>,
    envelope: Envelope,
    guest_request: pipe::Reader,
    to: &mut Writer<W, Status>,
) -> Result<(), Failure> {
    let (guest_reply, reply) = pipe::pipe(pipe::CAPACITY);
    let mut serving = std::pin::pin!(slot.process_message(envelope, guest_request, guest_reply));
    let mut writing = std::pin::pin!(write_reply(pace, reply, to));
    tokio::select! {
        served = &mut serving => {
            // A guest that goes on without anybody waiting, after a deadline, is not waited for.
            if !matches!(served, Err(Failure::Timeout)) {
                writing.await;
            }
            served
        }
        () = &mut writing => serving.await,
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

/// Ends with the reply, or when the caller does not take it any more: then the rest is discarded.
async fn write_reply<W: AsyncWrite + Unpin>(pace: &Pace<'_>, reply: pipe::Reader, to: &mut Writer<W, Status>) {
    let mut spent = Spent::default();
    while let Ok(bytes) = reply.read(usize::MAX).await {
        let gone = bytes.is_empty() || spent.measure(to.write(&bytes)).await.is_err();
        if gone || pace.went_on(&mut spent, bytes.len()).is_err() {
            return;
        }
    }
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
            Failure::Timeout => refused(Reason::Timeout),
            Failure::TooLarge { .. } => refused(Reason::TooLarge),
            _ => refused(Reason::Busy),
        },
    }
}
