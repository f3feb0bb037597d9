//! Writing what the crate reads: blocks, nodes and CAR files, also those that no honest program writes.

use bytes::Bytes;
use cid::Cid;
use multihash_codetable::{Code, MultihashDigest};
use unsigned_varint::encode;

pub(crate) use crate::ipfs::car::Block;
use crate::ipfs::unixfs::{DAG_PB, RAW};

/// Types of UnixFS nodes.
pub(crate) const DIRECTORY: u64 = 1;
pub(crate) const FILE: u64 = 2;
pub(crate) const SYMLINK: u64 = 4;
pub(crate) const SHARD: u64 = 5;

/// A part of a file to be linked to: its CID and its size.
pub(crate) type Part = (Cid, u64);

/// A block that is just bytes.
pub(crate) fn raw(data: &[u8]) -> Block {
    block(RAW, data.to_vec())
}

/// A block of any codec.
pub(crate) fn block(codec: u64, data: Vec<u8>) -> Block {
    Block { cid: Cid::new_v1(codec, Code::Sha2_256.digest(&data)), data: data.into() }
}

/// A dag-pb node.
pub(crate) fn node(links: &[(&str, Cid)], data: Option<&[u8]>) -> Block {
    let mut bytes = Vec::new();
    for (name, cid) in links {
        let mut link = Vec::new();
        field(&mut link, 1, &cid.to_bytes());
        field(&mut link, 2, name.as_bytes());
        number(&mut link, 3, 0);
        field(&mut bytes, 2, &link);
    }
    if let Some(data) = data {
        field(&mut bytes, 1, data);
    }
    block(DAG_PB, bytes)
}

/// A directory.
pub(crate) fn directory(entries: &[(&str, Cid)]) -> Block {
    node(entries, Some(&data(DIRECTORY, b"", None, &[])))
}

/// A file of parts.
pub(crate) fn file(inline: &[u8], parts: &[Part]) -> Block {
    let sizes: Vec<u64> = parts.iter().map(|(_, size)| *size).collect();
    let links: Vec<_> = parts.iter().map(|(cid, _)| ("", *cid)).collect();
    let size = sizes.iter().fold(inline.len() as u64, |sum, size| sum.wrapping_add(*size));
    node(&links, Some(&data(FILE, inline, Some(size), &sizes)))
}

/// The data of a UnixFS node.
pub(crate) fn data(kind: u64, inline: &[u8], size: Option<u64>, sizes: &[u64]) -> Vec<u8> {
    let mut bytes = Vec::new();
    number(&mut bytes, 1, kind);
    if !inline.is_empty() {
        field(&mut bytes, 2, inline);
    }
    if let Some(size) = size {
        number(&mut bytes, 3, size);
    }
    for size in sizes {
        number(&mut bytes, 4, *size);
    }
    bytes
}

/// A CAR file.
pub(crate) fn car(roots: &[Cid], blocks: &[Block]) -> Vec<u8> {
    let mut header = b"\xa2\x65roots".to_vec();
    header.push(0x80 + u8::try_from(roots.len()).expect("few roots"));
    for root in roots {
        let cid = root.to_bytes();
        header.extend([0xd8, 42, 0x58, u8::try_from(cid.len() + 1).expect("a short CID"), 0]);
        header.extend(cid);
    }
    header.extend(b"\x67version\x01");
    let mut bytes = Vec::new();
    prefixed(&mut bytes, &header);
    for block in blocks {
        prefixed(&mut bytes, &section(block));
    }
    bytes
}

/// The bytes of one block in a CAR file, without their length.
pub(crate) fn section(block: &Block) -> Vec<u8> {
    [block.cid.to_bytes(), block.data.to_vec()].concat()
}

/// Appends bytes after their length.
pub(crate) fn prefixed(out: &mut Vec<u8>, bytes: &[u8]) {
    varint(out, bytes.len() as u64);
    out.extend(bytes);
}

/// Appends a number.
pub(crate) fn varint(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(encode::u64(number, &mut encode::u64_buffer()));
}

/// Appends a field of bytes to a message.
pub(crate) fn field(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    varint(out, number << 3 | 2);
    prefixed(out, bytes);
}

/// Appends a field with a number to a message.
pub(crate) fn number(out: &mut Vec<u8>, number: u64, value: u64) {
    varint(out, number << 3);
    varint(out, value);
}

/// Bytes as a block's data.
pub(crate) fn bytes(data: &[u8]) -> Bytes {
    Bytes::copy_from_slice(data)
}
