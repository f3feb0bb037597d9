//! Async mode: one live instance answers one message after the other.
//!
//! Between two messages nothing of the guest runs. A message exchanges what is behind the guest's standard
//! input and output, and calls `handle` or `poll`. A guest that returns an error fails that message; one that
//! traps, exits or reaches a limit ends the cell, because an instance that was left half-way is dead.

use std::{pin::pin, sync::Arc};

use bytes::Bytes;
use wasmtime::{AsContextMut, Store, component};
use ww_core::{exit::Reason, lend, links::Signal};

use crate::{
    cell::{Cell, Spec},
    core_module, fault,
    guest::Guest,
    incarnation::{self, Start},
    lanes::{Lanes, Next},
    message::{Body, Current, Done, Envelope, Failure, Sender, collect},
    meters::Computed,
    patience::Patience,
    pipe,
    preemption::SLICE_TICKS,
    program::{Code, Program},
    runtime::Runtime,
    stdio::{Input, Output},
};

/// One live instance.
struct Live {
    store: Store<Guest>,
    streams: Streams,
    entry: Entry,
}

/// The standard streams of the instance, and what is behind them between two messages.
struct Streams {
    stdin: Input,
    stdout: Output,
    at_end: Arc<pipe::Reader>,
    discarding: Arc<pipe::Writer>,
    /// Whether a message is behind them. `handle` needs none.
    armed: bool,
}

/// How a message gets into the instance.
enum Entry {
    Component { poll: Option<Poll>, handle: Option<component::Func> },
    Module(core_module::Poll, Option<&'static str>),
}

/// `handle` of a component, which reads the message where it lies.
type Handle<'a> = component::TypedFunc<(&'a [u8],), (Result<Vec<u8>, String>,)>;

/// The forms in which a component exports `poll`.
enum Poll {
    WithResult(component::TypedFunc<(), (Result<(), String>,)>),
    Plain(component::TypedFunc<(), ()>),
}

/// The guest's own answer to one message: an error fails this message only.
type Answer = Result<(), String>;

impl Runtime {
    /// Serves a mailbox until the instance ends.
    pub(crate) async fn serve_live(&self, cell: &Cell, program: Program, spec: Spec, stderr: Output) -> Reason {
        let stop = cell.stopping();
        let sandbox = match self.sandbox(program.kind()) {
            Ok(sandbox) => sandbox,
            Err(error) => return Reason::host_fault(format_args!("{error:#}")),
        };
        let _place = match sandbox.place(&program) {
            Ok(place) => place,
            Err(places) => return incarnation::no_place(places),
        };
        let patience = Patience::default();
        let streams = Streams::new(&patience);
        let stdio = (streams.stdin.clone(), streams.stdout.clone(), stderr);
        let start = Start { own: self.own(cell, spec), stdio, current: None };
        let computed = Computed::new(self.ticks().clone());
        let shared = (self.requeue.clone(), computed.clone());
        let store = match incarnation::store(&sandbox, &program, start, stop.clone(), shared) {
            Ok(store) => store,
            Err(error) => return Reason::host_fault(format_args!("{error:#}")),
        };
        if let Some(reason) = stop.reason() {
            return reason.clone();
        }
        let late = async || incarnation::expired(cell.limits().deadline).await;
        let started = {
            let starting = pin!(Live::start(&program, store, streams));
            self.turns((cell, &computed), stop, late, starting).await
        };
        let mut live = match started {
            Ok(Ok(live)) => live,
            Ok(Err(error)) => return incarnation::failed_start(&error),
            Err(reason) => return reason,
        };
        let reason = live.serve_all(self, cell, &patience).await;
        // Before the store is dropped, and the guest's streams with it.
        stop.set_ending();
        self.give_back(live.store).await;
        reason
    }
}

impl Live {
    /// Serves one message after the other until the instance ends.
    async fn serve_all(&mut self, runtime: &Runtime, cell: &Cell, patience: &Patience) -> Reason {
        let stop = cell.stopping();
        let mut lanes = Lanes::new(stop, Some(cell.signals()), cell.serve());
        let mut stopping = pin!(stop.requested());
        let deadline = cell.limits().deadline;
        let computed = self.store.data().computed.clone();
        loop {
            let next = match lanes.ready() {
                Ok(Some(next)) => {
                    // Whoever was woken by the last message need not wait for this one.
                    lend::go_on();
                    Ok(next)
                }
                Ok(None) => {
                    let next = lanes.next(stopping.as_mut()).await;
                    // A new slice after a pause. One that is never idle keeps its slice, and yields at its end.
                    self.store.set_epoch_deadline(SLICE_TICKS);
                    next
                }
                Err(reason) => Err(reason),
            };
            let (current, body, done) = match next {
                Ok(Next::Message(message)) => {
                    let (envelope, body, done) = message.begin();
                    (Current { envelope, signal: None }, body, done)
                }
                Ok(Next::Signal(signal)) => of_signal(cell, signal),
                Err(reason) => return reason,
            };
            let message = current.envelope.id;
            self.store.data_mut().begin_message(current);
            let served = {
                let serving = pin!(self.serve(body));
                runtime.turns((cell, &computed), stop, || patience.exhausted(deadline), serving).await
            };
            self.store.data_mut().end_message();
            match served.flatten() {
                Ok(answer) => {
                    if let Err(Failure::Guest(error)) = &answer {
                        tracing::warn!(cell = %cell.id(), message, %error, "the guest failed a message");
                    }
                    self.streams.disarm(answer.as_ref().err());
                    cell.meters().count(answer.is_ok());
                    done.answer(answer);
                }
                Err(reason) => {
                    let failure = Failure::Ended(reason.clone());
                    tracing::debug!(cell = %cell.id(), message, %reason, "the cell ended within a message");
                    self.streams.disarm(Some(&failure));
                    cell.meters().count(false);
                    // Whoever is told must not find the cell alive.
                    stop.set_ending();
                    done.answer(Err(failure));
                    return reason;
                }
            }
        }
    }

    /// Instantiates, and runs what a language runtime needs before its first call; never `main`.
    async fn start(program: &Program, mut store: Store<Guest>, streams: Streams) -> wasmtime::Result<Self> {
        let entry = match program.code() {
            Code::Component { pre, entries } => {
                let instance = pre.instantiate_async(&mut store).await?;
                let poll = match &entries.poll {
                    None => None,
                    Some(poll) => Some(match instance.get_typed_func(&mut store, poll) {
                        Ok(poll) => Poll::WithResult(poll),
                        Err(_) => Poll::Plain(instance.get_typed_func(&mut store, poll)?),
                    }),
                };
                let handle = entries.handle.as_ref().and_then(|handle| instance.get_func(&mut store, handle));
                if let Some(handle) = &handle {
                    let _: Handle<'_> = handle.typed(&store)?;
                }
                Entry::Component { poll, handle }
            }
            Code::Module(pre) => {
                let instance = pre.instantiate_async(&mut store).await?;
                Entry::Module(core_module::Poll::start(&instance, &mut store).await?, program.remedy())
            }
        };
        Ok(Self { store, streams, entry })
    }

    /// One message. The outer error is the end of the instance.
    async fn serve(&mut self, body: Body) -> Result<Result<Bytes, Failure>, Reason> {
        match body {
            Body::Whole(bytes) if self.handles() => self.handle(bytes).await,
            Body::Whole(bytes) => {
                let (guest_stdout, reply) = pipe::pipe(pipe::CAPACITY);
                self.streams.arm(pipe::Reader::whole(bytes), guest_stdout);
                let collecting = collect(reply);
                let polling = async {
                    let answer = self.poll().await;
                    self.streams.end_reply();
                    answer
                };
                let (answer, collected) = futures::join!(polling, collecting);
                Ok(answer?.map_err(guest_failure).and(collected))
            }
            Body::Stream { request, reply } if self.polls() => {
                self.streams.arm(request, reply);
                Ok(self.poll().await?.map(|()| Bytes::new()).map_err(guest_failure))
            }
            Body::Stream { request, reply } => {
                let collected = collect(request).await;
                self.streams.arm(pipe::Reader::empty(), reply);
                let answer = match collected {
                    Ok(bytes) => self.handle(bytes).await?,
                    Err(failure) => Err(failure),
                };
                match answer {
                    Ok(bytes) => {
                        // A peer that does not read any more harms only its own message.
                        let _ = self.streams.stdout.wait_write(&bytes).await;
                        Ok(Ok(Bytes::new()))
                    }
                    failure => Ok(failure),
                }
            }
        }
    }

    fn polls(&self) -> bool {
        !matches!(self.entry, Entry::Component { poll: None, .. })
    }

    fn handles(&self) -> bool {
        matches!(self.entry, Entry::Component { handle: Some(_), .. })
    }

    async fn handle(&mut self, body: Bytes) -> Result<Result<Bytes, Failure>, Reason> {
        let Entry::Component { handle: Some(handle), .. } = &self.entry else {
            return Err(Reason::host_fault("`handle` is called only where it is exported"));
        };
        let called = match handle.typed(&self.store) {
            Ok(handle) => Handle::call_async(&handle, self.store.as_context_mut(), (&body,)).await,
            Err(error) => Err(error),
        };
        let (answer,) = called.map_err(|error| fault::reason(&error))?;
        Ok(answer.map(Bytes::from).map_err(guest_failure))
    }

    async fn poll(&mut self) -> Result<Answer, Reason> {
        let store = self.store.as_context_mut();
        let called = match &self.entry {
            Entry::Component { poll: Some(Poll::WithResult(poll)), .. } => {
                poll.call_async(store, ()).await.map(|(answer,)| answer)
            }
            Entry::Component { poll: Some(Poll::Plain(poll)), .. } => poll.call_async(store, ()).await.map(Ok),
            Entry::Component { poll: None, .. } => {
                Err(wasmtime::Error::msg("`poll` is called only where it is exported"))
            }
            Entry::Module(poll, remedy) => poll.call(store, *remedy).await,
        };
        called.map_err(|error| fault::reason(&error))
    }
}

impl Streams {
    fn new(patience: &Patience) -> Self {
        let (at_end, discarding) = (Arc::new(pipe::Reader::empty()), Arc::new(pipe::Writer::discarding()));
        let stdin = Input::patient(Arc::clone(&at_end), patience.clone());
        let stdout = Output::for_reply(Arc::clone(&discarding), patience.clone());
        Self { stdin, stdout, at_end, discarding, armed: false }
    }

    fn arm(&mut self, request: pipe::Reader, reply: pipe::Writer) {
        self.stdin.arm(Arc::new(request));
        self.stdout.arm(Arc::new(reply));
        self.armed = true;
    }

    /// The reply is whole, whatever becomes of the request.
    fn end_reply(&self) {
        self.stdout.arm(Arc::clone(&self.discarding));
    }

    /// Ends the streams of a message: nothing of it reaches the next one.
    fn disarm(&mut self, failure: Option<&Failure>) {
        if !std::mem::take(&mut self.armed) {
            return;
        }
        if let Some(failure) = failure {
            self.stdout.fail(&failure.to_string());
        }
        self.stdin.arm(Arc::clone(&self.at_end));
        self.stdout.arm(Arc::clone(&self.discarding));
    }
}

/// A signal as a message: its body is the reason for a person, and nobody waits for a reply.
fn of_signal(cell: &Cell, signal: Signal) -> (Current, Body, Done) {
    let body = Body::Whole(signal.reason().to_string().into());
    let envelope = Envelope { sender: Sender::Cell(signal.cell()), ..cell.envelope(None) };
    (Current { envelope, signal: Some(Box::new(signal)) }, body, Done::nobody())
}

fn guest_failure(error: String) -> Failure {
    Failure::Guest(error.into())
}
