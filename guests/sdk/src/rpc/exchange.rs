//! Messages to other cells.

use std::time::Duration;

use capnp::Error;
use ww_schema::{cell_capnp::exchange, peer_capnp::host};

use super::{Address, ByteStream};

/// One message on its way: its body, its reply, and what became of it. Dropping it and its streams gives it up.
#[derive(Clone)]
pub struct Exchange {
    client: exchange::Client,
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It was answered: the reply is whole.
    Ok,
    /// The cell returned this error.
    Failed(String),
    /// The cell ended, or the connection to it was lost, before it had answered.
    Ended {
        /// The exit code that stands for the reason.
        code: u8,
        /// The reason.
        reason: String,
    },
    /// Nobody began it, or the time is over: a word and the reason, as in `busy: …`, `timeout: …`, `no-such-cell: …`.
    Refused(String),
}

impl Exchange {
    /// Opens a message to the cell that a node publishes under a name.
    ///
    /// The deadline is that of the whole exchange, in milliseconds up to 2^32 - 1, and travels with the message; `None`
    /// for as long as it takes.
    ///
    /// # Errors
    ///
    /// Where the caller may not dial, has too many messages under way, or the peer cannot be reached.
    pub async fn dial(host: &host::Client, to: &Address, deadline: Option<Duration>) -> Result<Self, Error> {
        let mut request = host.dial_request();
        let mut params = request.get();
        params.set_peer_id(&to.peer_id);
        params.set_name(&*to.name);
        params.set_deadline(deadline.map_or(0, |left| u32::try_from(left.as_millis()).unwrap_or(u32::MAX).max(1)));
        let mut list = params.init_addrs(to.addrs.len() as u32);
        for (index, addr) in (0..).zip(&to.addrs) {
            list.set(index, addr);
        }
        let response = request.send().promise.await?;
        Ok(response.get()?.get_exchange()?.into())
    }

    /// The writing end of the body. Close it, or the cell waits for more.
    pub fn request(&self) -> ByteStream {
        self.client.request_request().send().pipeline.get_stream().into()
    }

    /// The reading end of the reply. Its end is an error, unless the reply is whole.
    pub fn reply(&self) -> ByteStream {
        self.client.reply_request().send().pipeline.get_stream().into()
    }

    /// Waits until the message was answered, failed or refused. The reply has to be read meanwhile.
    ///
    /// # Errors
    ///
    /// Where the connection to the node is broken.
    pub async fn outcome(&self) -> Result<Outcome, Error> {
        use exchange::outcome::Which;

        let response = self.client.outcome_request().send().promise.await?;
        let outcome = response.get()?.get_outcome()?;
        Ok(match outcome.which()? {
            Which::Ok(()) => Outcome::Ok,
            Which::Failed(error) => Outcome::Failed(error?.to_string()?),
            Which::Ended(reason) => {
                let reason = reason?;
                Outcome::Ended { code: reason.get_code(), reason: reason.get_text()?.to_string()? }
            }
            Which::Refused(why) => Outcome::Refused(why?.to_string()?),
        })
    }

    /// The generated client.
    pub fn client(&self) -> &exchange::Client {
        &self.client
    }
}

impl From<exchange::Client> for Exchange {
    fn from(client: exchange::Client) -> Self {
        Self { client }
    }
}
