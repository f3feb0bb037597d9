//! What the tests of this crate share.

use std::{future::Future, time::Duration};

use tokio::time::timeout;
use ww_core::Platform;

use crate::{Config, Identity, Net, StartError};

/// Longer than anything here takes on a busy machine: what is not true by then never will be.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const TCP: &str = "/ip4/127.0.0.1/tcp/0";
pub(crate) const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";

/// Nodes that live on one platform.
pub(crate) struct Room {
    pub(crate) platform: Platform,
}

impl Room {
    pub(crate) fn new() -> Self {
        Self { platform: Platform::start(tokio::runtime::Handle::current()).unwrap() }
    }

    pub(crate) async fn try_start(&self, config: Config) -> Result<Net, StartError> {
        Net::start(config, Identity::ephemeral(), &self.platform.arbiter().expect("a thread starts")).await
    }

    pub(crate) async fn net(&self, listen: &[&str]) -> Net {
        self.try_start(listening(listen)).await.unwrap()
    }
}

pub(crate) fn listening(addrs: &[&str]) -> Config {
    Config { listen: addrs.iter().map(|addr| addr.parse().unwrap()).collect(), ..Config::default() }
}

/// Asks again and again, each time with a round trip through the actor, until the answer is good.
pub(crate) async fn until<T, F: Future<Output = T>>(mut ask: impl FnMut() -> F, mut good: impl FnMut(&T) -> bool) -> T {
    let asking = async {
        loop {
            let answer = ask().await;
            if good(&answer) {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, asking).await.expect("the answer becomes good")
}
