//! Paths that name something in IPFS.

use std::fmt;

use cid::Cid;

use super::Error;
use crate::path::check_names;

/// Longest text of a CID or of a name in IPNS: a domain name has 253 characters.
const MAX_ROOT: usize = 253;

/// What paths in IPFS start with. `/ipld/` names the same blocks as `/ipfs/`, and is walked alike.
const NAMESPACES: [&str; 3] = ["/ipfs/", "/ipld/", "/ipns/"];

/// A path that names something in IPFS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IpfsPath {
    pub(crate) root: Root,
    /// The names below, in order.
    pub(crate) names: Vec<String>,
}

/// Where a path starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Root {
    /// At a block.
    Cid(Cid),
    /// At whatever a name stands for now.
    Name(String),
}

impl IpfsPath {
    /// Whether a text is meant as such a path.
    pub(crate) fn is_meant(path: &str) -> bool {
        NAMESPACES.iter().any(|namespace| path.starts_with(namespace))
    }

    /// Reads a path.
    pub(crate) fn parse(path: &str) -> Result<Self, Error> {
        let namespace = NAMESPACES.iter().find(|namespace| path.starts_with(**namespace));
        let namespace = namespace.ok_or_else(|| Error::Path("it does not start with /ipfs/ or /ipns/".to_owned()))?;
        let (root, names) = match path[namespace.len()..].trim_end_matches('/').split_once('/') {
            Some((root, names)) => {
                check_names(names).map_err(|error| Error::Path(error.to_string()))?;
                (root, names.split('/').map(str::to_owned).collect())
            }
            None => (path[namespace.len()..].trim_end_matches('/'), Vec::new()),
        };
        let root = if *namespace == "/ipns/" { parse_name(root)? } else { parse_cid(root)? };
        Ok(Self { root, names })
    }

    /// The CID that it starts at, if it does.
    pub(crate) fn cid(&self) -> Option<Cid> {
        match &self.root {
            Root::Cid(cid) => Some(*cid),
            Root::Name(_) => None,
        }
    }
}

impl fmt::Display for IpfsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.root {
            Root::Cid(cid) => write!(f, "/ipfs/{cid}")?,
            Root::Name(name) => write!(f, "/ipns/{name}")?,
        }
        self.names.iter().try_for_each(|name| write!(f, "/{name}"))
    }
}

fn parse_cid(text: &str) -> Result<Root, Error> {
    let invalid = |why: &str| {
        let text: String = text.chars().take(MAX_ROOT).collect();
        Error::Path(format!("{text:?} is not a CID: {why}; expected one like Qm… or bafy…"))
    };
    if text.len() > MAX_ROOT {
        return Err(invalid("it is too long"));
    }
    let cid = Cid::try_from(text).map_err(|error| invalid(&error.to_string()))?;
    Ok(Root::Cid(cid))
}

fn parse_name(text: &str) -> Result<Root, Error> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if text.is_empty() || text.len() > MAX_ROOT || text.starts_with('.') || !text.bytes().all(plain) {
        let text: String = text.chars().take(MAX_ROOT).collect();
        return Err(Error::Path(format!("{text:?} is not a name in IPNS: expected one like k51… or a domain name")));
    }
    Ok(Root::Name(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The empty directory.
    const V0: &str = "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn";
    const V1: &str = "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354";

    #[test]
    fn paths_in_ipfs_are_told_from_others() {
        for meant in ["/ipfs/x", "/ipns/x", "/ipld/x", "/ipfs/"] {
            assert!(IpfsPath::is_meant(meant), "{meant}");
        }
        for other in ["", "ipfs/x", "./ipfs/x", "/ipfs", "/ipfsx/y", "/", "//ipfs/x", "/home/ipfs/x"] {
            assert!(!IpfsPath::is_meant(other), "{other}");
        }
    }

    #[test]
    fn roots_and_names_are_checked() {
        let table = [
            (format!("/ipfs/{V0}"), format!("/ipfs/{V0}")),
            (format!("/ipfs/{V1}/"), format!("/ipfs/{V1}")),
            (format!("/ipld/{V1}/a/b c"), format!("/ipfs/{V1}/a/b c")),
            ("/ipns/docs.ipfs.tech/a".into(), "/ipns/docs.ipfs.tech/a".into()),
        ];
        for (path, canonical) in table {
            assert_eq!(IpfsPath::parse(&path).expect(&path).to_string(), canonical);
        }
        let long = "1".repeat(MAX_ROOT + 1);
        for path in [
            "/ipfs/".into(),
            "/ipfs/hello".into(),
            format!("/ipfs/{long}"),
            format!("/ipfs/{}", &V0[1..]),
            format!("/ipfs/{V0}/../x"),
            format!("/ipfs/{V0}//x"),
            format!("/ipfs/../ipfs/{V0}"),
            "/ipns/".into(),
            "/ipns/..".into(),
            "/ipns/a b".into(),
            "/ipns/a?arg=b".into(),
            format!("/ipns/{long}"),
        ] {
            assert!(matches!(IpfsPath::parse(&path), Err(Error::Path(_))), "{path}");
        }
    }
}
