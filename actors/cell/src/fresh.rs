//! Sync mode: every message gets a fresh instance, whose `main` runs once.

use std::{pin::pin, sync::Arc};

use bytes::Bytes;
use tokio::sync::Semaphore;
use ww_core::{Text, exit::Reason, lend, task};

use crate::{
    cell::{Cell, Room, Spec},
    incarnation::Start,
    lanes::{Lanes, Next},
    message::{Body, Current, Failure, Message, collect},
    own::Own,
    patience::Patience,
    pipe,
    program::Program,
    runtime::Runtime,
    stdio::{Input, Output},
    stop::Stop,
};

/// Servers of one cell that stay when there is nothing to do, so that the next messages find them.
const KEPT: usize = 4;

/// Room for the memory of one instance besides the first, until this is dropped.
struct Further(Arc<dyn Room>);

impl Drop for Further {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

/// The tasks that serve one cell, each with one message at a time. As many as are busy at once, up to the cell's limit of
/// instances; a message is served by the task that takes it, and not handed on.
struct Servers {
    runtime: Runtime,
    program: Program,
    own: Arc<Own>,
    stderr: Output,
    /// Ends the servers, and the instances that run by then.
    stop: Stop,
    places: Arc<Semaphore>,
}

impl Runtime {
    /// Serves a mailbox until the cell is stopped. Instances that run by then are stopped as well.
    pub(crate) async fn serve_fresh(&self, cell: &Cell, program: Program, spec: Spec, stderr: Output) -> Reason {
        let instances = spec.limits.instances.max(1);
        let servers = Arc::new(Servers {
            runtime: self.clone(),
            program,
            own: self.own(cell, spec),
            stderr,
            stop: Stop::default(),
            places: Arc::new(Semaphore::new(instances as usize)),
        });
        cell.serve();
        servers.start(None);
        let reason = loop {
            tokio::select! {
                biased;
                reason = cell.stopping().requested() => break reason,
                // Nobody is there to be told: no instance outlives its message, so that none can trap exits or monitor.
                _ = cell.signals().next() => {}
            }
        };
        servers.stop.request(reason.clone());
        // All places: no instance runs any more.
        if servers.places.acquire_many(instances).await.is_err() {
            tracing::error!(cell = %cell.id(), "the instances of a cell were lost");
        }
        reason
    }
}

impl Servers {
    /// Starts one more, if there is room for the memory of another instance.
    fn add(self: &Arc<Self>) {
        match &self.own.spec.room {
            None => self.start(None),
            Some(room) if room.take() => self.start(Some(Further(Arc::clone(room)))),
            Some(_) => {}
        }
    }

    /// Starts one more, if there may be one more.
    fn start(self: &Arc<Self>, further: Option<Further>) {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { return };
        let (servers, kind) = (Arc::clone(self), task::Kind::detached("instance", self.own.id()));
        // Ends with the cell's stop, or when there are others.
        lend::spawn(&self.runtime.handle, kind.clone(), self.program.pace(), async move {
            // One whose memory others may need does not stay, unless nobody else waits for the next message.
            let kept = if further.is_some() { 1 } else { KEPT };
            servers.serve(&kind, kept).await;
            drop((place, further));
        });
    }

    /// Serves messages until there is none, and at least `kept` others wait for the next.
    async fn serve(self: &Arc<Self>, kind: &task::Kind, kept: usize) {
        let mailbox = self.own.cell.slot().messages();
        let mut lanes = Lanes::new(&self.stop, None, mailbox);
        let mut stopping = pin!(self.stop.requested());
        while let Ok(Next::Message(message)) = lanes.next(stopping.as_mut()).await {
            if mailbox.readers() == 0 {
                self.add();
            }
            // A fault of the node's own is the loss of that message, whose sender learns it, and not of the server.
            let _ = task::catch(kind.clone(), self.serve_once(message)).await;
            if mailbox.readers() >= kept && mailbox.depth() == 0 {
                return;
            }
        }
    }

    async fn serve_once(&self, message: Message) {
        let (envelope, body, done) = message.begin();
        let (stdin, stdout, whole) = match body {
            Body::Stream { request, reply } => (request, reply, None),
            Body::Whole(bytes) => {
                let (guest_stdout, reply) = pipe::pipe(pipe::CAPACITY);
                (pipe::Reader::whole(bytes), guest_stdout, Some(reply))
            }
        };
        let patience = Patience::default();
        let stdout = Output::for_reply(stdout, patience.clone());
        let stdio = (Input::patient(stdin, patience.clone()), stdout.clone(), self.stderr.clone());
        let message = envelope.id;
        let cell = &self.own.cell;
        let start = Start { own: Arc::clone(&self.own), stdio, current: Some(Current { envelope, signal: None }) };
        let running = async {
            let reason = self.runtime.main(&self.program, start, &self.stop, Some(&patience)).await;
            let answer = match &reason {
                Reason::Normal => Ok(Bytes::new()),
                Reason::Killed | Reason::Shutdown => Err(Failure::Ended(reason.clone())),
                other => Err(Failure::Guest(Text::new(other))),
            };
            if let Err(failure) = &answer {
                tracing::warn!(cell = %cell.id(), message, %reason, "an instance failed its message");
                stdout.fail(&failure.to_string());
            }
            drop(stdout);
            answer
        };
        let answer = match whole {
            None => running.await,
            Some(reply) => {
                let (answer, collected) = futures::join!(running, collect(reply));
                answer.and(collected)
            }
        };
        cell.meters().count(answer.is_ok());
        done.answer(answer);
    }
}
