//! The one place where tasks are started.
//!
//! Every task has a name, an owner and a policy for being dropped; a panic inside a task is logged with
//! both and reaches whoever awaits the [`Task`].

use std::{
    fmt,
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::FutureExt;
use thiserror::Error;
use tokio::{runtime, task::JoinHandle};

/// What a task is for, and what becomes of it.
#[derive(Clone)]
pub struct Kind {
    /// What it does, in a few words for the log.
    pub name: &'static str,
    /// On whose behalf it runs. Written down where a task panics only: the id of a peer takes longer than many a task.
    pub owner: Arc<dyn fmt::Display + Send + Sync>,
    /// What happens when the [`Task`] is dropped.
    pub on_drop: OnDrop,
}

/// What happens to a task when its [`Task`] is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDrop {
    /// It is cancelled at its next suspension point.
    Abort,
    /// It goes on until it ends by itself: its owner has another means to end it.
    Detach,
}

/// Why a task has no result.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Failed {
    /// It panicked.
    #[error("the task panicked: {0}")]
    Panicked(String),
    /// It was cancelled, or its runtime ended.
    #[error("the task was cancelled")]
    Cancelled,
}

/// A running task. Awaiting it yields its result.
#[derive(Debug)]
pub struct Task<T> {
    handle: JoinHandle<Result<T, Failed>>,
    on_drop: OnDrop,
}

impl Kind {
    /// A task that ends with its handle.
    pub fn owned(name: &'static str, owner: impl fmt::Display + Send + Sync + 'static) -> Self {
        Self { name, owner: Arc::new(owner), on_drop: OnDrop::Abort }
    }

    /// A task that ends by itself.
    pub fn detached(name: &'static str, owner: impl fmt::Display + Send + Sync + 'static) -> Self {
        Self { name, owner: Arc::new(owner), on_drop: OnDrop::Detach }
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, owner, on_drop } = self;
        write!(f, "{name} of {owner} ({on_drop:?})")
    }
}

/// Starts a task on a multi-threaded runtime.
pub fn spawn<F>(on: &runtime::Handle, kind: Kind, future: F) -> Task<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let on_drop = kind.on_drop;
    Task { handle: on.spawn(catch(kind, future)), on_drop }
}

/// Starts a task on the calling thread's arbiter.
///
/// # Panics
///
/// Outside an arbiter or a `LocalSet`.
pub fn spawn_local<F>(kind: Kind, future: F) -> Task<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    let on_drop = kind.on_drop;
    #[expect(clippy::disallowed_methods, reason = "this is the one place that it is disallowed for")]
    let handle = tokio::task::spawn_local(catch(kind, future));
    Task { handle, on_drop }
}

/// Runs a future so that a panic inside it is logged and returned. Cancel safe if the future is.
///
/// No `async fn`: that would keep a second place for the future, and every task of a cell is two of these deep.
///
/// # Errors
///
/// Where the future panics.
pub fn catch<F: Future>(kind: Kind, future: F) -> impl Future<Output = Result<F::Output, Failed>> {
    // Whatever the future shared is behind locks or channels that see its end; nothing half-written is read again.
    AssertUnwindSafe(future).catch_unwind().map(move |outcome| {
        outcome.map_err(|payload| {
            let message = payload
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| payload.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "no message".to_owned());
            tracing::error!(task = kind.name, owner = %kind.owner, message, "a task panicked");
            Failed::Panicked(message)
        })
    })
}

impl<T> Task<T> {
    /// Cancels the task at its next suspension point.
    pub fn abort(&self) {
        self.handle.abort();
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, Failed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.handle.poll_unpin(cx).map(|joined| joined.unwrap_or(Err(Failed::Cancelled)))
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        if self.on_drop == OnDrop::Abort {
            self.handle.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_reaches_whoever_awaits_the_task() {
        let task = spawn(&runtime::Handle::current(), Kind::owned("test", "nobody"), async { panic!("on purpose") });
        let task: Task<()> = task;
        assert!(matches!(task.await, Err(Failed::Panicked(message)) if message == "on purpose"));
    }

    #[tokio::test]
    async fn an_owned_task_ends_with_its_handle_and_a_detached_one_does_not() {
        let (tx, rx) = tokio::sync::oneshot::channel::<()>();
        drop(spawn(&runtime::Handle::current(), Kind::owned("test", "nobody"), async move {
            std::future::pending::<()>().await;
            drop(tx);
        }));
        assert!(rx.await.is_err(), "the sender is dropped with the task");

        let (tx, rx) = tokio::sync::oneshot::channel();
        drop(spawn(&runtime::Handle::current(), Kind::detached("test", "nobody"), async move {
            tokio::task::yield_now().await;
            tx.send(1)
        }));
        assert_eq!(rx.await, Ok(1));
    }
}
