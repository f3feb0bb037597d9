//! Opening files below a directory with what every operating system has.
//!
//! All symbolic links are resolved first, and the result must lie below the resolved root. Whoever can write to the
//! image can replace a directory by a link between the two steps; where that matters, the image must not be writable.

use std::{
    fs::{self, File},
    path::Path,
};

use super::{Refused, regular};

pub(super) fn open_file(root: &Path, relative: &str) -> Result<File, Refused> {
    let root = root.canonicalize()?;
    let path = root.join(relative).canonicalize()?;
    if !path.starts_with(&root) {
        return Err(Refused::Outside);
    }
    // Before it is opened, because opening a pipe waits for its writer.
    regular(&fs::metadata(&path)?)?;
    Ok(File::open(path)?)
}
