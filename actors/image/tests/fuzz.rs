//! Every decoder of foreign bytes takes whatever comes, for a short while on every run.
//!
//! `fuzz/` at the root of the repository drives the same functions for longer.

#[path = "../../../fuzz/mutate.rs"]
mod mutate;

use mutate::drive;

/// A file of one part, both inside their own CIDs, so that no hash stands in the way of a mutation.
const INLINE: &[u8] = b"\x2b\xa2\x65roots\x81\xd8\x2a\x57\0\x01\x70\0\x12\
    \x12\x08\x0a\x06\x01\x55\0\x02ab\x0a\x06\x08\x02\x18\x02\x20\x02\x67version\x01";

/// The recorded directories and small files, without the large blocks.
fn car_seeds() -> Vec<Vec<u8>> {
    let (v0, v1) = (include_bytes!("fixtures/v0.car"), include_bytes!("fixtures/v1.car"));
    let sharded = include_bytes!("fixtures/sharded.car");
    vec![v0[..700].to_vec(), v1[..700].to_vec(), sharded.to_vec(), INLINE.to_vec()]
}

#[test]
fn car_files() {
    drive("car", ww_image::fuzz::car, &car_seeds());
}

#[test]
fn nodes_of_unixfs() {
    let link = b"\x12\x0d\x0a\x04\x01\x55\0\0\x12\x03bin\x18\x00";
    let shard_link = b"\x12\x0f\x0a\x04\x01\x55\0\0\x12\x05ACbin\x18\x00";
    let seeds = [
        // A directory, a file with parts, a symbolic link, a shard.
        [link.as_slice(), b"\x0a\x02\x08\x01"].concat(),
        [link.as_slice(), b"\x0a\x0a\x08\x02\x12\x02ab\x18\x02\x20\x00"].concat(),
        b"\x0a\x06\x08\x04\x12\x02..".to_vec(),
        [shard_link.as_slice(), b"\x0a\x07\x08\x05\x28\x22\x30\x80\x02"].concat(),
    ];
    drive("unixfs", ww_image::fuzz::unixfs, &seeds);
}

#[test]
fn manifests() {
    let whole = "[cell]\nname = \"echo\"\nasync = true\npublish = true\n[limits]\nmemory = \"64MiB\"\ndeadline = \"30s\"\n\
                 cpu = 500\nchildren = 8\n[env]\nA = \"ä\"\n[grants]\nhost = [\"id\"]\nexecutor = []\nloader = false\n";
    let nested = format!("a = {}", "[".repeat(1_000));
    let dotted = format!("{}a = 1", "a.".repeat(1_000));
    let seeds = [whole, &nested, &dotted, "[[cell]]\n", "x = '''\r\n'''", "cell.\"\\u00e4\" = {}"];
    drive("manifest", ww_image::fuzz::manifest, &seeds.map(|seed| seed.as_bytes().to_vec()));
}
