//! The decoder of calls takes whatever comes, for a short while on every run.
//!
//! `fuzz/` at the root of the repository drives the same function for longer.

#[path = "../../../fuzz/mutate.rs"]
mod mutate;

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
    mutate::drive("calls", ww_net::fuzz::frames, &seeds);
}
