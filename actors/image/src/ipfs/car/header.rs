//! The header of a CAR file: `{ roots: [CID], version: 1 }` in DAG-CBOR (IPLD, "Specification: DAG-CBOR").

use cid::Cid;

use super::Invalid;

/// Tag of a CID (IPLD, "Specification: DAG-CBOR", links).
const CID_TAG: u64 = 42;

/// What a CID in DAG-CBOR starts with: the multibase prefix of binary.
const BINARY: u8 = 0;

/// CBOR's major types (RFC 8949, section 3.1) that a header is made of.
mod major {
    pub(super) const NUMBER: u8 = 0;
    pub(super) const BYTES: u8 = 2;
    pub(super) const TEXT: u8 = 3;
    pub(super) const ARRAY: u8 = 4;
    pub(super) const MAP: u8 = 5;
    pub(super) const TAG: u8 = 6;
}

/// Reads the roots.
pub(super) fn roots(header: &[u8]) -> Result<Vec<Cid>, Invalid> {
    let mut rest = Items(header);
    let (mut roots, mut version) = (None, None);
    for _ in 0..rest.expect(major::MAP)? {
        match rest.bytes(major::TEXT)? {
            b"roots" if roots.is_none() => roots = Some(rest.cids()?),
            b"version" if version.is_none() => version = Some(rest.expect(major::NUMBER)?),
            _ => return Err(Invalid::Header("its header has an unknown key, or one twice")),
        }
    }
    if version != Some(1) {
        return Err(Invalid::Header("it says that it has another version"));
    }
    if !rest.0.is_empty() {
        return Err(Invalid::Header("its header is longer than it says"));
    }
    roots.ok_or(Invalid::Header("its header names no roots"))
}

struct Items<'a>(&'a [u8]);

impl<'a> Items<'a> {
    /// Takes the head of an item of a type, and returns its number.
    fn expect(&mut self, major: u8) -> Result<u64, Invalid> {
        let [initial] = self.take()?;
        if initial >> 5 != major {
            return Err(Invalid::Header("its header has something unexpected in it"));
        }
        match initial & 0x1f {
            number @ 0..24 => Ok(number.into()),
            24 => self.take().map(|[byte]: [u8; 1]| byte.into()),
            25 => self.take().map(|bytes| u16::from_be_bytes(bytes).into()),
            _ => Err(Invalid::Header("its header has a number in it that is too large")),
        }
    }

    fn bytes(&mut self, major: u8) -> Result<&'a [u8], Invalid> {
        let length = self.expect(major)?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Invalid::Header("its header is cut off"))?;
        self.0 = rest;
        Ok(bytes)
    }

    fn cids(&mut self) -> Result<Vec<Cid>, Invalid> {
        (0..self.expect(major::ARRAY)?)
            .map(|_| {
                if self.expect(major::TAG)? != CID_TAG {
                    return Err(Invalid::Header("a root is no CID"));
                }
                match self.bytes(major::BYTES)?.split_first() {
                    Some((&BINARY, cid)) => Cid::try_from(cid).map_err(Invalid::Cid),
                    _ => Err(Invalid::Header("a root is no CID")),
                }
            })
            .collect()
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Invalid> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Invalid::Header("its header is cut off"))?;
        self.0 = rest;
        Ok(*taken)
    }
}
