//! UnixFS: files and directories as dag-pb nodes (IPFS specifications, "UnixFS").

use std::collections::HashSet;

use bytes::Bytes;
use cid::Cid;
use thiserror::Error;

use super::{
    dagpb::{self, Link, MAX_LINKS},
    hamt,
    protobuf::{Fields, Malformed, Value, varint},
};
use crate::path::{InvalidName, check_name};

/// Codec of blocks that are just bytes (multicodec table).
pub(crate) const RAW: u64 = 0x55;

/// Codec of dag-pb nodes (multicodec table).
pub(crate) const DAG_PB: u64 = 0x70;

/// What a block is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    /// A file, or a part of one.
    File(File),
    /// A directory in one block.
    Directory(Vec<Link>),
    /// A directory in many blocks, or a part of one.
    Shard(hamt::Shard),
    /// A symbolic link.
    Symlink,
}

/// A file, or a part of one: its own bytes, then those of its children.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) inline: Bytes,
    pub(crate) children: Vec<Part>,
    /// Bytes of all of it.
    pub(crate) size: u64,
}

/// A child of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) cid: Cid,
    pub(crate) size: u64,
}

/// A block that is neither a file nor a directory.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Invalid {
    /// Its CID says that it is something else.
    #[error("its codec is 0x{0:x}: expected raw (0x55) or dag-pb (0x70)")]
    Codec(u64),
    /// It is no dag-pb node.
    #[error(transparent)]
    Node(#[from] dagpb::Invalid),
    /// Its data is no message.
    #[error(transparent)]
    Protobuf(#[from] Malformed),
    /// Its data is another message.
    #[error("it is no UnixFS node: {0}")]
    Data(&'static str),
    /// It is of a type that is not known here.
    #[error("it is a UnixFS node of type {0}: expected a file or a directory")]
    Type(u64),
    /// A name in it could mean something else than a file in the directory.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// Two entries have one name.
    #[error("the directory has two entries {0:?}")]
    Twice(String),
    /// It is a shard that cannot be searched.
    #[error(transparent)]
    Shard(#[from] hamt::Invalid),
}

/// Reads a block. `codec` is that of the CID that named it.
pub(crate) fn decode(codec: u64, block: &Bytes) -> Result<Node, Invalid> {
    match codec {
        RAW => Ok(Node::File(File { inline: block.clone(), children: Vec::new(), size: block.len() as u64 })),
        DAG_PB => decode_node(dagpb::decode(block)?),
        codec => Err(Invalid::Codec(codec)),
    }
}

fn decode_node(node: dagpb::Node) -> Result<Node, Invalid> {
    let data = Data::decode(&node.data.ok_or(Invalid::Data("it has no data"))?)?;
    match data.kind {
        Some(0 | 2) => data.file(node.links).map(Node::File),
        Some(1) => directory(node.links).map(Node::Directory),
        Some(4) => Ok(Node::Symlink),
        Some(5) => Ok(Node::Shard(hamt::Shard::new(data.hash, data.fanout, node.links)?)),
        Some(kind) => Err(Invalid::Type(kind)),
        None => Err(Invalid::Data("it has no type")),
    }
}

fn directory(links: Vec<Link>) -> Result<Vec<Link>, Invalid> {
    let mut names = HashSet::with_capacity(links.len());
    for link in &links {
        check_name(&link.name)?;
        if !names.insert(link.name.as_str()) {
            return Err(Invalid::Twice(link.name.clone()));
        }
    }
    Ok(links)
}

/// The message inside the node.
#[derive(Default)]
struct Data {
    kind: Option<u64>,
    bytes: Bytes,
    size: Option<u64>,
    sizes: Vec<u64>,
    hash: Option<u64>,
    fanout: Option<u64>,
}

impl Data {
    fn decode(message: &Bytes) -> Result<Self, Invalid> {
        let mut data = Self::default();
        for field in Fields::new(message) {
            match field? {
                (1, Value::Varint(kind)) => data.kind = Some(kind),
                (2, Value::Bytes(bytes)) => data.bytes = message.slice_ref(bytes),
                (3, Value::Varint(size)) => data.size = Some(size),
                (4, Value::Varint(size)) => data.push_size(size)?,
                (4, Value::Bytes(mut packed)) => {
                    while !packed.is_empty() {
                        data.push_size(varint(&mut packed)?)?;
                    }
                }
                (5, Value::Varint(hash)) => data.hash = Some(hash),
                (6, Value::Varint(fanout)) => data.fanout = Some(fanout),
                (1..=6, _) => return Err(Invalid::Data("a field has the wrong type")),
                // Mode and time of a file, and whatever a later version adds.
                _ => {}
            }
        }
        Ok(data)
    }

    fn push_size(&mut self, size: u64) -> Result<(), Invalid> {
        if self.sizes.len() == MAX_LINKS {
            return Err(Invalid::Data("it has more sizes than a node has links"));
        }
        self.sizes.push(size);
        Ok(())
    }

    fn file(self, links: Vec<Link>) -> Result<File, Invalid> {
        if links.len() != self.sizes.len() {
            return Err(Invalid::Data("it has not one size for each link"));
        }
        let sum = self.sizes.iter().try_fold(self.bytes.len() as u64, |sum, size| sum.checked_add(*size));
        let size = sum.ok_or(Invalid::Data("its sizes add up to more than any file has"))?;
        if self.size.is_some_and(|stated| stated != size) {
            return Err(Invalid::Data("its size is not the sum of its parts"));
        }
        let children = links.into_iter().zip(self.sizes).map(|(link, size)| Part { cid: link.cid, size }).collect();
        Ok(File { inline: self.bytes, children, size })
    }
}

#[cfg(test)]
mod tests;
