//! Whether bytes are what a CID names.

use cid::Cid;
use multihash_codetable::{Code, MultihashDigest};
use thiserror::Error;

/// Multihash code of "the digest is the data itself" (multicodec table).
const IDENTITY: u64 = 0x00;

/// Bytes that cannot be trusted.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Untrusted {
    /// They are something else than what was asked for.
    #[error("the bytes served for the block {expected} are not that block: they hash to {found}")]
    Mismatch {
        /// The block that was asked for.
        expected: Box<Cid>,
        /// The CID that the bytes would have.
        found: Box<Cid>,
    },
    /// Nothing can be said about them.
    #[error(
        "the block {cid} is named by the hash function 0x{code:x} with {size} bytes, which cannot be verified: expected sha2-256, sha2-512 or blake3, whole, or identity"
    )]
    Hash {
        /// The block.
        cid: Box<Cid>,
        /// The multihash code.
        code: u64,
        /// The length of the digest.
        size: u8,
    },
}

/// The block that a CID carries in itself.
pub(crate) fn inline(cid: &Cid) -> Option<&[u8]> {
    (cid.hash().code() == IDENTITY).then(|| cid.hash().digest())
}

/// Checks that the hash of a CID is one that proves something.
pub(crate) fn supported(cid: &Cid) -> Result<(), Untrusted> {
    hasher(cid).map(|_| ())
}

/// Checks that a block is the one that a CID names.
pub(crate) fn check(cid: &Cid, block: &[u8]) -> Result<(), Untrusted> {
    let found = match hasher(cid)? {
        Some(code) => code.digest(block),
        None if inline(cid) == Some(block) => return Ok(()),
        None => Code::Sha2_256.digest(block),
    };
    if &found == cid.hash() {
        return Ok(());
    }
    Err(Untrusted::Mismatch { expected: (*cid).into(), found: Cid::new_v1(cid.codec(), found).into() })
}

/// The hash function of a CID, `None` for identity. A cut digest proves less than it seems to, so it counts as unknown.
fn hasher(cid: &Cid) -> Result<Option<Code>, Untrusted> {
    let (code, size) = (cid.hash().code(), cid.hash().size());
    match (Code::try_from(code), size) {
        _ if code == IDENTITY => Ok(None),
        (Ok(hasher @ (Code::Sha2_256 | Code::Blake3_256)), 32) | (Ok(hasher @ Code::Sha2_512), 64) => Ok(Some(hasher)),
        _ => Err(Untrusted::Hash { cid: (*cid).into(), code, size }),
    }
}

#[cfg(test)]
mod tests {
    use cid::multihash::Multihash;

    use super::*;

    /// Codec of blocks that are just bytes.
    const RAW: u64 = 0x55;

    #[test]
    fn a_block_is_what_its_cid_names() {
        for code in [Code::Sha2_256, Code::Sha2_512, Code::Blake3_256] {
            let cid = Cid::new_v1(RAW, code.digest(b"block"));
            assert_eq!(check(&cid, b"block"), Ok(()));
            let found = Cid::new_v1(RAW, code.digest(b"blocK"));
            assert_eq!(check(&cid, b"blocK"), Err(Untrusted::Mismatch { expected: cid.into(), found: found.into() }));
        }
        let identity = Cid::new_v1(RAW, Multihash::wrap(IDENTITY, b"block").expect("short"));
        assert_eq!(inline(&identity), Some(b"block".as_slice()));
        assert_eq!(check(&identity, b"block"), Ok(()));
        assert!(matches!(check(&identity, b"blocK"), Err(Untrusted::Mismatch { .. })));
    }

    #[test]
    fn weak_and_unknown_hashes_prove_nothing() {
        let cut = Cid::new_v1(RAW, Code::Sha2_256.digest(b"block").truncate(4));
        let empty = Cid::new_v1(RAW, Code::Sha2_256.digest(b"block").truncate(0));
        let unknown = Cid::new_v1(RAW, Multihash::wrap(0x11, &[0; 20]).expect("short"));
        for cid in [cut, empty, unknown] {
            assert!(matches!(check(&cid, b"block"), Err(Untrusted::Hash { .. })), "{cid}");
            assert!(supported(&cid).is_err(), "{cid}");
        }
    }
}
