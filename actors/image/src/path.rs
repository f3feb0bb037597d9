//! Names and paths inside an image.
//!
//! A path inside an image is relative and made of plain names: whatever a path could use to leave the image is
//! refused before any loader sees it.

use std::fmt;

use thiserror::Error;

/// Longest name, in bytes: what common file systems take.
pub const MAX_NAME: usize = 255;

/// Longest path, in bytes: what operating systems take.
pub const MAX_PATH: usize = 4_096;

/// Most names in one path: each costs a directory look-up, with IPFS at least one round trip.
pub const MAX_NAMES: usize = 32;

/// Characters of a wrong name that an error shows.
const SHOWN: usize = 64;

/// A text that is no path inside an image.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidPath {
    /// It is empty.
    #[error("the path is empty: expected a path relative to the image, like `etc/ww.toml`")]
    Empty,
    /// It starts with `/`.
    #[error("the path is absolute: expected one relative to the image, like `etc/ww.toml`")]
    Absolute,
    /// It is longer than [`MAX_PATH`].
    #[error("the path has {0} bytes: expected at most {MAX_PATH}")]
    TooLong(usize),
    /// It has more names than [`MAX_NAMES`].
    #[error("the path has more than {MAX_NAMES} names")]
    TooDeep,
    /// One of its names is not one.
    #[error(transparent)]
    Name(#[from] InvalidName),
}

/// A text that is no name of a file.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{name:?} is not the name of a file: {why}")]
pub struct InvalidName {
    /// The name, or its beginning.
    pub name: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl InvalidName {
    fn new(name: &str, why: &'static str) -> Self {
        Self { name: name.chars().take(SHOWN).collect(), why }
    }
}

/// A checked path inside an image.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FilePath<'a>(&'a str);

impl<'a> FilePath<'a> {
    pub(crate) fn new(path: &'a str) -> Result<Self, InvalidPath> {
        if path.is_empty() {
            return Err(InvalidPath::Empty);
        }
        if path.starts_with('/') {
            return Err(InvalidPath::Absolute);
        }
        check_names(path)?;
        if let Some(name) = path.split('/').find(|name| name.contains('\\')) {
            return Err(InvalidName::new(name, "it holds a backslash").into());
        }
        Ok(Self(path))
    }

    pub(crate) fn as_str(self) -> &'a str {
        self.0
    }

    pub(crate) fn names(self) -> impl Iterator<Item = &'a str> {
        self.0.split('/')
    }
}

impl fmt::Display for FilePath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Checks names that are separated by `/`.
pub(crate) fn check_names(path: &str) -> Result<(), InvalidPath> {
    if path.len() > MAX_PATH {
        return Err(InvalidPath::TooLong(path.len()));
    }
    for (index, name) in path.split('/').enumerate() {
        if index == MAX_NAMES {
            return Err(InvalidPath::TooDeep);
        }
        check_name(name)?;
    }
    Ok(())
}

/// Checks one name.
pub(crate) fn check_name(name: &str) -> Result<(), InvalidName> {
    let why = match name {
        "" => "it is empty",
        "." | ".." => "it stands for a directory",
        _ if name.len() > MAX_NAME => "it is longer than 255 bytes",
        _ if name.contains('/') => "it holds a slash",
        _ if name.contains('\0') => "it holds a NUL",
        _ => return Ok(()),
    };
    Err(InvalidName::new(name, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_relative_and_made_of_plain_names() {
        let longest = "a".repeat(MAX_NAME);
        let deepest = ["a"; MAX_NAMES].join("/");
        for good in ["a", "bin/main.wasm", "...", "a..b/c", "ä/b c", longest.as_str(), deepest.as_str()] {
            assert_eq!(FilePath::new(good).map(FilePath::as_str), Ok(good));
        }
        assert_eq!(FilePath::new("").err(), Some(InvalidPath::Empty));
        assert_eq!(FilePath::new("/etc/passwd").err(), Some(InvalidPath::Absolute));
        let deep = ["a"; MAX_NAMES + 1].join("/");
        assert_eq!(FilePath::new(&deep).err(), Some(InvalidPath::TooDeep));
        let long = "a".repeat(MAX_PATH + 1);
        assert_eq!(FilePath::new(&long).err(), Some(InvalidPath::TooLong(MAX_PATH + 1)));

        let name = "a".repeat(MAX_NAME + 1);
        for bad in ["..", "../a", "a/../b", "a/..", ".", "./a", "a//b", "a/", "a\0b", "a\\..\\b", name.as_str()] {
            assert!(matches!(FilePath::new(bad), Err(InvalidPath::Name(_))), "{bad:?}");
        }
    }
}
