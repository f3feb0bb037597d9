//! Threads: one actix system with named arbiters, beside the multi-threaded runtime that runs guests.
//!
//! Platform actors live on arbiters; whatever is `Send` and heavy runs on the multi-threaded runtime.
//! The system has a thread of its own, so that a node can live inside any program.

use std::{
    io,
    sync::{
        Mutex,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use actix::{Arbiter, ArbiterHandle, System};
use thiserror::Error;
use tokio::runtime;

use crate::lend;

/// How long a new system thread may take to report that it runs: far longer than any machine needs.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the threads could not be started.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The operating system refused a thread.
    #[error("cannot start the thread of the actor system")]
    Thread(#[source] io::Error),
    /// It refused what an event loop needs.
    #[error("cannot start the event loop of the actor system")]
    Loop(#[source] io::Error),
    /// It refused another thread, or what its event loop needs.
    #[error("cannot start a thread for actors")]
    Arbiter(#[source] io::Error),
    /// The thread ended, or said nothing in time.
    #[error("the actor system did not start: {0}")]
    Silent(RecvTimeoutError),
}

/// The threads of one node. Dropping it without [`Platform::stop`] stops the arbiters, but does not wait for them.
#[derive(Debug)]
pub struct Platform {
    runtime: runtime::Handle,
    system: System,
    system_thread: Option<thread::JoinHandle<io::Result<()>>>,
    arbiters: Mutex<Vec<Arbiter>>,
}

impl Platform {
    /// Starts the actor system. `runtime` is the multi-threaded runtime for guests and everything else that is `Send`.
    ///
    /// # Errors
    ///
    /// Where the thread cannot be started.
    pub fn start(runtime: runtime::Handle) -> Result<Self, StartError> {
        let (tx, rx) = mpsc::sync_channel(1);
        let system_thread = thread::Builder::new()
            .name("ww-system".into())
            .spawn(move || {
                // The system's own way to make it panics.
                let event_loop = match runtime::Builder::new_current_thread().enable_all().build() {
                    Ok(event_loop) => event_loop,
                    // Whoever starts the platform waits, or has given up.
                    Err(error) => return tx.send(Err(error)).map_err(io::Error::other),
                };
                let runner = System::with_tokio_rt(move || event_loop);
                if tx.send(Ok(System::current())).is_err() {
                    return Ok(());
                }
                runner.run()
            })
            .map_err(StartError::Thread)?;
        let system = rx.recv_timeout(START_TIMEOUT).map_err(StartError::Silent)?.map_err(StartError::Loop)?;
        Ok(Self { runtime, system, system_thread: Some(system_thread), arbiters: Mutex::default() })
    }

    /// The runtime for guests.
    pub fn runtime(&self) -> &runtime::Handle {
        &self.runtime
    }

    /// Starts another arbiter: a thread for actors and for what is not `Send`.
    ///
    /// # Errors
    ///
    /// Where the system refuses the thread, or what its event loop needs.
    pub fn arbiter(&self) -> Result<ArbiterHandle, StartError> {
        System::set_current(self.system.clone());
        let arbiter = Arbiter::try_new().map_err(StartError::Arbiter)?;
        let handle = arbiter.handle();
        // A new arbiter takes it.
        let _ = handle.spawn(lend::lender());
        self.arbiters.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(arbiter);
        Ok(handle)
    }

    /// Stops the arbiters, the last one first, then the system, and waits for their threads.
    ///
    /// Blocks; call it from a thread that may.
    pub fn stop(mut self) {
        let arbiters = std::mem::take(&mut *self.arbiters.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        for arbiter in arbiters.into_iter().rev() {
            arbiter.stop();
            if arbiter.join().is_err() {
                tracing::error!("an arbiter ended with a panic");
            }
        }
        self.system.stop();
        match self.system_thread.take().map(thread::JoinHandle::join) {
            Some(Err(_)) => tracing::error!("the thread of the actor system ended with a panic"),
            Some(Ok(Err(error))) => tracing::error!(%error, "the actor system ended with an error"),
            Some(Ok(Ok(()))) | None => {}
        }
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        for arbiter in self.arbiters.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner).drain(..).rev() {
            arbiter.stop();
        }
        self.system.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arbiters_run_what_they_are_given_and_stop() {
        let runtime = runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime starts");
        let platform = Platform::start(runtime.handle().clone()).expect("the platform starts");
        let arbiter = platform.arbiter().expect("a thread starts");
        let (tx, rx) = mpsc::sync_channel(1);
        assert!(arbiter.spawn_fn(move || tx.send(System::try_current().is_some()).expect("the test waits")));
        assert_eq!(rx.recv_timeout(START_TIMEOUT), Ok(true));
        platform.stop();
        assert!(!arbiter.spawn_fn(|| {}), "a stopped arbiter takes nothing");
    }
}
