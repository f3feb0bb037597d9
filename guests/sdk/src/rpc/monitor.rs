//! Being told of the end of a process.

use std::{cell::RefCell, rc::Rc};

use capnp::Error;
use futures::channel::oneshot;
use ww_schema::cell_capnp::{monitor, observer};

/// Learns once of the end of a process. Dropping it takes the monitor back.
pub struct Monitor {
    told: oneshot::Receiver<Down>,
    _client: monitor::Client,
}

/// The end of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Down {
    /// Which cell, by its id on its node; 0 where that was never learned.
    pub cell: u64,
    /// The exit code that stands for the reason: 69 also for a process that had ended before, or is out of reach.
    pub code: u8,
    /// The reason.
    pub reason: String,
}

struct Observer(RefCell<Option<oneshot::Sender<Down>>>);

/// An observer to be handed over, and where it tells what it is told.
pub(super) fn observer() -> (observer::Client, oneshot::Receiver<Down>) {
    let (tx, told) = oneshot::channel();
    (capnp_rpc::new_client(Observer(Some(tx).into())), told)
}

impl Monitor {
    pub(super) fn new(told: oneshot::Receiver<Down>, client: monitor::Client) -> Self {
        Self { told, _client: client }
    }

    /// Waits for the end.
    ///
    /// # Errors
    ///
    /// Where the connection to the caller's own node is broken.
    pub async fn down(self) -> Result<Down, Error> {
        self.told.await.map_err(|_| Error::disconnected("nobody is left to tell of the end".to_owned()))
    }
}

impl observer::Server for Observer {
    async fn down(self: Rc<Self>, params: observer::DownParams, _: observer::DownResults) -> Result<(), Error> {
        let params = params.get()?;
        let reason = params.get_reason()?;
        let down = Down { cell: params.get_cell(), code: reason.get_code(), reason: reason.get_text()?.to_string()? };
        if let Some(tell) = self.0.take() {
            // Whoever waited may have stopped.
            let _ = tell.send(down);
        }
        Ok(())
    }
}
