//! One line in the log per message, at level trace: a vat network that tells what passes through it.

use std::{fmt, rc::Rc};

use capnp::{Error, any_pointer, capability::Promise, message};
use capnp_rpc::{Connection, IncomingMessage, OutgoingMessage, VatNetwork, rpc_capnp, rpc_twoparty_capnp::Side};
use futures::FutureExt;

/// Tells what passes through another network.
pub(crate) struct Network<N> {
    inner: N,
    cell: u64,
}

struct TracedConnection {
    inner: Box<dyn Connection<Side>>,
    cell: u64,
}

struct TracedOutgoing {
    inner: Box<dyn OutgoingMessage>,
    cell: u64,
}

impl<N> Network<N> {
    /// Messages of the vat that serves `cell`.
    pub(crate) fn new(inner: N, cell: u64) -> Self {
        Self { inner, cell }
    }
}

fn traced(inner: Box<dyn Connection<Side>>, cell: u64) -> Box<dyn Connection<Side>> {
    Box::new(TracedConnection { inner, cell })
}

impl<N: VatNetwork<Side>> VatNetwork<Side> for Network<N> {
    fn connect(&mut self, host_id: Side) -> Option<Box<dyn Connection<Side>>> {
        let cell = self.cell;
        self.inner.connect(host_id).map(|connection| traced(connection, cell))
    }

    fn accept(&mut self) -> Promise<Box<dyn Connection<Side>>, Error> {
        let cell = self.cell;
        Promise::from_future(self.inner.accept().map(move |accepted| accepted.map(|inner| traced(inner, cell))))
    }

    fn drive_until_shutdown(&mut self) -> Promise<(), Error> {
        self.inner.drive_until_shutdown()
    }
}

impl Connection<Side> for TracedConnection {
    fn get_peer_vat_id(&self) -> Side {
        self.inner.get_peer_vat_id()
    }

    fn new_outgoing_message(&mut self, first_segment_word_size: u32) -> Box<dyn OutgoingMessage> {
        let inner = self.inner.new_outgoing_message(first_segment_word_size);
        Box::new(TracedOutgoing { inner, cell: self.cell })
    }

    fn receive_incoming_message(&mut self) -> Promise<Option<Box<dyn IncomingMessage>>, Error> {
        let cell = self.cell;
        Promise::from_future(self.inner.receive_incoming_message().map(move |received| {
            if let Ok(Some(message)) = &received {
                tell(cell, "in", message.get_body());
            }
            received
        }))
    }

    fn shutdown(&mut self, result: capnp::Result<()>) -> Promise<(), Error> {
        self.inner.shutdown(result)
    }
}

impl OutgoingMessage for TracedOutgoing {
    fn get_body(&mut self) -> capnp::Result<any_pointer::Builder<'_>> {
        self.inner.get_body()
    }

    fn get_body_as_reader(&self) -> capnp::Result<any_pointer::Reader<'_>> {
        self.inner.get_body_as_reader()
    }

    fn send(self: Box<Self>) -> (Promise<(), Error>, Rc<message::Builder<message::HeapAllocator>>) {
        tell(self.cell, "out", self.inner.get_body_as_reader());
        self.inner.send()
    }

    fn take(self: Box<Self>) -> message::Builder<message::HeapAllocator> {
        self.inner.take()
    }

    fn size_in_words(&self) -> usize {
        self.inner.size_in_words()
    }
}

fn tell(cell: u64, direction: &'static str, body: capnp::Result<any_pointer::Reader<'_>>) {
    match body.and_then(describe) {
        Ok(message) => tracing::trace!(target: "ww::rpc", cell, direction, %message),
        Err(error) => tracing::trace!(target: "ww::rpc", cell, direction, %error, "an unreadable message"),
    }
}

/// What a message is about, in a few words.
enum Description {
    Call { question: u32, interface: u64, method: u16 },
    Answer { question: u32, failed: bool },
    Other(&'static str),
}

fn describe(body: any_pointer::Reader<'_>) -> capnp::Result<Description> {
    use rpc_capnp::{message, return_};
    Ok(match body.get_as::<message::Reader<'_>>()?.which()? {
        message::Call(call) => {
            let call = call?;
            Description::Call {
                question: call.get_question_id(),
                interface: call.get_interface_id(),
                method: call.get_method_id(),
            }
        }
        message::Return(answer) => {
            let answer = answer?;
            let failed = matches!(answer.which(), Ok(return_::Exception(_)));
            Description::Answer { question: answer.get_answer_id(), failed }
        }
        message::Bootstrap(_) => Description::Other("bootstrap"),
        message::Finish(_) => Description::Other("finish"),
        message::Resolve(_) => Description::Other("resolve"),
        message::Release(_) => Description::Other("release"),
        message::Abort(_) => Description::Other("abort"),
        message::Disembargo(_) => Description::Other("disembargo"),
        message::Unimplemented(_) => Description::Other("unimplemented"),
        _ => Description::Other("level 3"),
    })
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call { question, interface, method } => write!(f, "call {question}: {interface:#x}.{method}"),
            Self::Answer { question, failed: false } => write!(f, "return {question}"),
            Self::Answer { question, failed: true } => write!(f, "return {question}: exception"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests;
