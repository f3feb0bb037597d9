//! The server of `Exchange`: one message of a guest or a client on its way to a cell.

use std::{rc::Rc, sync::Arc, time::Duration};

use capnp::Error;
use futures::{
    FutureExt,
    future::{LocalBoxFuture, Shared},
};
use tokio::sync::{Mutex, OwnedSemaphorePermit};
use ww_cell::{Cell, Failure, pipe};
use ww_core::{mailbox::Refused, task};
use ww_schema::cell_capnp::exchange;

use crate::{
    byte_stream::{self, End, Writing},
    context::{Context, MAX_DIALS},
    exit_reason,
    network::{Dialled, Opened, Outcome},
};

/// The message lives as long as somebody holds the capability or one of its streams. Then it is given up: whoever
/// serves it sees a request that broke off.
struct Message {
    request: Writing,
    reply: Arc<Mutex<pipe::Reader>>,
    outcome: Shared<LocalBoxFuture<'static, Outcome>>,
    _place: OwnedSemaphorePermit,
}

struct Server(Rc<Message>);

/// An `Exchange` for a message that has `place` among those of its cell.
pub(crate) fn client(dialled: Dialled, place: OwnedSemaphorePermit) -> exchange::Client {
    let Dialled { request, reply, outcome } = dialled;
    let outcome = async { outcome.await.unwrap_or_else(|error| Outcome::Refused(format!("lost: {error}"))) };
    capnp_rpc::new_client(Server(Rc::new(Message {
        request: Writing::new(request),
        reply: Arc::new(Mutex::new(reply)),
        outcome: outcome.boxed_local().shared(),
        _place: place,
    })))
}

/// Opens one message to a cell of this node.
///
/// # Errors
///
/// Where as many are under way as may be.
pub(crate) fn open(context: &Context, cell: &Cell, deadline: Option<Duration>) -> Result<exchange::Client, Error> {
    let Ok(place) = Arc::clone(&context.dials).try_acquire_owned() else {
        let why =
            format!("{MAX_DIALS} messages are under way, as many as one client may have: wait for one, and drop it");
        return Err(Error::overloaded(why));
    };
    let payer = &context.guest.account;
    let (request, read_request) = pipe::charged(pipe::CAPACITY, payer);
    let (write_reply, reply) = pipe::charged(pipe::CAPACITY, payer);
    let from = context.guest.id;
    let outcome = match context.envelope(cell, deadline) {
        Ok(envelope) => {
            let (cell, payer) = (cell.clone(), payer.clone());
            let opened = Opened { from, cell, envelope, request: read_request, reply: write_reply, payer };
            context.network.open(opened)
        }
        Err(failure) => {
            write_reply.fail(failure.to_string());
            task::spawn_local(task::Kind::owned("message", from), async move { outcome(Err(failure)) })
        }
    };
    Ok(client(Dialled { request, reply, outcome }, place))
}

/// How long a call may take that says so in milliseconds; 0 says nothing.
pub(crate) fn deadline(millis: u32) -> Option<Duration> {
    (millis > 0).then(|| Duration::from_millis(millis.into()))
}

/// What became of a message.
pub(crate) fn outcome(answered: Result<(), Failure>) -> Outcome {
    match answered {
        Ok(()) => Outcome::Ok,
        Err(Failure::Guest(error)) => Outcome::Failed(error.to_string()),
        Err(Failure::Ended(reason) | Failure::Refused(Refused::Ended(reason))) => Outcome::Ended(reason),
        Err(Failure::Refused(Refused::Overdrawn(why))) => Outcome::Refused(format!("busy: {why}")),
        Err(Failure::Refused(Refused::Full | Refused::Dropped)) => Outcome::Refused("busy: its mailbox is full".into()),
        Err(error @ Failure::Timeout) => Outcome::Refused(format!("timeout: {error}")),
        Err(error) => Outcome::Refused(error.to_string()),
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        // Every call that holds the lock holds the message as well. One that was closed before stays closed.
        if let Ok(request) = self.request.writer.try_lock() {
            request.fail("the sender gave the message up");
        }
    }
}

impl exchange::Server for Server {
    async fn request(
        self: Rc<Self>,
        _: exchange::RequestParams,
        mut results: exchange::RequestResults,
    ) -> Result<(), Error> {
        let end = End::Writer(self.0.request.clone());
        let message: Rc<Message> = Rc::clone(&self.0);
        results.get().set_stream(byte_stream::client(end, message));
        Ok(())
    }

    async fn reply(self: Rc<Self>, _: exchange::ReplyParams, mut results: exchange::ReplyResults) -> Result<(), Error> {
        let end = End::Reader(Arc::clone(&self.0.reply));
        let message: Rc<Message> = Rc::clone(&self.0);
        results.get().set_stream(byte_stream::client(end, message));
        Ok(())
    }

    async fn outcome(
        self: Rc<Self>,
        _: exchange::OutcomeParams,
        mut results: exchange::OutcomeResults,
    ) -> Result<(), Error> {
        let outcome = self.0.outcome.clone().await;
        let mut builder = results.get().init_outcome();
        match &outcome {
            Outcome::Ok => builder.set_ok(()),
            Outcome::Failed(error) => builder.set_failed(error),
            Outcome::Ended(reason) => exit_reason::set(builder.init_ended(), reason),
            Outcome::Refused(why) => builder.set_refused(why),
        }
        Ok(())
    }
}
