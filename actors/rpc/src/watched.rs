//! A vat network that watches what passes through it: it keeps a client within its bounds, and at level trace it
//! tells of every message.

use std::{cell::RefCell, rc::Rc};

use capnp::{Error, any_pointer, capability::Promise, message, serialize};
use capnp_rpc::{
    Connection, IncomingMessage, OutgoingMessage, VatNetwork,
    rpc_capnp::{self, cap_descriptor, message::Which, resolve, return_},
    rpc_twoparty_capnp::Side,
};
use futures::FutureExt;

use crate::{load::Load, traced::tell};

/// Words of an answer that says why a call was refused.
const REFUSAL_WORDS: u32 = 64;

/// Watches what passes through another network.
pub(crate) struct Network<N> {
    inner: N,
    watch: Watch,
}

/// Whose messages they are, and what is under way.
#[derive(Clone)]
struct Watch {
    cell: u64,
    load: Rc<Load>,
}

struct WatchedConnection {
    inner: Inner,
    watch: Watch,
}

/// Shared with the message that is being received, which may have to be answered here.
type Inner = Rc<RefCell<Box<dyn Connection<Side>>>>;

struct WatchedMessage {
    inner: Box<dyn OutgoingMessage>,
    watch: Watch,
}

impl<N> Network<N> {
    /// Messages of the vat that serves `cell`.
    pub(crate) fn new(inner: N, cell: u64, load: Rc<Load>) -> Self {
        Self { inner, watch: Watch { cell, load } }
    }
}

impl Watch {
    fn connection(self, inner: Box<dyn Connection<Side>>) -> Box<dyn Connection<Side>> {
        Box::new(WatchedConnection { inner: Rc::new(RefCell::new(inner)), watch: self })
    }

    /// Accounts for a message. Returns the number of a call that is not to be served.
    fn received(&self, message: &dyn IncomingMessage) -> Result<Option<u32>, Error> {
        tell(self.cell, "in", || message.get_body());
        let bytes = self.load.take_received();
        match message.get_body()?.get_as::<rpc_capnp::message::Reader<'_>>()?.which() {
            Ok(Which::Call(call)) if self.load.is_full() => return Ok(Some(call?.get_question_id())),
            Ok(Which::Call(call)) => self.load.begin(call?.get_question_id(), bytes)?,
            Ok(Which::Finish(finish)) => {
                let finish = finish?;
                if self.load.finished(finish.get_question_id()) && finish.get_release_result_caps() {
                    self.load.released();
                }
            }
            Ok(Which::Release(_)) => self.load.released(),
            Ok(Which::Bootstrap(bootstrap)) => self.load.begin(bootstrap?.get_question_id(), bytes)?,
            _ => {}
        }
        Ok(None)
    }

    /// Answers a call of which nobody else here knows. The library takes a later word about it for a late one.
    fn refuse(&self, connection: &Inner, question: u32) -> Result<(), Error> {
        let inner = connection.borrow_mut().new_outgoing_message(REFUSAL_WORDS);
        let mut message = Box::new(WatchedMessage { inner, watch: self.clone() });
        let mut answer = message.get_body()?.init_as::<rpc_capnp::message::Builder<'_>>().init_return();
        answer.set_answer_id(question);
        answer.set_release_param_caps(true);
        let mut exception = answer.init_exception();
        exception.set_reason(self.load.too_many_held().extra);
        exception.set_type(rpc_capnp::exception::Type::Overloaded);
        // It is written as all others are, without being waited for.
        drop(message.send());
        Ok(())
    }

    /// Whether it is an answer.
    fn sends(&self, message: &dyn OutgoingMessage) -> bool {
        tell(self.cell, "out", || message.get_body_as_reader());
        // What we wrote ourselves can be read.
        message.get_body_as_reader().and_then(|body| self.account(body)).unwrap_or(false)
    }

    fn account(&self, body: any_pointer::Reader<'_>) -> capnp::Result<bool> {
        match body.get_as::<rpc_capnp::message::Reader<'_>>()?.which()? {
            Which::Return(answer) => {
                let answer = answer?;
                self.load.answered(answer.get_answer_id());
                if let return_::Results(results) = answer.which()? {
                    self.exports(results?.get_cap_table()?)?;
                }
                return Ok(true);
            }
            Which::Call(call) => self.exports(call?.get_params()?.get_cap_table()?)?,
            Which::Resolve(resolved) => {
                if let resolve::Cap(cap) = resolved?.which()? {
                    self.export(cap?)?;
                }
            }
            _ => {}
        }
        Ok(false)
    }

    fn exports(&self, table: capnp::struct_list::Reader<'_, cap_descriptor::Owned>) -> capnp::Result<()> {
        table.iter().try_for_each(|cap| self.export(cap))
    }

    fn export(&self, cap: cap_descriptor::Reader<'_>) -> capnp::Result<()> {
        if let cap_descriptor::SenderHosted(number) | cap_descriptor::SenderPromise(number) = cap.which()? {
            self.load.exported(number);
        }
        Ok(())
    }
}

impl<N: VatNetwork<Side>> VatNetwork<Side> for Network<N> {
    fn connect(&mut self, host_id: Side) -> Option<Box<dyn Connection<Side>>> {
        let watch = self.watch.clone();
        self.inner.connect(host_id).map(|connection| watch.connection(connection))
    }

    fn accept(&mut self) -> Promise<Box<dyn Connection<Side>>, Error> {
        let watch = self.watch.clone();
        Promise::from_future(self.inner.accept().map(move |accepted| accepted.map(|inner| watch.connection(inner))))
    }

    fn drive_until_shutdown(&mut self) -> Promise<(), Error> {
        self.inner.drive_until_shutdown()
    }
}

impl Connection<Side> for WatchedConnection {
    fn get_peer_vat_id(&self) -> Side {
        self.inner.borrow().get_peer_vat_id()
    }

    fn new_outgoing_message(&mut self, first_segment_word_size: u32) -> Box<dyn OutgoingMessage> {
        let inner = self.inner.borrow_mut().new_outgoing_message(first_segment_word_size);
        Box::new(WatchedMessage { inner, watch: self.watch.clone() })
    }

    fn receive_incoming_message(&mut self) -> Promise<Option<Box<dyn IncomingMessage>>, Error> {
        let (watch, inner) = (self.watch.clone(), Rc::clone(&self.inner));
        Promise::from_future(async move {
            let next = async {
                loop {
                    watch.load.has_room().await;
                    let receiving = inner.borrow_mut().receive_incoming_message();
                    let received = receiving.await?;
                    let refused = received.as_ref().map(|message| watch.received(&**message)).transpose()?;
                    match refused.flatten() {
                        None => return Ok(received),
                        Some(question) => watch.refuse(&inner, question)?,
                    }
                }
            };
            let received = tokio::select! {
                biased;
                why = watch.load.overrun() => Err(why),
                received = next => received,
            };
            if !matches!(received, Ok(Some(_))) {
                watch.load.over();
            }
            received
        })
    }

    fn shutdown(&mut self, result: capnp::Result<()>) -> Promise<(), Error> {
        self.inner.borrow_mut().shutdown(result)
    }
}

impl OutgoingMessage for WatchedMessage {
    fn get_body(&mut self) -> capnp::Result<any_pointer::Builder<'_>> {
        self.inner.get_body()
    }

    fn get_body_as_reader(&self) -> capnp::Result<any_pointer::Reader<'_>> {
        self.inner.get_body_as_reader()
    }

    fn send(self: Box<Self>) -> (Promise<(), Error>, Rc<message::Builder<message::HeapAllocator>>) {
        let is_answer = self.watch.sends(&*self.inner);
        let (sent, message) = self.inner.send();
        self.watch.load.queued(serialize::compute_serialized_size_in_words(&message), is_answer);
        (sent, message)
    }

    fn take(self: Box<Self>) -> message::Builder<message::HeapAllocator> {
        self.inner.take()
    }

    fn size_in_words(&self) -> usize {
        self.inner.size_in_words()
    }
}
