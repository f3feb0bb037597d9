//! Names under which cells are registered and published.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::text;

/// Longest name, in bytes: it has to fit into one label of a protocol name.
pub const MAX_LEN: usize = 63;

/// Names of protocols of the node itself.
const RESERVED: [&str; 2] = ["call", "rpc"];

/// A name of a cell: `[a-z0-9][a-z0-9._-]{0,62}`, and neither `call` nor `rpc`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// A text that cannot be a name.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Invalid {
    /// It does not match the pattern.
    #[error(
        "{} is not a name: expected 1 to {MAX_LEN} characters of a-z, 0-9, '.', '_' and '-', the first a letter or a digit",
        text::quoted(.0)
    )]
    Pattern(String),
    /// It names a protocol of the node.
    #[error("the name {} is reserved for the node itself: choose another one", text::quoted(.0))]
    Reserved(String),
}

impl Name {
    /// The name of an image's cell that nobody named: it is the first process of its node.
    pub fn pid0() -> Self {
        Self("pid0".to_owned())
    }

    /// Checks a name.
    ///
    /// # Errors
    ///
    /// Where the text does not match the pattern or is reserved.
    pub fn new(name: impl Into<String>) -> Result<Self, Invalid> {
        let name = name.into();
        let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let mut bytes = name.bytes();
        let first = bytes.next().is_some_and(alphanumeric);
        if !first || name.len() > MAX_LEN || !bytes.all(|byte| alphanumeric(byte) || b"._-".contains(&byte)) {
            return Err(Invalid::Pattern(name));
        }
        if RESERVED.contains(&name.as_str()) {
            return Err(Invalid::Reserved(name));
        }
        Ok(Self(name))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Name {
    type Err = Invalid;

    fn from_str(name: &str) -> Result<Self, Invalid> {
        Self::new(name)
    }
}

impl TryFrom<String> for Name {
    type Error = Invalid;

    fn try_from(name: String) -> Result<Self, Invalid> {
        Self::new(name)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_pattern() {
        let longest = "a".repeat(MAX_LEN);
        assert_eq!(Name::new(Name::pid0().as_str()), Ok(Name::pid0()));
        for good in ["a", "0", "echo", "a.b_c-d", "pid0", longest.as_str()] {
            assert_eq!(Name::new(good).map(String::from).as_deref(), Ok(good));
        }
        let too_long = "a".repeat(MAX_LEN + 1);
        for bad in ["", ".a", "-a", "_a", "A", "a/b", "ä", "a b", too_long.as_str()] {
            assert_eq!(Name::new(bad), Err(Invalid::Pattern(bad.to_owned())), "{bad:?}");
        }
        for reserved in RESERVED {
            assert_eq!(Name::new(reserved), Err(Invalid::Reserved(reserved.to_owned())));
        }
    }
}
