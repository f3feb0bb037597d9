//! dag-pb: a node of data and links (IPLD, "Specification: DAG-PB").

use bytes::Bytes;
use cid::Cid;
use thiserror::Error;

use super::protobuf::{Fields, Malformed, Value};

/// Most links of one node: a directory of more entries is sharded, a file has a thousand links per node at most.
pub(crate) const MAX_LINKS: usize = 16_384;

/// One node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) links: Vec<Link>,
    pub(crate) data: Option<Bytes>,
}

/// One link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) name: String,
    pub(crate) cid: Cid,
}

/// Bytes that are no dag-pb node.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Invalid {
    /// They are no message at all.
    #[error(transparent)]
    Protobuf(#[from] Malformed),
    /// They are another message.
    #[error("it is no dag-pb node: {0}")]
    Field(&'static str),
    /// A link leads nowhere.
    #[error("a link has no valid CID: {0}")]
    Cid(String),
    /// There are too many links.
    #[error("it has more than {MAX_LINKS} links")]
    Links,
}

/// Reads a node. Whether it is in canonical form does not matter: its hash has been checked.
pub(crate) fn decode(block: &Bytes) -> Result<Node, Invalid> {
    let mut node = Node::default();
    for field in Fields::new(block) {
        match field? {
            (1, Value::Bytes(data)) if node.data.is_none() => node.data = Some(block.slice_ref(data)),
            (2, Value::Bytes(_)) if node.links.len() == MAX_LINKS => return Err(Invalid::Links),
            (2, Value::Bytes(link)) => node.links.push(decode_link(link)?),
            _ => return Err(Invalid::Field("it has a field that such a node has not, or one twice")),
        }
    }
    Ok(node)
}

fn decode_link(message: &[u8]) -> Result<Link, Invalid> {
    let (mut hash, mut name, mut size) = (None, None, None);
    for field in Fields::new(message) {
        match field? {
            (1, Value::Bytes(bytes)) if hash.is_none() => hash = Some(bytes),
            (2, Value::Bytes(bytes)) if name.is_none() => name = Some(bytes),
            (3, Value::Varint(bytes)) if size.is_none() => size = Some(bytes),
            _ => return Err(Invalid::Field("a link has a field that links have not, or one twice")),
        }
    }
    let mut hash = hash.ok_or(Invalid::Field("a link has no CID"))?;
    let cid = Cid::read_bytes(&mut hash).map_err(|error| Invalid::Cid(error.to_string()))?;
    if !hash.is_empty() {
        return Err(Invalid::Field("a link has bytes behind its CID"));
    }
    let name = std::str::from_utf8(name.unwrap_or_default());
    Ok(Link { name: name.map_err(|_| Invalid::Field("the name of a link is not UTF-8"))?.to_owned(), cid })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::dag;

    #[test]
    fn what_was_written_is_read() {
        let leaf = dag::raw(b"leaf");
        let links = [("", leaf.cid), ("name", leaf.cid)];
        let block = dag::node(&links, Some(b"data"));
        let node = decode(&block.data).expect("a node");
        assert_eq!(node.data.as_deref(), Some(b"data".as_slice()));
        assert_eq!(node.links, links.map(|(name, cid)| Link { name: name.into(), cid }));
        assert_eq!(decode(&Bytes::new()), Ok(Node::default()));
    }

    #[test]
    fn strange_nodes_are_refused() {
        let table: [(&[u8], &str); 8] = [
            (b"\x0a\x01a\x0a\x01b", "one twice"),
            (b"\x18\x01", "one twice"),
            (b"\x08\x01", "one twice"),
            (b"\x12\0", "no CID"),
            (b"\x12\x03\x0a\x01\x01", "no valid CID"),
            (b"\x12\x07\x0a\x05\x01\x55\0\0x", "behind its CID"),
            (b"\x12\x09\x0a\x04\x01\x55\0\0\x12\x01\xff", "not UTF-8"),
            (b"\x12\x7f", "longer than the message"),
        ];
        for (block, message) in table {
            let error = decode(&Bytes::from_static(block)).expect_err(message).to_string();
            assert!(error.contains(message), "{error}");
        }
        let link = b"\x12\x06\x0a\x04\x01\x55\0\0".repeat(MAX_LINKS);
        assert_eq!(decode(&link.clone().into()).map(|node| node.links.len()), Ok(MAX_LINKS));
        assert_eq!(decode(&[&link[..], &link[..8]].concat().into()), Err(Invalid::Links));
    }
}
