//! Putting a file together from the blocks of a CAR file.
//!
//! Blocks are taken only if the root or a block before them named them: whoever sends the file cannot make the node
//! keep anything else. Once the last one is there, the rest of the file is not read. At its end this holds the file
//! twice: in blocks, and as a whole.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use cid::{Cid, multihash::Multihash};
use futures::io::AsyncRead;
use thiserror::Error;

use super::{
    car::{self, Block, Reader},
    unixfs::{self, DAG_PB, File, Node, Part, RAW},
    verify::{self, Untrusted},
};

/// Most blocks of one file, and most visits to them: the largest program in chunks of a kilobyte.
pub(crate) const MAX_BLOCKS: usize = 1 << 18;

/// Most levels of one file: four hold a terabyte in chunks of the usual size.
pub(crate) const MAX_DEPTH: usize = 32;

/// What identifies a block: the same bytes can be read with either codec.
type Key = (u64, Multihash<64>);

/// Why a file cannot be put together.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Invalid {
    /// The CAR file is not valid.
    #[error(transparent)]
    Car(#[from] car::Invalid),
    /// It is about something else.
    #[error("the daemon sent a CAR file with the roots {found:?}: expected {expected}")]
    Root {
        /// What was asked for.
        expected: Box<Cid>,
        /// What the header says.
        found: Vec<String>,
    },
    /// It has a block that belongs to nothing before it.
    #[error("the daemon sent the block {0}, which is no part of what was asked for")]
    Unasked(Cid),
    /// It lacks a block.
    #[error("the CAR file ends without the block {0}: the daemon does not have it, or did not send all")]
    Incomplete(Cid),
    /// A block names one that cannot be verified.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// A block is no part of a file.
    #[error("the block {cid} is no part of a file: {error}")]
    Block {
        /// The block.
        cid: Box<Cid>,
        /// What is wrong with it.
        error: unixfs::Invalid,
    },
    /// A block is a directory or a link.
    #[error("the block {cid} is {found}: expected a part of a file")]
    NotAPart {
        /// The block.
        cid: Box<Cid>,
        /// What it is.
        found: &'static str,
    },
    /// A block is longer or shorter than what names it says.
    #[error("the block {cid} stands for {found} bytes: expected {expected}")]
    Size {
        /// The block.
        cid: Box<Cid>,
        /// What the block above it says.
        expected: u64,
        /// What it says itself.
        found: u64,
    },
    /// There are too many blocks.
    #[error("the file has more than {MAX_BLOCKS} blocks")]
    Blocks,
    /// They are nested too deep.
    #[error("the file has more than {MAX_DEPTH} levels of blocks")]
    Depth,
    /// It is no file.
    #[error("expected a file, found {0}")]
    NotAFile(&'static str),
    /// It is too large.
    #[error("the file has {size} bytes, at most {most} are read")]
    TooLarge {
        /// Its size.
        size: u64,
        /// Most bytes that are read.
        most: u64,
    },
}

/// Reads the file `root` of at most `most` bytes from a CAR file.
pub(crate) async fn read<R: AsyncRead + Unpin>(root: &Cid, car: &mut Reader<R>, most: u64) -> Result<Bytes, Invalid> {
    if car.roots().len() != 1 || car.roots()[0].hash() != root.hash() {
        let found = car.roots().iter().map(Cid::to_string).collect();
        return Err(Invalid::Root { expected: (*root).into(), found });
    }
    let mut blocks = Blocks { root: *root, most, parts: HashMap::new(), wanted: HashSet::new() };
    blocks.want(root)?;
    while !blocks.wanted.is_empty() {
        let Some(block) = car.next().await? else { return Err(Invalid::Incomplete(blocks.any_wanted())) };
        blocks.take(&block)?;
    }
    blocks.assemble()
}

/// The blocks of one file, as far as they have come.
struct Blocks {
    root: Cid,
    most: u64,
    parts: HashMap<Key, File>,
    wanted: HashSet<Key>,
}

impl Blocks {
    /// Notes that a block is needed, or takes it from its own CID.
    fn want(&mut self, cid: &Cid) -> Result<(), Invalid> {
        verify::supported(cid)?;
        if ![RAW, DAG_PB].contains(&cid.codec()) {
            return Err(Invalid::Block { cid: (*cid).into(), error: unixfs::Invalid::Codec(cid.codec()) });
        }
        if self.parts.contains_key(&key(cid)) {
            return Ok(());
        }
        if self.parts.len() + self.wanted.len() >= MAX_BLOCKS {
            return Err(Invalid::Blocks);
        }
        self.wanted.insert(key(cid));
        if let Some(data) = verify::inline(cid) {
            // Its depth is bounded by its length: a CID that carries another one is longer than it.
            self.take(&Block { cid: *cid, data: Bytes::copy_from_slice(data) })?;
        }
        Ok(())
    }

    fn take(&mut self, block: &Block) -> Result<(), Invalid> {
        let mut asked = false;
        for codec in [RAW, DAG_PB] {
            let key = (codec, *block.cid.hash());
            asked |= self.parts.contains_key(&key);
            if !self.wanted.remove(&key) {
                continue;
            }
            asked = true;
            let cid = Cid::new_v1(codec, *block.cid.hash());
            let part = self.part(&cid, &block.data)?;
            let children: Vec<Cid> = part.children.iter().map(|child| child.cid).collect();
            self.parts.insert(key, part);
            for child in children {
                self.want(&child)?;
            }
        }
        if asked { Ok(()) } else { Err(Invalid::Unasked(block.cid)) }
    }

    fn part(&self, cid: &Cid, data: &Bytes) -> Result<File, Invalid> {
        let node = unixfs::decode(cid.codec(), data).map_err(|error| Invalid::Block { cid: (*cid).into(), error })?;
        let is_root = key(cid) == key(&self.root);
        let found = match node {
            Node::File(file) if is_root && file.size > self.most => {
                return Err(Invalid::TooLarge { size: file.size, most: self.most });
            }
            Node::File(file) => return Ok(file),
            Node::Directory(_) | Node::Shard(_) => "a directory",
            Node::Symlink => super::SYMLINK,
        };
        Err(if is_root { Invalid::NotAFile(found) } else { Invalid::NotAPart { cid: (*cid).into(), found } })
    }

    /// Walks from the root, once all blocks are there.
    fn assemble(&self) -> Result<Bytes, Invalid> {
        let size = self.parts.get(&key(&self.root)).map_or(0, |file| file.size);
        // At most `most`, and each part is checked to have the size that is stated for it.
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        let mut visits = 0;
        let mut stack = vec![(0, Part { cid: self.root, size })];
        while let Some((depth, Part { cid, size: expected })) = stack.pop() {
            visits += 1;
            if visits > MAX_BLOCKS {
                return Err(Invalid::Blocks);
            }
            if depth == MAX_DEPTH {
                return Err(Invalid::Depth);
            }
            let part = self.parts.get(&key(&cid)).ok_or(Invalid::Incomplete(cid))?;
            if part.size != expected {
                return Err(Invalid::Size { cid: cid.into(), expected, found: part.size });
            }
            bytes.extend_from_slice(&part.inline);
            if stack.len() + part.children.len() > MAX_BLOCKS {
                return Err(Invalid::Blocks);
            }
            stack.extend(part.children.iter().rev().map(|child| (depth + 1, child.clone())));
        }
        Ok(bytes.into())
    }

    fn any_wanted(&self) -> Cid {
        self.wanted.iter().next().map_or(self.root, |(codec, hash)| Cid::new_v1(*codec, *hash))
    }
}

fn key(cid: &Cid) -> Key {
    (cid.codec(), *cid.hash())
}

#[cfg(test)]
mod tests;
