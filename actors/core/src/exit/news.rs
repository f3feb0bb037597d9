//! How the news of an end travels: to whoever waits, and to whoever has something to do about it.

use std::{
    fmt, mem,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use tokio::sync::Notify;

use super::Reason;

/// Announces the end of one incarnation. One that is dropped without a word counts as a fault of the node.
#[derive(Debug)]
pub struct Notifier(Arc<News>);

/// Learns of the end of one incarnation, now or later, any number of times.
#[derive(Clone, Debug)]
pub struct Watch(Arc<News>);

#[derive(Default)]
struct News {
    reason: OnceLock<Reason>,
    told: Notify,
    then: Mutex<Vec<Then>>,
}

/// What is done at the end.
type Then = Box<dyn FnOnce(Reason) + Send>;

/// Makes the two ends of the news of one incarnation's end.
pub fn channel() -> (Notifier, Watch) {
    let news = Arc::<News>::default();
    (Notifier(Arc::clone(&news)), Watch(news))
}

impl Notifier {
    /// Announces the end.
    pub fn notify(self, reason: Reason) {
        self.0.tell(reason);
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        if self.0.reason.get().is_none() {
            self.0.tell(Reason::host_fault("the cell was lost without an exit reason"));
        }
    }
}

impl Watch {
    /// A watch of an incarnation that has ended already.
    pub fn ended(reason: Reason) -> Self {
        let (tx, rx) = channel();
        tx.notify(reason);
        rx
    }

    /// The reason, if it has ended.
    pub fn reason(&self) -> Option<Reason> {
        self.0.reason.get().cloned()
    }

    /// Waits for the end. Cancel safe.
    pub async fn wait(&self) -> Reason {
        loop {
            if let Some(reason) = self.reason() {
                return reason;
            }
            let mut told = pin!(self.0.told.notified());
            // Before another look at the reason, so that an end between the two is not missed.
            told.as_mut().enable();
            if self.0.reason.get().is_none() {
                told.await;
            }
        }
    }

    /// Does something at the end, in the thread that announces it, after those who wait have been woken; at once, if it is over.
    /// It must not wait.
    pub fn then(&self, what: impl FnOnce(Reason) + Send + 'static) {
        let mut then = self.0.then();
        match self.reason() {
            None => then.push(Box::new(what)),
            Some(reason) => {
                drop(then);
                what(reason);
            }
        }
    }
}

impl News {
    fn tell(&self, reason: Reason) {
        // There is one notifier, which tells once.
        let _ = self.reason.set(reason.clone());
        self.told.notify_waiters();
        let then = mem::take(&mut *self.then());
        then.into_iter().for_each(|then| then(reason.clone()));
    }

    fn then(&self) -> MutexGuard<'_, Vec<Then>> {
        // Nothing panics while the lock is held.
        self.then.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("News").field("reason", &self.reason.get()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn the_end_is_news_to_any_number_of_waiters_at_any_time() {
        let (tx, rx) = channel();
        assert_eq!(rx.reason(), None);
        let early = rx.clone();
        let waiting = async move { early.wait().await };
        let telling = async move { tx.notify(Reason::Exit(3)) };
        assert_eq!(tokio::join!(waiting, telling).0, Reason::Exit(3));
        assert_eq!(rx.wait().await, Reason::Exit(3));
        assert_eq!(rx.clone().wait().await, Reason::Exit(3));
    }

    #[tokio::test]
    async fn a_lost_notifier_is_a_host_fault() {
        let (tx, rx) = channel();
        drop(tx);
        assert!(matches!(rx.wait().await, Reason::HostFault(_)));
    }

    #[test]
    fn what_is_to_be_done_at_the_end_is_done_once_before_or_after_it_was_asked_for() {
        let (tx, rx) = channel();
        let (done, reasons) = mpsc::channel();
        let later = done.clone();
        rx.then(move |reason| later.send(("later", reason)).expect("the test waits"));
        assert!(reasons.try_recv().is_err(), "nothing has ended");
        tx.notify(Reason::Killed);
        rx.then(move |reason| done.send(("at once", reason)).expect("the test waits"));
        assert_eq!(reasons.iter().collect::<Vec<_>>(), [("later", Reason::Killed), ("at once", Reason::Killed)]);
    }
}
