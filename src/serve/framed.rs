//! A message in frames, with a status at its end.

use std::future::pending;

use tokio::io::{AsyncRead, AsyncWrite};
use ww_cell::{Envelope, Failure, Slot, pipe};
use ww_core::mailbox::Refused;
use ww_net::call::{Ending, Part, Reader, Reason, Status, Writer};

/// Serves one framed message: the request up to its end, and at the same time the reply, which its status ends.
///
/// What the peer does harms only its own message, as for [`raw`](super::raw); the bounds on its patience are those of
/// the protocol. Nothing of the reply is held back: the status tells a torn one.
///
/// # Errors
///
/// Where the message was not answered. The peer is told the same in the status.
pub async fn framed<R, W>(
    slot: &Slot,
    envelope: Envelope,
    from: Reader<R, Ending>,
    mut to: Writer<W, Status>,
) -> Result<(), Failure>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (request, guest_request) = pipe::pipe(pipe::CAPACITY);
    let (guest_reply, reply) = pipe::pipe(pipe::CAPACITY);
    let answering = async {
        let mut serving = std::pin::pin!(slot.process_message(envelope, guest_request, guest_reply));
        let served = {
            let mut writing = std::pin::pin!(write_reply(reply, &mut to));
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
        };
        if let Err(error) = to.finish(status(&served)).await {
            tracing::debug!(%error, "a caller does not learn what became of its message");
        }
        served
    };
    let reading = async {
        read_request(from, request).await;
        pending::<()>().await;
    };
    tokio::select! {
        served = answering => served,
        () = reading => unreachable!("it pends after its end"),
    }
}

async fn read_request<R: AsyncRead + Unpin>(mut from: Reader<R, Ending>, request: pipe::Writer) {
    loop {
        match from.read().await {
            // A closed pipe says that the guest has finished without reading the rest.
            Ok(Part::Data(bytes)) => {
                if request.write_all(bytes).await.is_err() {
                    return;
                }
            }
            Ok(Part::End(Ending::Whole)) => return request.close(),
            Ok(Part::End(Ending::Aborted)) => return request.fail("the caller gave the message up"),
            Err(error) => return request.fail(format!("the request broke off: {error}")),
        }
    }
}

/// Ends with the reply, or when the caller does not take it any more: then the rest is discarded.
async fn write_reply<W: AsyncWrite + Unpin>(reply: pipe::Reader, to: &mut Writer<W, Status>) {
    while let Ok(bytes) = reply.read(usize::MAX).await {
        if bytes.is_empty() || to.write(&bytes).await.is_err() {
            return;
        }
    }
}

/// What the caller is told.
fn status(served: &Result<(), Failure>) -> Status {
    let Err(failure) = served else { return Status::Ok };
    let refused = |reason| Status::Refused { reason, text: failure.to_string() };
    match failure {
        Failure::Guest(error) => Status::Guest(error.to_string()),
        Failure::Ended(reason) | Failure::Refused(Refused::Ended(reason)) => {
            Status::Exit { code: reason.code(), reason: reason.to_string() }
        }
        Failure::Timeout => refused(Reason::Timeout),
        Failure::TooLarge { .. } => refused(Reason::TooLarge),
        _ => refused(Reason::Busy),
    }
}
