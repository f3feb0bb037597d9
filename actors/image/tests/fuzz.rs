//! Every decoder of foreign bytes takes whatever comes, for a short while on every run.
//!
//! `fuzz/` at the root of the repository drives the same functions for longer.

use std::time::{Duration, Instant};

/// How long each decoder is driven.
const TIME: Duration = Duration::from_secs(2);

/// Where the random numbers start. A failure prints it, so that it can be repeated.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// Longest input, in bytes: enough for several blocks.
const MAX_INPUT: usize = 16 * 1_024;

/// Marsaglia's xorshift64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).expect("below a usize")
    }

    /// Changes an input a little, in one of the ways in which formats break.
    fn mutate(&mut self, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let at = self.below(input.len());
        match self.below(8) {
            0 if !input.is_empty() => input[at] ^= 1 << self.below(8),
            1 if !input.is_empty() => input[at] = self.next() as u8,
            2 if !input.is_empty() => input[at] = [0, 1, 0x7f, 0x80, 0xff][self.below(5)],
            3 => input.truncate(at),
            4 if !input.is_empty() => drop(input.remove(at)),
            5 => input.insert(at, self.next() as u8),
            6 => {
                let other = &seeds[self.below(seeds.len())];
                let from = self.below(other.len());
                let part = other[from..].iter().copied().take(self.below(64));
                input.splice(at..at, part);
            }
            _ => {
                let end = (at + self.below(64)).min(input.len());
                let part = input[at..end].to_vec();
                input.splice(at..at, part);
            }
        }
        input.truncate(MAX_INPUT);
    }
}

fn drive(name: &str, decode: fn(&[u8]), seeds: &[Vec<u8>]) {
    println!("{name}: seed {SEED:#x}");
    decode(b"");
    for seed in seeds {
        decode(seed);
    }
    let mut random = Random(SEED);
    let (started, mut runs) = (Instant::now(), 0_u64);
    while started.elapsed() < TIME {
        let mut input = seeds[random.below(seeds.len())].clone();
        for _ in 0..=random.below(8) {
            random.mutate(&mut input, seeds);
        }
        decode(&input);
        runs += 1;
    }
    println!("{name}: {runs} inputs");
}

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
