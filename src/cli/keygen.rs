//! `ww keygen`: makes an identity.

use std::path::PathBuf;

use ww_net::Identity;

use super::{Failure, code};

/// Make an identity key for a node
///
/// Writes a new Ed25519 key to FILE, which only its owner can read, and prints the peer id that goes with it.
/// Never overwrites a file.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to write the key
    file: PathBuf,
}

pub(super) fn keygen(args: &Args) -> Result<u8, Failure> {
    let identity = Identity::generate_to(&args.file).map_err(|error| Failure::new(code::CONFIG, &error))?;
    super::print(&format!("{}\n", identity.peer_id()))?;
    Ok(code::OK)
}
