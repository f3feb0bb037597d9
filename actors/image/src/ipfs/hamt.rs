//! Directories that are too large for one block: a hash array mapped trie over the names
//! (IPFS specifications, "UnixFS", HAMT-sharded directories).
//!
//! A shard has `fanout` slots. The links of its occupied slots start with the number of the slot in hexadecimal; what
//! follows is the name of an entry, or nothing for another shard. Each level takes the next bits of the name's hash.

use cid::Cid;
use thiserror::Error;

use super::dagpb::Link;
use crate::path::{InvalidName, check_name};

/// Multihash code of the only hash function in use: the first 64 bits of murmur3-x64-128 (multicodec table).
const MURMUR3: u64 = 0x22;

/// Largest number of slots in use; what the reference implementations accept.
const MAX_FANOUT: u64 = 1_024;

/// One shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shard {
    /// Bits of the hash that choose the slot.
    bits: u32,
    links: Vec<Link>,
}

/// What is in the slot of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// The entry of that name.
    Entry(Cid),
    /// Another shard, to be asked with the next level.
    Shard(Cid),
    /// Nothing, or the entry of another name.
    Other,
}

/// A shard that cannot be searched.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Invalid {
    /// Its names are hashed in another way.
    #[error("the sharded directory uses the hash function {0:x?}: expected murmur3-x64-64 (0x22)")]
    Hash(Option<u64>),
    /// It has a strange number of slots.
    #[error("the sharded directory has {0:?} slots: expected a power of two from 8 to {MAX_FANOUT}")]
    Fanout(Option<u64>),
    /// A link does not start with the number of a slot.
    #[error("a link of the sharded directory does not start with the number of a slot: {0:?}")]
    Slot(String),
    /// A name in it could mean something else than a file in the directory.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// Shards below shards use up all bits of the hash.
    #[error("the sharded directory is deeper than its hashes are long")]
    Depth,
}

impl Shard {
    pub(crate) fn new(hash: Option<u64>, fanout: Option<u64>, links: Vec<Link>) -> Result<Self, Invalid> {
        if hash != Some(MURMUR3) {
            return Err(Invalid::Hash(hash));
        }
        let bits = match fanout {
            Some(fanout @ 8..=MAX_FANOUT) if fanout.is_power_of_two() => fanout.trailing_zeros(),
            fanout => return Err(Invalid::Fanout(fanout)),
        };
        let shard = Self { bits, links };
        for link in &shard.links {
            let name = shard.split(&link.name).ok_or_else(|| Invalid::Slot(link.name.clone()))?.1;
            if !name.is_empty() {
                check_name(name)?;
            }
        }
        Ok(shard)
    }

    /// Looks a name up. `level` is 0 for the directory itself, and one more for each shard below.
    pub(crate) fn find(&self, name: &str, level: u32) -> Result<Slot, Invalid> {
        let used = level.saturating_mul(self.bits);
        if used + self.bits > u64::BITS {
            return Err(Invalid::Depth);
        }
        let slot = (hash(name.as_bytes()) << used) >> (u64::BITS - self.bits);
        for link in &self.links {
            match self.split(&link.name) {
                Some((number, "")) if number == slot => return Ok(Slot::Shard(link.cid)),
                Some((number, entry)) if number == slot && entry == name => return Ok(Slot::Entry(link.cid)),
                _ => {}
            }
        }
        Ok(Slot::Other)
    }

    /// Number of the slot, and what follows.
    fn split<'a>(&self, link: &'a str) -> Option<(u64, &'a str)> {
        let digits = self.bits.div_ceil(4) as usize;
        let (number, name) = link.split_at_checked(digits)?;
        let number = u64::from_str_radix(number, 16).ok().filter(|_| number.bytes().all(|b| b.is_ascii_hexdigit()))?;
        (number < 1 << self.bits).then_some((number, name))
    }
}

/// The first 64 bits of murmur3-x64-128 with seed 0 (Austin Appleby, `MurmurHash3.cpp`).
fn hash(bytes: &[u8]) -> u64 {
    const C1: u64 = 0x87c3_7b91_1142_53d5;
    const C2: u64 = 0x4cf5_ad43_2745_937f;
    let first = |k: u64| k.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2);
    let second = |k: u64| k.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1);
    let finish = |mut k: u64| {
        k = (k ^ (k >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        k = (k ^ (k >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        k ^ (k >> 33)
    };

    let (mut h1, mut h2) = (0u64, 0u64);
    let mut blocks = bytes.chunks_exact(16);
    for block in &mut blocks {
        let (k1, k2) = halves(block);
        h1 = (h1 ^ first(k1)).rotate_left(27).wrapping_add(h2).wrapping_mul(5).wrapping_add(0x52dc_e729);
        h2 = (h2 ^ second(k2)).rotate_left(31).wrapping_add(h1).wrapping_mul(5).wrapping_add(0x3849_5ab5);
    }
    let (k1, k2) = halves(blocks.remainder());
    h1 ^= first(k1);
    h2 ^= second(k2);

    let length = bytes.len() as u64;
    h1 ^= length;
    h2 ^= length;
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    finish(h1).wrapping_add(finish(h2))
}

/// Up to 16 bytes as two numbers, filled up with zeros.
fn halves(bytes: &[u8]) -> (u64, u64) {
    let mut padded = [0; 16];
    padded[..bytes.len()].copy_from_slice(bytes);
    let both = u128::from_le_bytes(padded);
    (both as u64, (both >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::dag;

    #[test]
    fn the_hash_is_murmur3() {
        // Test values of the Go implementation that IPFS uses (twmb/murmur3).
        assert_eq!(hash(b""), 0);
        assert_eq!(hash(b"hello"), 0xcbd8_a7b3_41bd_9b02);
        assert_eq!(hash(b"hello, world"), 0x342f_ac62_3a5e_bc8e);
        assert_eq!(hash(b"19 Jan 2038 at 3:14:07 AM"), 0xb89e_5988_b737_affc);
        assert_eq!(hash(b"The quick brown fox jumps over the lazy dog."), 0xcd99_481f_9ee9_02c9);
    }

    #[test]
    fn strange_shards_are_refused() {
        let cid = dag::raw(b"x").cid;
        let link = |name: &str| Link { name: name.into(), cid };
        let shard =
            |names: &[&str]| Shard::new(Some(MURMUR3), Some(256), names.iter().map(|name| link(name)).collect());
        assert!(shard(&["00", "1Fname", "ffname"]).is_ok());
        assert!(matches!(shard(&["0"]), Err(Invalid::Slot(_))));
        assert!(matches!(shard(&["+1name"]), Err(Invalid::Slot(_))));
        assert!(matches!(shard(&["0€"]), Err(Invalid::Slot(_))));
        assert!(matches!(shard(&["00.."]), Err(Invalid::Name(_))));
        assert!(matches!(shard(&["00a/b"]), Err(Invalid::Name(_))));
        assert_eq!(Shard::new(Some(0x12), Some(256), vec![]), Err(Invalid::Hash(Some(0x12))));
        for fanout in [None, Some(0), Some(4), Some(100), Some(2_048), Some(u64::MAX)] {
            assert_eq!(Shard::new(Some(MURMUR3), fanout, vec![]), Err(Invalid::Fanout(fanout)));
        }
        let empty = shard(&[]).expect("a shard");
        assert_eq!(empty.find("name", 7), Ok(Slot::Other));
        assert_eq!(empty.find("name", 8), Err(Invalid::Depth));
    }
}
