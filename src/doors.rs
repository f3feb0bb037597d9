//! Whether a node serves its clients: they may come before, and wait.
//!
//! So what a node is started for is there from the first moment that a client can look for it. Held by the node; those who
//! accept clients wait at it. It opens once, and stays open.

use tokio::sync::watch;

/// The doors of a node, closed at first.
#[derive(Default)]
pub(crate) struct Doors(watch::Sender<bool>);

/// Learns that they are open. Clones learn the same.
#[derive(Clone)]
pub(crate) struct Opened(watch::Receiver<bool>);

impl Doors {
    /// Lets in those who wait, and those who come.
    pub(crate) fn open(&self) {
        self.0.send_replace(true);
    }

    pub(crate) fn opened(&self) -> Opened {
        Opened(self.0.subscribe())
    }
}

impl Opened {
    /// Waits until they are open; for ever, if the node ends before. Cancel safe.
    pub(crate) async fn wait(&mut self) {
        if self.0.wait_for(|open| *open).await.is_err() {
            std::future::pending().await
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn those_who_come_wait_until_the_doors_are_open() {
        let doors = Doors::default();
        let mut early = doors.opened();
        assert!(early.wait().now_or_never().is_none());
        doors.open();
        doors.open();
        assert!(early.wait().now_or_never().is_some());
        assert!(doors.opened().wait().now_or_never().is_some(), "they stay open");
        let never = Doors::default().opened().wait().now_or_never();
        assert!(never.is_none(), "a node that ends lets nobody in");
    }
}
