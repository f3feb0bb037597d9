//! A vat network that watches what passes through it: it keeps a client within its bounds, and at level trace it
//! tells of every message.

use std::{
    cell::RefCell,
    collections::{HashSet, VecDeque},
    future::poll_fn,
    rc::{Rc, Weak},
};

use capnp::{Error, any_pointer, capability::Promise, message, serialize};
use capnp_rpc::{
    Connection, IncomingMessage, OutgoingMessage, VatNetwork,
    rpc_capnp::{
        cap_descriptor, disembargo,
        message::{self as said, Which},
        resolve, return_,
    },
    rpc_twoparty_capnp::Side,
};
use futures::FutureExt;
use tokio::sync::Notify;
use ww_core::account::Charge;

use crate::{
    load::{Load, Outgoing, SHORT_ERROR, WORD},
    sift::{Own, Verdict, judge, write_error},
    traced::tell,
};

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

struct WatchedConnection(Rc<Shared>);

/// Shared with the messages that are written, and with the one that is being received, which may have to be answered here.
struct Shared {
    inner: RefCell<Box<dyn Connection<Side>>>,
    watch: Watch,
    /// The message that is being read. It goes on where it was, also if something else has come meanwhile.
    reading: RefCell<Option<Receiving>>,
    /// What this node says to itself on behalf of the other side.
    own: RefCell<VecDeque<Own>>,
    own_came: Notify,
    /// Calls that were refused here, of which the other side never heard.
    unsent: RefCell<HashSet<u32>>,
    /// Calls whose answers were refused here: the other side never held the capabilities in them.
    refused: RefCell<HashSet<u32>>,
}

/// What becomes of a message of this node.
enum Sending {
    /// It is sent, as what it is, and paid for.
    As(Outgoing, Charge),
    /// It is not sent.
    Not,
    /// It is an answer for which the other side has no room: that is sent in its place.
    Refused { question: u32, is_final: bool, why: Error },
}

type Received = Option<Box<dyn IncomingMessage>>;
type Receiving = Promise<Received, Error>;

struct WatchedMessage {
    inner: Box<dyn OutgoingMessage>,
    /// Does not keep it: one that ends is dropped before the calls that wait to be answered.
    connection: Weak<Shared>,
}

/// A message, and the charge for it.
struct ChargedMessage {
    inner: Box<dyn IncomingMessage>,
    _charge: Rc<Charge>,
}

impl<N> Network<N> {
    /// Messages of the vat that serves `cell`.
    pub(crate) fn new(inner: N, cell: u64, load: Rc<Load>) -> Self {
        Self { inner, watch: Watch { cell, load } }
    }
}

impl Watch {
    fn connection(self, inner: Box<dyn Connection<Side>>) -> Box<dyn Connection<Side>> {
        Box::new(WatchedConnection(Rc::new(Shared {
            inner: RefCell::new(inner),
            watch: self,
            reading: RefCell::default(),
            own: RefCell::default(),
            own_came: Notify::new(),
            unsent: RefCell::default(),
            refused: RefCell::default(),
        })))
    }
}

impl Shared {
    fn load(&self) -> &Load {
        &self.watch.load
    }

    fn new_message(self: &Rc<Self>, words: u32) -> Box<WatchedMessage> {
        let inner = self.inner.borrow_mut().new_outgoing_message(words);
        Box::new(WatchedMessage { inner, connection: Rc::downgrade(self) })
    }

    /// The next message for the library.
    async fn next(self: &Rc<Self>) -> Result<Received, Error> {
        loop {
            let own = self.own.borrow_mut().pop_front();
            if let Some(own) = own {
                // Until the library reads this, what is released is there.
                if let Some((number, times)) = own.released()? {
                    self.load().promises.released(number, times);
                }
                return Ok(Some(Box::new(own)));
            }
            let received = tokio::select! {
                biased;
                () = self.own_came.notified() => continue,
                received = self.read() => received?,
            };
            let Some(message) = received else { return Ok(None) };
            if let Some(message) = self.judged(message)? {
                return Ok(Some(message));
            }
        }
    }

    /// The next message of the other side, when it has room for what it causes.
    async fn read(&self) -> Result<Received, Error> {
        self.load().has_room().await;
        poll_fn(|cx| {
            let mut reading = self.reading.borrow_mut();
            let next = || self.inner.borrow_mut().receive_incoming_message();
            let polled = reading.get_or_insert_with(next).poll_unpin(cx);
            if polled.is_ready() {
                *reading = None;
            }
            polled
        })
        .await
    }

    /// What the library gets of a message.
    fn judged(self: &Rc<Self>, message: Box<dyn IncomingMessage>) -> Result<Received, Error> {
        tell(self.watch.cell, "in", || message.get_body());
        let (bytes, mut charge) = self.load().take_received();
        let kept = match message.get_body()?.get_as::<said::Reader<'_>>()?.which() {
            Ok(Which::Finish(finish)) => {
                Some(finish?.get_question_id()).filter(|it| self.refused.borrow_mut().remove(it))
            }
            _ => None,
        };
        let verdict = judge(message.get_body()?.get_as::<said::Reader<'_>>()?, bytes, &mut charge, self.load())?;
        match verdict {
            Verdict::Pass if let Some(question) = kept => return Ok(Some(Box::new(Own::finish(question)))),
            Verdict::Pass => return Ok(Some(Box::new(ChargedMessage { inner: message, _charge: charge.into() }))),
            Verdict::Serve(question) => {
                let charge = Rc::new(charge);
                self.load().keep(question, &charge);
                return Ok(Some(Box::new(ChargedMessage { inner: message, _charge: charge })));
            }
            Verdict::Instead(own) => return Ok(Some(Box::new(own))),
            Verdict::Refuse(question, why) => self.refuse(question, &why, (true, false))?,
            Verdict::Unfollowed { promise, became } => self.unfollowed(promise, became)?,
        }
        Ok(None)
    }

    /// Answers a call of which nobody else here knows. The library takes a later word about it for a late one.
    fn refuse(
        self: &Rc<Self>,
        question: u32,
        why: &Error,
        (releases_params, is_final): (bool, bool),
    ) -> Result<(), Error> {
        let mut message = self.new_message(REFUSAL_WORDS);
        let mut answer = message.get_body()?.init_as::<said::Builder<'_>>().init_return();
        answer.set_answer_id(question);
        answer.set_release_param_caps(releases_params);
        answer.set_no_finish_needed(is_final);
        write_error(answer.init_exception(), why);
        // It is written as all others are, without being waited for.
        drop(message.send());
        Ok(())
    }

    /// Says that calls to a promise of the other side go there as before. The other side keeps it, and releases what it
    /// has become.
    fn unfollowed(self: &Rc<Self>, promise: u32, became: Option<(u32, bool)>) -> Result<(), Error> {
        let mut message = self.new_message(REFUSAL_WORDS);
        let unimplemented = message.get_body()?.init_as::<said::Builder<'_>>().init_unimplemented();
        let mut resolve = unimplemented.init_resolve();
        resolve.set_promise_id(promise);
        let mut cap = resolve.init_cap();
        match became {
            Some((number, false)) => cap.set_sender_hosted(number),
            Some((number, true)) => cap.set_sender_promise(number),
            None => cap.set_none(()),
        }
        drop(message.send());
        Ok(())
    }

    /// What becomes of a message of this node.
    fn sends(&self, message: &dyn OutgoingMessage) -> Sending {
        let words = message.size_in_words();
        // What we wrote ourselves can be read.
        let account = |body| self.account(body, words);
        message.get_body_as_reader().and_then(account).unwrap_or_else(|_| self.pays(words, Outgoing::Other))
    }

    /// Sends it if there is room for it, and else ends the connection: it is the last.
    fn pays(&self, words: usize, outgoing: Outgoing) -> Sending {
        let charge = self.load().pays(words, outgoing).unwrap_or_else(|why| {
            self.load().fail(why);
            Charge::none()
        });
        Sending::As(outgoing, charge)
    }

    fn account(&self, body: any_pointer::Reader<'_>, words: usize) -> capnp::Result<Sending> {
        let load = self.load();
        match body.get_as::<said::Reader<'_>>()?.which()? {
            Which::Return(answer) => {
                let answer = answer?;
                let (question, is_final) = (answer.get_answer_id(), answer.get_no_finish_needed());
                let results = match answer.which()? {
                    return_::Results(results) => Some(results?.get_cap_table()?),
                    _ => None,
                };
                let outgoing = Outgoing::Answer { question, is_error: results.is_none(), is_final };
                let most = load.bounds.exports.saturating_mul(2);
                let paid = load.pays(words, outgoing).and_then(|charge| {
                    results.map_or(Ok(()), |table| self.gives(table, most))?;
                    Ok(charge)
                });
                let charge = match paid {
                    Ok(charge) => charge,
                    // It says already why a call was refused, and has no room for that either.
                    Err(_) if results.is_none() && words.saturating_mul(WORD) <= SHORT_ERROR => {
                        return Ok(self.pays(words, Outgoing::Other));
                    }
                    Err(why) => {
                        if let Some(table) = results {
                            // Not as a part of the answer: what is in that is released with the call.
                            self.promise(table, None)?;
                            self.release(table)?;
                            if !is_final {
                                self.refused.borrow_mut().insert(question);
                            }
                        }
                        return Ok(Sending::Refused { question, is_final, why });
                    }
                };
                if let Some(table) = results {
                    self.exports(table, Some(question))?;
                }
                load.promises.answered(question, is_final);
                return Ok(Sending::As(outgoing, charge));
            }
            Which::Call(call) => {
                let call = call?;
                let table = call.get_params()?.get_cap_table()?;
                let question = call.get_question_id();
                let paid = load.asks(question, words).and_then(|charge| {
                    // Where that fails, nothing is asked after all.
                    self.gives(table, load.bounds.exports).inspect_err(|_| {
                        load.has_answered(question);
                    })?;
                    Ok(charge)
                });
                match paid {
                    Ok(charge) => {
                        self.exports(table, None)?;
                        return Ok(Sending::As(Outgoing::Call, charge));
                    }
                    Err(why) => {
                        self.promise(table, None)?;
                        self.unsent(question, table, &why)?;
                        return Ok(Sending::Not);
                    }
                }
            }
            Which::Bootstrap(bootstrap) => load.asked(bootstrap?.get_question_id()),
            Which::Finish(finish) => {
                let finish = finish?;
                let question = finish.get_question_id();
                if self.unsent.borrow_mut().remove(&question) {
                    return Ok(Sending::Not);
                }
                if finish.get_release_result_caps() {
                    load.promises.gave_up(question);
                }
            }
            Which::Release(release) => load.dropped(release?.get_id()),
            Which::Resolve(resolved) => self.resolves(resolved?)?,
            Which::Disembargo(sent) => {
                if let disembargo::context::SenderLoopback(_) = sent?.get_context().which()? {
                    load.embargo(false);
                }
            }
            _ => {}
        }
        Ok(self.pays(words, Outgoing::Other))
    }

    fn resolves(&self, resolved: resolve::Reader<'_>) -> capnp::Result<()> {
        let promises = &self.load().promises;
        let promise = resolved.get_promise_id();
        let is_open = match resolved.which()? {
            resolve::Cap(cap) => {
                let cap = cap?;
                self.export(cap, None)?;
                match cap.which()? {
                    cap_descriptor::SenderHosted(number) | cap_descriptor::SenderPromise(number) => {
                        number != promise && promises.is_open(crate::promises::Named::Export(number))
                    }
                    _ => false,
                }
            }
            resolve::Exception(_) => false,
        };
        if !is_open {
            promises.kept(promise);
        }
        Ok(())
    }

    /// Says on behalf of the other side that it has no room for a call.
    fn unsent(
        &self,
        question: u32,
        table: capnp::struct_list::Reader<'_, cap_descriptor::Owned>,
        why: &Error,
    ) -> capnp::Result<()> {
        self.unsent.borrow_mut().insert(question);
        self.own.borrow_mut().push_back(Own::failure(question, why));
        self.release(table)
    }

    /// Says on behalf of the other side that it has done with capabilities which it never got.
    fn release(&self, table: capnp::struct_list::Reader<'_, cap_descriptor::Owned>) -> capnp::Result<()> {
        let mut own = self.own.borrow_mut();
        for cap in table {
            if let cap_descriptor::SenderHosted(number) | cap_descriptor::SenderPromise(number) = cap.which()? {
                own.push_back(Own::release(number));
            }
        }
        self.own_came.notify_one();
        Ok(())
    }

    /// Whether the other side has room for the capabilities of a message: all of them have numbers below `most`.
    fn gives(&self, table: capnp::struct_list::Reader<'_, cap_descriptor::Owned>, most: u32) -> Result<(), Error> {
        let numbers = table.iter().filter_map(|cap| match cap.which() {
            Ok(cap_descriptor::SenderHosted(number) | cap_descriptor::SenderPromise(number)) => Some(number),
            _ => None,
        });
        numbers.max().map_or(Ok(()), |highest| self.load().gives(highest, most))
    }

    fn exports(
        &self,
        table: capnp::struct_list::Reader<'_, cap_descriptor::Owned>,
        answer: Option<u32>,
    ) -> capnp::Result<()> {
        table.iter().try_for_each(|cap| self.export(cap, answer))
    }

    /// Notes which promises are in a message that is not sent.
    fn promise(
        &self,
        table: capnp::struct_list::Reader<'_, cap_descriptor::Owned>,
        answer: Option<u32>,
    ) -> capnp::Result<()> {
        for cap in table {
            match cap.which()? {
                cap_descriptor::SenderHosted(number) => self.load().promises.exported(number, false, answer),
                cap_descriptor::SenderPromise(number) => self.load().promises.exported(number, true, answer),
                _ => {}
            }
        }
        Ok(())
    }

    fn export(&self, cap: cap_descriptor::Reader<'_>, answer: Option<u32>) -> capnp::Result<()> {
        let (number, is_promise) = match cap.which()? {
            cap_descriptor::SenderHosted(number) => (number, false),
            cap_descriptor::SenderPromise(number) => (number, true),
            _ => return Ok(()),
        };
        self.load().exported(number);
        self.load().promises.exported(number, is_promise, answer);
        Ok(())
    }
}

/// Results without anything in them: what the library keeps of an answer that was refused.
fn no_results() -> message::Builder<message::HeapAllocator> {
    let mut message = message::Builder::new(message::HeapAllocator::new().first_segment_words(8));
    message.init_root::<said::Builder<'_>>().init_return().init_results();
    message
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
        self.0.inner.borrow().get_peer_vat_id()
    }

    fn new_outgoing_message(&mut self, first_segment_word_size: u32) -> Box<dyn OutgoingMessage> {
        self.0.new_message(first_segment_word_size)
    }

    fn receive_incoming_message(&mut self) -> Promise<Option<Box<dyn IncomingMessage>>, Error> {
        let connection = Rc::clone(&self.0);
        Promise::from_future(async move {
            let received = tokio::select! {
                biased;
                why = connection.load().overrun() => Err(why),
                received = connection.next() => received,
            };
            if !matches!(received, Ok(Some(_))) {
                connection.load().over();
            }
            received
        })
    }

    fn shutdown(&mut self, result: capnp::Result<()>) -> Promise<(), Error> {
        self.0.inner.borrow_mut().shutdown(result)
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
        let Self { inner, connection } = *self;
        let Some(connection) = connection.upgrade() else { return inner.send() };
        let (outgoing, charge) = match connection.sends(&*inner) {
            Sending::As(outgoing, charge) => (outgoing, charge),
            Sending::Not => return (Promise::ok(()), Rc::new(inner.take())),
            Sending::Refused { question, is_final, why } => {
                // It is held no longer than this. The library has the capabilities in it until the call is finished.
                drop(inner);
                let refused = connection.refuse(question, &why, (false, is_final));
                refused.unwrap_or_else(|why| connection.load().fail(why));
                return (Promise::ok(()), Rc::new(no_results()));
            }
        };
        tell(connection.watch.cell, "out", || inner.get_body_as_reader());
        let (sent, message) = inner.send();
        connection.load().queued(serialize::compute_serialized_size_in_words(&message), outgoing, charge);
        (sent, message)
    }

    fn take(self: Box<Self>) -> message::Builder<message::HeapAllocator> {
        self.inner.take()
    }

    fn size_in_words(&self) -> usize {
        self.inner.size_in_words()
    }
}

impl IncomingMessage for ChargedMessage {
    fn get_body(&self) -> capnp::Result<any_pointer::Reader<'_>> {
        self.inner.get_body()
    }
}

#[cfg(test)]
mod tests;
