//! Sync mode: every message gets a fresh instance, whose `main` runs once.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;
use ww_core::{CellId, exit::Reason, mailbox::Mailbox, task};

use crate::{
    cell::Spec,
    incarnation::Stop,
    message::{self, Body, Failure, Message, collect},
    patience::Patience,
    pipe,
    program::Program,
    runtime::Runtime,
    stdio::{Input, Output},
    tail,
};

impl Runtime {
    /// Serves a mailbox until the cell is stopped. Instances that run by then are stopped as well.
    pub(crate) async fn serve_fresh(
        &self,
        id: CellId,
        program: Program,
        spec: Spec,
        stderr: tail::Writer,
        mailbox: &Mailbox<Message>,
        stop: &Stop,
    ) -> Reason {
        let instances = spec.instances.clamp(1, Semaphore::MAX_PERMITS);
        let free = Arc::new(Semaphore::new(instances));
        let running = Stop::default();
        let reason = loop {
            let permit = tokio::select! {
                biased;
                reason = stop.requested() => break reason,
                permit = Arc::clone(&free).acquire_owned() => permit,
            };
            let message = match message::next(mailbox, stop).await {
                Ok(message) => message,
                Err(reason) => break reason,
            };
            let (runtime, program, spec) = (self.clone(), program.clone(), spec.clone());
            let (stderr, running) = (stderr.clone(), running.clone());
            // Ends with its `main`, its limits, or the cell's stop.
            drop(task::spawn(&self.handle, task::Kind::detached("instance", id), async move {
                runtime.serve_once(id, program, spec, stderr, message, running).await;
                drop(permit);
            }));
        };
        running.request(reason.clone());
        // All permits: no instance runs any more.
        let all = u32::try_from(instances).unwrap_or(u32::MAX);
        if free.acquire_many(all).await.is_err() {
            tracing::error!(cell = %id, "the instances of a cell were lost");
        }
        reason
    }

    async fn serve_once(
        &self,
        id: CellId,
        program: Program,
        spec: Spec,
        stderr: tail::Writer,
        message: Message,
        stop: Stop,
    ) {
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
        let stdio = (Input::patient(stdin, patience.clone()), stdout.clone(), Output::Tail(stderr));
        let start = spec.start(id, stdio);
        let running = async {
            let reason = self.main(program, start, stop, Some(&patience)).await;
            let answer = match &reason {
                Reason::Normal => Ok(Bytes::new()),
                Reason::Killed | Reason::Shutdown => Err(Failure::Ended(reason.clone())),
                other => Err(Failure::Guest(Arc::from(other.to_string()))),
            };
            if let Err(failure) = &answer {
                tracing::warn!(cell = %id, message = envelope.id, %reason, "an instance failed its message");
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
        done.answer(answer);
    }
}
