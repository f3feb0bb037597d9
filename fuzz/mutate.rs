//! Changes inputs in the ways in which formats break, for tests that drive the fuzz targets for a short while on every run.

use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng, rngs::SmallRng};

/// How long one target is driven.
const TIME: Duration = Duration::from_secs(2);

/// Where the random numbers start. A failure can be repeated with it.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// Longest input, in bytes: enough for several blocks, or a conversation.
const MAX_INPUT: usize = 16 * 1_024;

/// Most changes to one input.
const MAX_CHANGES: usize = 8;

/// Longest part that is copied or removed, in bytes.
const MAX_PART: usize = 64;

/// Lets a target have the seeds as they are, and then changed ones until the time is up.
pub(crate) fn drive(name: &str, target: impl Fn(&[u8]), seeds: &[Vec<u8>]) {
    println!("{name}: seed {SEED:#x}");
    target(b"");
    seeds.iter().for_each(|seed| target(seed));
    let mut random = SmallRng::seed_from_u64(SEED);
    let (started, mut runs) = (Instant::now(), 0_u64);
    while started.elapsed() < TIME {
        let mut input = seeds[random.random_range(..seeds.len())].clone();
        for _ in 0..random.random_range(1..=MAX_CHANGES) {
            change(&mut random, &mut input, seeds);
        }
        // Every other input is cut, at last: nothing is seen of a change that comes after the end.
        let len = if random.random() { random.random_range(..=input.len()) } else { MAX_INPUT };
        input.truncate(len.min(MAX_INPUT));
        target(&input);
        runs += 1;
    }
    println!("{name}: {runs} inputs");
    assert!(runs > 10, "{name} hangs: {runs} inputs in {TIME:?}");
}

fn change(random: &mut SmallRng, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    let at = random.random_range(..input.len().max(1));
    let part = at..input.len().min(at + random.random_range(0..MAX_PART));
    match random.random_range(0..9) {
        0 if !input.is_empty() => input[at] ^= 1 << random.random_range(0..8),
        1 if !input.is_empty() => input[at] = random.random(),
        2 if !input.is_empty() => input[at] = [0, 1, 0x7f, 0x80, 0xff][random.random_range(0..5)],
        // The numbers of a protocol are small, and lie where a word begins: one for another.
        3 if !input.is_empty() => input[at / 8 * 8] = random.random_range(0..12),
        4 if !input.is_empty() => drop(input.remove(at)),
        5 => drop(input.drain(part)),
        6 => input.insert(at, random.random()),
        7 => {
            let other = &seeds[random.random_range(..seeds.len())];
            let from = random.random_range(..=other.len());
            let part = other[from..].iter().copied().take(random.random_range(0..MAX_PART));
            input.splice(at..at, part);
        }
        _ => {
            let again = input[part].to_vec();
            input.splice(at..at, again);
        }
    }
}
