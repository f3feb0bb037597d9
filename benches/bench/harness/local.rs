//! Operations that cannot leave the thread that they were made on: those of Cap'n Proto.

use std::{future::Future, thread};

use anyhow::{Context as _, Result};
use tokio::{
    runtime::Builder,
    sync::{mpsc, oneshot},
    task::LocalSet,
};
use ww_core::task;

use super::compare::{Batch, Side};

/// A thread with futures of its own.
pub(crate) struct Local(mpsc::Sender<Job>);

type Job = Box<dyn FnOnce() + Send>;

impl Local {
    /// Starts it. It ends when this, and what was made with it, is dropped.
    pub(crate) fn start() -> Result<Self> {
        let (tx, mut rx) = mpsc::channel::<Job>(1);
        let threads = Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name("bench-local".to_owned()).spawn(move || {
            LocalSet::new().block_on(&threads, async move {
                while let Some(job) = rx.recv().await {
                    job();
                }
            });
        })?;
        Ok(Self(tx))
    }

    /// Runs something there, and returns what comes of it.
    pub(crate) async fn run<T, F>(&self, make: impl FnOnce() -> F + Send + 'static) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + 'static,
    {
        run(&self.0, make).await
    }

    /// A side whose operation is made there by `make`.
    pub(crate) async fn side<M, P, F, O>(&self, make: M) -> Result<Side>
    where
        M: FnOnce() -> P + Send + 'static,
        P: Future<Output = Result<F>> + 'static,
        F: Fn() -> O + Clone + 'static,
        O: Future<Output = Result<()>> + 'static,
    {
        // What was made stays there; batches are sent after it.
        let (batches, mut arrived) = mpsc::channel::<(Batch, oneshot::Sender<Result<Vec<f64>>>)>(1);
        self.run(move || async move {
            let operation = make().await?;
            drop(task::spawn_local(task::Kind::detached("side", "bench"), async move {
                while let Some((batch, done)) = arrived.recv().await {
                    let _ = done.send(repeat(batch, &operation).await);
                }
            }));
            Ok(())
        })
        .await?;
        let thread = self.0.clone();
        Ok(Side::of(move |batch| {
            let (batches, thread) = (batches.clone(), thread.clone());
            Box::pin(async move {
                let (done, result) = oneshot::channel();
                batches.send((batch, done)).await.ok().context("the thread has ended")?;
                let result = result.await.context("the thread has ended");
                drop(thread);
                result?
            })
        }))
    }
}

async fn run<T, F>(thread: &mpsc::Sender<Job>, make: impl FnOnce() -> F + Send + 'static) -> Result<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + 'static,
{
    let (tx, rx) = oneshot::channel();
    let job: Job = Box::new(move || {
        drop(task::spawn_local(task::Kind::detached("job", "bench"), async move {
            let _ = tx.send(make().await);
        }));
    });
    thread.send(job).await.ok().context("the thread has ended")?;
    rx.await.context("the thread has ended")?
}

async fn repeat<F, O>(batch: Batch, operation: &F) -> Result<Vec<f64>>
where
    F: Fn() -> O + Clone + 'static,
    O: Future<Output = Result<()>> + 'static,
{
    let tasks: Vec<_> = (0..batch.tasks)
        .map(|_| {
            let operation = operation.clone();
            task::spawn_local(task::Kind::owned("batch", "bench"), async move { batch.repeat(&operation).await })
        })
        .collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await??);
    }
    Ok(latencies)
}
