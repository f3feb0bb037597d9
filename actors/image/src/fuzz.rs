//! The decoders of foreign bytes, for fuzzing. No part of the interface.
//!
//! Each takes any bytes whatsoever, never panics, and keeps no more memory than a small multiple of its input.

use cid::Cid;
use futures::executor::block_on;

use crate::{
    ipfs::{
        car::Reader,
        file,
        unixfs::{self, DAG_PB, Node},
    },
    manifest::Manifest,
};

/// Most bytes of a CAR file, and of the file in it: larger inputs show nothing new.
const MOST: u64 = 16 << 20;

/// Reads bytes as a CAR file: all of its blocks, then the file that it is said to hold.
pub fn car(bytes: &[u8]) {
    block_on(async {
        let Ok(mut reader) = Reader::open(bytes, MOST).await else { return };
        let root: Option<Cid> = reader.roots().first().copied();
        while let Ok(Some(_)) = reader.next().await {}
        if let (Some(root), Ok(mut reader)) = (root, Reader::open(bytes, MOST).await)
            && let Ok(file) = file::read(&root, &mut reader, MOST).await
        {
            assert!(file.len() as u64 <= MOST, "no more than was allowed");
        }
    });
}

/// Reads bytes as a node of UnixFS, and looks a name up in it.
pub fn unixfs(bytes: &[u8]) {
    if let Ok(Node::Shard(shard)) = unixfs::decode(DAG_PB, &bytes.to_vec().into()) {
        for level in 0..u64::BITS {
            let found = shard.find("main.wasm", level);
            assert!(found.is_ok() || level > 0, "the first level has all bits of the hash");
        }
    }
}

/// Reads bytes as `etc/ww.toml`.
pub fn manifest(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Err(invalid) = Manifest::parse(text) {
        assert!(invalid.line <= text.matches('\n').count() + 1, "a line of the text");
    }
}
