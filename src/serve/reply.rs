//! A reply on its way to the peer.

use bytes::BytesMut;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use ww_cell::pipe;
use ww_core::{Account, Charge};

use super::pace::Pace;

/// The rest of a reply, held back until it is known to be whole.
pub(super) struct Rest {
    held: BytesMut,
    _charge: Charge,
}

/// Writes a reply as it comes, but for the first `hold` bytes, which wait for more or for its end. Returns what is left to
/// write; `None` where the reply failed, or the peer does not take it any more. An account pays for what is held back
/// beyond a little; where it has no room, nothing more is held.
pub(super) async fn write(
    pace: &Pace,
    (payer, hold): (&Account, usize),
    reply: pipe::Reader,
    to: &mut (impl AsyncWrite + Unpin),
) -> Option<Rest> {
    let (mut held, mut charge) = (BytesMut::new(), Charge::none());
    let mut streaming = false;
    loop {
        match reply.read(usize::MAX).await {
            Ok(bytes) if bytes.is_empty() => return Some(Rest { held, _charge: charge }),
            // Most are read at once, and not copied then.
            Ok(bytes) if held.is_empty() => held = bytes.into(),
            Ok(bytes) => held.extend_from_slice(&bytes),
            Err(_) => return None,
        }
        if !streaming && held.len() > pipe::UNPAID && charge.bytes() == 0 {
            match payer.charge(hold as u64) {
                Ok(paid) => charge = paid,
                Err(_) => streaming = true,
            }
        }
        if streaming || held.len() > hold {
            streaming = true;
            write_all(pace, to, &held).await?;
            pace.wait(to.flush()).await.ok()?.ok()?;
            held.clear();
        }
    }
}

impl Rest {
    /// Writes it, and ends the reply.
    pub(super) async fn end(self, pace: &Pace, to: &mut (impl AsyncWrite + Unpin)) {
        let written = write_all(pace, to, &self.held).await;
        // Which flushes.
        if written.is_none() || pace.wait(to.shutdown()).await.is_err() {
            tracing::debug!("a peer did not take the end of its reply in time");
        }
    }
}

/// `None` where the peer does not take all of it.
async fn write_all(pace: &Pace, to: &mut (impl AsyncWrite + Unpin), mut bytes: &[u8]) -> Option<()> {
    while !bytes.is_empty() {
        let written = pace.wait(to.write(bytes)).await.ok()?.ok().filter(|written| *written > 0)?;
        bytes = &bytes[written..];
    }
    Some(())
}
