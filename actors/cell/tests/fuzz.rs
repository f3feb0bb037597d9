//! Programs that nobody would write start and end like all others, for a short while on every run.
//!
//! `fuzz/` at the root of the repository drives the same functions for longer.

#[path = "../../../fuzz/mutate.rs"]
mod mutate;
#[path = "../../../fuzz/programs.rs"]
mod programs;

use std::sync::atomic::{AtomicUsize, Ordering};

use rand::{RngExt, SeedableRng, rngs::SmallRng};

/// Random bytes that choose a program: enough for some functions.
fn choices() -> Vec<Vec<u8>> {
    let mut random = SmallRng::seed_from_u64(7);
    (0..24_u8).map(|shape| (0..2_000).map(|at| if at == 0 { shape } else { random.random() }).collect()).collect()
}

#[test]
fn valid_programs_end_and_leave_nothing_behind() {
    let started = AtomicUsize::new(0);
    let target = |bytes: &[u8]| {
        let is_started = programs::program(bytes).is_some_and(|wasm| ww_cell::fuzz::program(&wasm));
        started.fetch_add(usize::from(is_started), Ordering::Relaxed);
    };
    mutate::drive("programs", target, &choices());
    let started = started.into_inner();
    println!("programs: {started} were started");
    assert!(started > 20, "most can be started: {started}");
}

#[test]
fn broken_programs_are_refused_or_end() {
    let seeds: Vec<_> = choices().iter().filter_map(|bytes| programs::program(bytes)).collect();
    assert!(seeds.len() > 10, "most bytes make a program: {}", seeds.len());
    mutate::drive(
        "binary",
        |wasm| {
            ww_cell::fuzz::program(wasm);
        },
        &seeds,
    );
}
