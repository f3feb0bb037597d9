//! Sync mode: every message gets a fresh instance, whose `main` runs once.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;
use ww_core::{exit::Reason, task};

use crate::{
    cell::{Cell, Spec},
    incarnation::{Start, Stop},
    lanes::{Lanes, Next},
    message::{Body, Current, Failure, Message, collect},
    own::Own,
    patience::Patience,
    pipe,
    program::Program,
    runtime::Runtime,
    stdio::{Input, Output},
};

impl Runtime {
    /// Serves a mailbox until the cell is stopped. Instances that run by then are stopped as well.
    pub(crate) async fn serve_fresh(&self, cell: &Cell, program: Program, spec: Spec, stderr: Output) -> Reason {
        let stop = cell.stopping();
        let lanes = Lanes { stop, signals: cell.signals(), mailbox: cell.serve() };
        let instances = spec.limits.instances.max(1);
        let free = Arc::new(Semaphore::new(instances as usize));
        let running = Stop::default();
        let own = self.own(cell, spec);
        let reason = loop {
            let permit = tokio::select! {
                biased;
                reason = stop.requested() => break reason,
                permit = Arc::clone(&free).acquire_owned() => permit,
            };
            let message = match lanes.next().await {
                Ok(Next::Message(message)) => message,
                // Nobody is there to be told: no instance outlives its message, so that none can trap exits or monitor.
                Ok(Next::Signal(_)) => continue,
                Err(reason) => break reason,
            };
            let (runtime, program, own) = (self.clone(), program.clone(), Arc::clone(&own));
            let (stderr, running) = (stderr.clone(), running.clone());
            // Ends with its `main`, its limits, or the cell's stop.
            drop(task::spawn(&self.handle, task::Kind::detached("instance", cell.id()), async move {
                runtime.serve_once(program, own, stderr, message, running).await;
                drop(permit);
            }));
        };
        running.request(reason.clone());
        // All permits: no instance runs any more.
        if free.acquire_many(instances).await.is_err() {
            tracing::error!(cell = %cell.id(), "the instances of a cell were lost");
        }
        reason
    }

    async fn serve_once(&self, program: Program, own: Arc<Own>, stderr: Output, message: Message, stop: Stop) {
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
        let stdio = (Input::patient(stdin, patience.clone()), stdout.clone(), stderr);
        let message = envelope.id;
        let cell = own.cell.clone();
        let start = Start { own, stdio, current: Some(Current { envelope, signal: None }) };
        let running = async {
            let reason = self.main(program, start, stop, Some(&patience)).await;
            let answer = match &reason {
                Reason::Normal => Ok(Bytes::new()),
                Reason::Killed | Reason::Shutdown => Err(Failure::Ended(reason.clone())),
                other => Err(Failure::Guest(Arc::from(other.to_string()))),
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
