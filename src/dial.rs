//! Messages of this node's guests to cells: of a peer, over a stream, or of this node itself, straight into the mailbox.

use tokio::{
    runtime::Handle,
    time::{Instant, timeout_at},
};
use ww_cell::pipe;
use ww_core::{
    Account, exit,
    task::{self, Task},
    text,
};
use ww_net::{
    Multiaddr, Net, PeerId, Protocol, Stream,
    call::{self, Asked, CALL_TIMEOUT, Ending, Header, MAX_FRAME, Part, ReadError, Reason, Status, Target},
};
use ww_rpc::{Dial, Dialled, Outcome};

use crate::calls::Calls;

/// Opens one message to a cell, which an account pays for on its way. The error is a text for the guest.
pub(crate) async fn dial(
    net: &Net,
    calls: &Calls,
    runtime: &Handle,
    dial: Dial,
    payer: Account,
) -> Result<Dialled, String> {
    let until = dial.deadline.map(|deadline| Instant::now() + deadline);
    let until = dial.cause.as_ref().map_or(until, |cause| cause.within(until));
    let (request, read_request) = pipe::charged(pipe::CAPACITY, &payer);
    let (write_reply, reply) = pipe::charged(pipe::CAPACITY, &payer);
    let kind = task::Kind::owned("dial", dial.from);
    let own = net.peer_id();
    let peer = match &*dial.peer_id {
        [] => own,
        bytes => self::peer(bytes)?,
    };
    let outcome: Task<Outcome> =
        if peer == own {
            let calls = calls.clone();
            task::spawn(runtime, kind, async move {
                calls.ask(own, &dial, (until, &payer), read_request, write_reply).await
            })
        } else {
            let addrs = addrs(dial.addrs)?;
            let opening = net.open(peer, addrs, Protocol::Call);
            let stream = match until {
                Some(until) => timeout_at(until, opening).await.map_err(|_| "timeout: no stream was opened in time")?,
                None => opening.await,
            };
            let stream = stream.map_err(|error| chain(&error))?;
            let remaining = until.map(|until| until.saturating_duration_since(Instant::now()));
            let trace = dial.cause.map_or_else(rand::random, |cause| cause.trace);
            let header = Header { target: Target::Name(dial.name), remaining, trace, message: rand::random() };
            task::spawn(runtime, kind, carry(stream, header, read_request, write_reply))
        };
    Ok(Dialled { request, reply, outcome })
}

/// A peer id of a guest.
pub(crate) fn peer(bytes: &[u8]) -> Result<PeerId, String> {
    PeerId::from_bytes(bytes)
        .map_err(|error| format!("not a peer id: {error}; expected the bytes as libp2p serialises them"))
}

/// Binary multiaddrs of a guest.
pub(crate) fn addrs(addrs: Vec<Vec<u8>>) -> Result<Vec<Multiaddr>, String> {
    let addrs: Result<_, _> = addrs.into_iter().map(Multiaddr::try_from).collect();
    addrs.map_err(|error| format!("not a binary multiaddr: {error}"))
}

/// An error and its sources, for a guest: what a peer or a library says is escaped and cut.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text::line(text, text::MAX_ERROR)
}

/// Carries a message over a stream, both directions at the same time. Dropping the future breaks the stream off.
async fn carry(stream: Stream, header: Header, request: pipe::Reader, reply: pipe::Writer) -> Outcome {
    let Asked { mut body, reply: mut from } = call::ask(stream, &header);
    let sending = async {
        loop {
            match request.read(MAX_FRAME).await {
                // The last bytes travel with the end.
                Ok(bytes) if bytes.is_empty() || request.is_at_end() => {
                    return body.finish_with(&bytes, Ending::Whole).await;
                }
                Ok(bytes) => body.write(&bytes).await?,
                Err(_) => return body.finish(Ending::Aborted).await,
            }
        }
    };
    let receiving = async {
        loop {
            match from.read().await? {
                // A guest that does not want the rest still learns the outcome.
                Part::Data(bytes) => drop(reply.write_all(bytes).await),
                Part::End(status) => return Ok(status),
            }
        }
    };
    let (mut sending, mut receiving) = (std::pin::pin!(sending), std::pin::pin!(receiving));
    let received = tokio::select! {
        received = &mut receiving => received,
        sent = &mut sending => {
            // A cell may answer without reading everything: the reply says how it ended.
            if let Err(error) = sent {
                tracing::debug!(%error, "a cell did not take the whole message of a guest");
            }
            receiving.await
        }
    };
    let outcome = match received {
        Ok(status) => told(status),
        Err(ReadError::Timeout) => {
            let after = header.remaining.map_or(CALL_TIMEOUT, |remaining| remaining.min(CALL_TIMEOUT));
            refused(Reason::Timeout, &format!("no whole reply within {after:?}"))
        }
        Err(error @ ReadError::Malformed(_)) => refused(Reason::Malformed, &chain(&error)),
        Err(error) => {
            tracing::debug!(%error, "the connection to a cell was lost");
            Outcome::Ended(exit::Reason::NoConnection)
        }
    };
    finish(&reply, &outcome);
    outcome
}

/// Ends a reply: only a whole one ends without an error.
pub(crate) fn finish(reply: &pipe::Writer, outcome: &Outcome) {
    match outcome {
        Outcome::Ok => reply.close(),
        Outcome::Failed(error) => reply.fail(&**error),
        Outcome::Ended(reason) => reply.fail(format!("the cell ended before it had answered: {reason}")),
        Outcome::Refused(why) => reply.fail(format!("the message was refused: {why}")),
        _ => reply.fail("the message was not answered"),
    }
}

fn told(status: Status) -> Outcome {
    match status {
        Status::Ok => Outcome::Ok,
        Status::Guest(error) => Outcome::Failed(text::line(error, text::MAX_ERROR)),
        Status::Exit { code, reason } => Outcome::Ended(exit::Reason::reported(code, &reason)),
        Status::Refused { reason, text } => refused(reason, &text),
        other => Outcome::Refused(text::line(
            format_args!("a status that this version does not know: {other:?}"),
            text::MAX_ERROR,
        )),
    }
}

/// What a guest is told of a refusal: a word for programs, then the reason for people.
pub(crate) fn refused(reason: Reason, text: &str) -> Outcome {
    let word = match reason {
        Reason::Busy => "busy",
        Reason::Denied => "denied",
        Reason::Timeout => "timeout",
        Reason::NoSuchCell => "no-such-cell",
        Reason::Deadlock => "deadlock",
        Reason::TooLarge => "too-large",
        Reason::Malformed => "malformed",
        Reason::Shutdown => "shutdown",
        _ => "other",
    };
    Outcome::Refused(format!("{word}: {}", text::line(text, text::MAX_ERROR)))
}

#[cfg(test)]
mod tests;
