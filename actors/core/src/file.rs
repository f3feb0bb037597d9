//! Files that are read whole, with a bound that is there before they are read.
//!
//! A path may lead to a device or a pipe that never ends, and to a file of any size.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

/// Reads a file of at most `most` bytes. Pipes and devices are read as far.
///
/// # Errors
///
/// Where it cannot be read; [`io::ErrorKind::FileTooLarge`] where it is longer.
pub fn read(path: impl AsRef<Path>, most: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    // What has no length, or does not tell it, is read all the same.
    let len = file.metadata()?.len();
    if len > most {
        return Err(too_large(most));
    }
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(usize::try_from(len).unwrap_or(usize::MAX))?;
    // It may have grown meanwhile: one byte above the bound is proof enough.
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most { Err(too_large(most)) } else { Ok(bytes) }
}

fn too_large(most: u64) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, format!("expected a file of at most {most} bytes, found a longer one"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_bound_and_a_device_that_never_ends_as_well() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let len = std::fs::metadata(file).expect("it is there").len();
        assert_eq!(read(file, len).expect("it fits").len() as u64, len);
        for (path, most) in [(file, len - 1), (file, 0), ("/dev/zero", 100_000)] {
            let error = read(path, most).expect_err(path);
            assert_eq!(error.kind(), io::ErrorKind::FileTooLarge, "{path}: {error}");
            assert!(error.to_string().contains(&most.to_string()), "{error}");
        }
        assert_eq!(read("/dev/null", 0).expect("it is empty"), b"");
        assert_eq!(read("/nowhere", 9).expect_err("it is not there").kind(), io::ErrorKind::NotFound);
    }
}
