//! Files of the cell's own image.

use crate::bindings::loader::wetware::loader::loader;

/// The content of the file at `path`, relative to the root of the image, with `/` between names.
///
/// The image is the same wherever it came from, a directory or IPFS. A component that calls this
/// imports `wetware:loader`.
///
/// # Errors
///
/// Where the cell has no grant for its image (`denied`), the path leaves the image or names no file, or
/// the file is larger than the node allows. The text names the path.
pub fn load(path: &str) -> Result<Vec<u8>, String> {
    loader::load(path).map_err(|error| if error.contains(path) { error } else { format!("{path}: {error}") })
}
