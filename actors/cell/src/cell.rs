//! A cell: a mailbox, and a program that serves it.
//!
//! The slot owns the mailbox; the incarnation serves it, in one of two modes. In **async** mode one live
//! instance answers one message after the other, through `handle` or `poll`. In **sync** mode every message
//! gets a fresh instance whose `main` runs once, several at a time.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use thiserror::Error;
use ww_core::{
    CellId, Limits,
    exit::{self, Reason},
    mailbox::{self, Mailbox, Overflow},
    task,
};

use crate::{
    incarnation::{Incarnation, Start, Stop, Streams},
    loader::Files,
    message::{Answer, Body, Envelope, Failure, MAX_WHOLE, Message},
    pipe,
    program::{Exports, Program},
    runtime::Runtime,
    stdio::Stderr,
    streams::{Connect, Duplex},
    tail,
};

/// Instances of a cell in sync mode that run at once, unless its spec says otherwise.
pub const DEFAULT_INSTANCES: usize = 64;

/// How a cell serves its messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// One live instance; `poll` or `handle` is called once per message.
    Async,
    /// A fresh instance per message; its `main` runs once.
    #[default]
    Sync,
}

/// With what a cell starts.
#[derive(Clone)]
pub struct Spec {
    /// What the program sees as its own name, and the log shows.
    pub name: String,
    /// How it serves its messages.
    pub mode: Mode,
    /// Arguments after the name.
    pub args: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// What it may use: in sync mode, what each of its instances may use.
    pub limits: Limits,
    /// Messages that may wait.
    pub mailbox: usize,
    /// What happens to one more.
    pub overflow: Overflow,
    /// Instances at once in sync mode.
    pub instances: usize,
    /// Serves the connection of an instance to its node; `None` if it has no node to talk to.
    pub connect: Option<Arc<dyn Fn(Duplex) + Send + Sync>>,
    /// The files of its image; `None` if it may not read them.
    pub files: Option<Arc<dyn Files>>,
}

/// A program does not export what a mode needs.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the program cannot run in {mode:?} mode: it exports {exports}")]
pub struct NotExported {
    /// The mode that was asked for.
    pub mode: Mode,
    /// What the program can do.
    pub exports: Exports,
}

/// A running cell. Clones are the same cell; it lives until it is stopped or ends by itself.
#[derive(Clone, Debug)]
pub struct Cell {
    id: CellId,
    mailbox: Mailbox<Message>,
    incarnation: Incarnation,
    messages: Arc<AtomicU64>,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            name: "cell".to_owned(),
            mode: Mode::default(),
            args: Vec::new(),
            env: Vec::new(),
            limits: Limits::default(),
            mailbox: mailbox::DEFAULT_CAPACITY,
            overflow: Overflow::default(),
            instances: DEFAULT_INSTANCES,
            connect: None,
            files: None,
        }
    }
}

impl Spec {
    /// With what one instance of the cell starts.
    pub(crate) fn start(self, id: CellId, stdio: Streams) -> Start<Streams> {
        let Self { name, args, env, limits, connect, files, .. } = self;
        let connect = connect.map(|connect| -> Connect { Box::new(move |duplex| connect(duplex)) });
        Start { id, name, args, env, limits, stdio, connect, files }
    }
}

impl Mode {
    fn is_served_by(self, exports: Exports) -> bool {
        match self {
            Self::Async => exports.poll || exports.handle,
            Self::Sync => exports.run,
        }
    }
}

impl Runtime {
    /// Starts a cell, which serves its mailbox until it ends or `stop` is requested.
    ///
    /// # Errors
    ///
    /// Where the program does not export what the mode needs.
    pub fn spawn(&self, id: CellId, program: Program, spec: Spec, stop: Stop) -> Result<Cell, NotExported> {
        let exports = program.exports();
        if !spec.mode.is_served_by(exports) {
            return Err(NotExported { mode: spec.mode, exports });
        }
        let mailbox = Mailbox::new(spec.mailbox, spec.overflow);
        let (notifier, exit) = exit::channel();
        let (stderr, _) = tail::tail(id);
        let serving = {
            let (runtime, mailbox, stop) = (self.clone(), mailbox.clone(), stop.clone());
            async move {
                match spec.mode {
                    Mode::Async => runtime.serve_live(id, program, spec, Stderr::Tail(stderr), &mailbox, &stop).await,
                    Mode::Sync => runtime.serve_fresh(id, program, spec, stderr, &mailbox, &stop).await,
                }
            }
        };
        let kind = task::Kind::detached("cell", id);
        let serving = task::catch(kind.clone(), serving);
        let waiting = mailbox.clone();
        // Ends by its stop, its limits or by itself, so that nobody has to hold the task.
        drop(task::spawn(&self.handle, kind, async move {
            let reason = serving.await.unwrap_or_else(Reason::host_fault);
            for message in waiting.close(reason.clone()) {
                message.refuse(Failure::Ended(reason.clone()));
            }
            notifier.notify(reason);
        }));
        let incarnation = Incarnation { exit, stop };
        Ok(Cell { id, mailbox, incarnation, messages: Arc::default() })
    }
}

impl Cell {
    /// Identifies the cell.
    pub fn id(&self) -> CellId {
        self.id
    }

    /// Learns of its end.
    pub fn exit(&self) -> &exit::Watch {
        &self.incarnation.exit
    }

    /// Ends it.
    pub fn stop(&self, reason: Reason) {
        self.incarnation.stop.request(reason);
    }

    /// Messages that wait, and messages that were dropped for newer ones.
    pub fn mailbox(&self) -> (usize, u64) {
        (self.mailbox.depth(), self.mailbox.dropped())
    }

    /// The envelope of a new message of the node.
    pub fn envelope(&self, timeout: Option<std::time::Duration>) -> Envelope {
        Envelope::host(self.messages.fetch_add(1, Ordering::Relaxed), timeout)
    }

    /// Sends a message and waits for the reply, both whole. Cancel safe: the cell finishes what it has begun.
    ///
    /// # Errors
    ///
    /// Where the message is not answered, for any of the reasons of [`Failure`].
    pub async fn ask(&self, envelope: Envelope, body: impl Into<Bytes>) -> Result<Bytes, Failure> {
        let body = body.into();
        if body.len() > MAX_WHOLE {
            return Err(Failure::TooLarge { len: body.len() });
        }
        let deadline = envelope.deadline;
        let answer = self.post(envelope, Body::Whole(body)).await?;
        answer.wait(deadline).await
    }

    /// Sends a message and waits until the mailbox has taken it.
    ///
    /// # Errors
    ///
    /// Where the mailbox does not take it, or the message is too large.
    pub async fn send(&self, envelope: Envelope, body: impl Into<Bytes>) -> Result<(), Failure> {
        let body = body.into();
        if body.len() > MAX_WHOLE {
            return Err(Failure::TooLarge { len: body.len() });
        }
        self.post(envelope, Body::Whole(body)).await.map(drop)
    }

    /// Serves one message whose body and reply are streams, in either mode. Returns when the cell has answered, or
    /// failed to: what is in `reply` by then is the whole reply only after `Ok`. After a failure the reader of `reply`
    /// sees an error instead of the end. Cancel safe: the cell finishes what it has begun.
    ///
    /// # Errors
    ///
    /// Where the message is not answered.
    pub async fn process_message(
        &self,
        envelope: Envelope,
        request: pipe::Reader,
        reply: pipe::Writer,
    ) -> Result<(), Failure> {
        let deadline = envelope.deadline;
        let answer = self.post(envelope, Body::Stream { request, reply }).await?;
        answer.wait(deadline).await.map(drop)
    }

    /// Puts a message into the mailbox, at most until its deadline.
    async fn post(&self, envelope: Envelope, body: Body) -> Result<Answer, Failure> {
        let deadline = envelope.deadline;
        let (message, answer) = Message::new(envelope, body);
        let sending = self.mailbox.send(message);
        let sent = match deadline {
            Some(deadline) => tokio::time::timeout_at(deadline, sending)
                .await
                .map_err(|_: tokio::time::error::Elapsed| Failure::Timeout)?,
            None => sending.await,
        };
        if let Some(oldest) = sent? {
            oldest.refuse(Failure::Refused(mailbox::Refused::Dropped));
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests;
