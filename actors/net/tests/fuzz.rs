//! The decoder of calls takes whatever comes, for a short while on every run.
//!
//! `fuzz/` at the root of the repository drives the same function for longer.

use std::time::{Duration, Instant};

/// How long the decoder is driven.
const TIME: Duration = Duration::from_secs(2);

/// Where the random numbers start. A failure can be repeated with it.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

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

    fn mutate(&mut self, input: &mut Vec<u8>) {
        let at = self.below(input.len());
        match self.below(6) {
            0 if !input.is_empty() => input[at] ^= 1 << self.below(8),
            1 if !input.is_empty() => input[at] = [0, 1, 0x7f, 0x80, 0xff][self.below(5)],
            2 => input.truncate(at),
            3 if !input.is_empty() => drop(input.remove(at)),
            4 => input.insert(at, self.next() as u8),
            _ => {
                let end = (at + self.below(32)).min(input.len());
                let part = input[at..end].to_vec();
                input.splice(at..at, part);
            }
        }
    }
}

/// The vectors of the document, good and bad.
fn seeds() -> Vec<Vec<u8>> {
    let lines = include_str!("../../../docs/protocol.md").lines();
    let vectors = lines.filter(|line| ["request-", "reply-", "bad-"].iter().any(|prefix| line.starts_with(prefix)));
    let hex = |byte| u8::from_str_radix(byte, 16).expect("bytes in hex");
    vectors.map(|line| line.split_whitespace().skip(1).map(hex).collect()).collect()
}

#[test]
fn calls() {
    let seeds = seeds();
    assert!(seeds.len() > 20, "the document has vectors");
    seeds.iter().for_each(|seed| ww_net::fuzz::frames(seed));
    println!("seed {SEED:#x}");
    let (mut random, started, mut runs) = (Random(SEED), Instant::now(), 0_u64);
    while started.elapsed() < TIME {
        let mut input = seeds[random.below(seeds.len())].clone();
        for _ in 0..=random.below(6) {
            random.mutate(&mut input);
        }
        ww_net::fuzz::frames(&input);
        runs += 1;
    }
    println!("{runs} inputs");
}
