use super::*;
use crate::fake::dag;

const V0: &[u8] = include_bytes!("../../../tests/fixtures/v0.car");
const V1: &[u8] = include_bytes!("../../../tests/fixtures/v1.car");
const SHARDED: &[u8] = include_bytes!("../../../tests/fixtures/sharded.car");

async fn read(bytes: &[u8], most: u64) -> Result<Vec<Block>, String> {
    let read = async {
        let mut reader = Reader::open(bytes, most).await?;
        let mut blocks = Vec::new();
        while let Some(block) = reader.next().await? {
            blocks.push(block);
        }
        Ok(blocks)
    };
    read.await.map_err(|error: Invalid| error.to_string())
}

#[tokio::test]
async fn recorded_files_are_read_whole() {
    for (car, root, count) in [
        (V0, "Qme3BrZRjWvBCzjYyjWsDJVQrF9xt7LA1uft7fmvbWuPac", 9),
        (V1, "bafybeief3lrz7nw4liqzlqqscw4odmiaijckkanx473q4lumx4zngmkkpe", 9),
    ] {
        let reader = Reader::open(car, u64::MAX).await.expect("a recorded file");
        assert_eq!(reader.roots().iter().map(Cid::to_string).collect::<Vec<_>>(), [root]);
        let blocks = read(car, car.len() as u64 + 1).await.expect("a recorded file");
        assert_eq!(blocks.len(), count, "root, bin, main.wasm, etc, ww.toml, share, big.txt and its two parts");
    }
    assert!(read(SHARDED, u64::MAX).await.expect("a recorded file").len() > 60);
}

#[tokio::test]
async fn a_flipped_bit_is_found_wherever_it_is() {
    let blocks = [dag::raw(b"first block"), dag::raw(b"second block")];
    let car = dag::car(&[blocks[0].cid], &blocks);
    assert_eq!(read(&car, u64::MAX).await.as_deref(), Ok(&blocks[..]));
    for bit in 0..car.len() * 8 {
        let mut flipped = car.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        // A CID that differs in its codec or in the header still names bytes that are what they are.
        let read = read(&flipped, u64::MAX).await.unwrap_or_default();
        let same = |block: &Block| blocks.iter().any(|honest| honest.data == block.data);
        assert!(read.iter().all(same), "bit {bit} gave other bytes");
    }
}

#[tokio::test]
async fn a_cut_file_is_an_error_unless_it_is_cut_between_blocks() {
    let blocks = [dag::raw(b"first block"), dag::raw(b"second block")];
    let car = dag::car(&[blocks[0].cid], &blocks);
    let between = [dag::car(&[blocks[0].cid], &[]).len(), dag::car(&[blocks[0].cid], &blocks[..1]).len()];
    for length in 0..car.len() {
        let read = read(&car[..length], u64::MAX).await;
        match between.iter().position(|boundary| *boundary == length) {
            Some(count) => assert_eq!(read.as_deref(), Ok(&blocks[..count])),
            None => assert!(read.expect_err("cut").contains(if length == 0 { "empty" } else { "cut off" })),
        }
    }
}

#[tokio::test]
async fn sizes_are_bounded() {
    let largest = dag::raw(&vec![0; MAX_BLOCK]);
    let car = dag::car(&[largest.cid], std::slice::from_ref(&largest));
    assert!(read(&car, u64::MAX).await.is_ok());
    let error = read(&car, car.len() as u64 - 1).await.expect_err("more than was allowed");
    assert!(error.contains("longer than the"), "{error}");

    let larger = dag::raw(&vec![0; MAX_BLOCK + 1]);
    let car = dag::car(&[larger.cid], &[larger]);
    let error = read(&car, u64::MAX).await.expect_err("too large");
    assert!(error.contains("2097153 bytes"), "{error}");

    let mut announced = dag::car(&[largest.cid], &[]);
    dag::varint(&mut announced, u64::MAX);
    let error = read(&announced, u64::MAX).await.expect_err("too large");
    assert!(error.contains("expected at most"), "{error}");

    let mut endless = dag::car(&[largest.cid], &[]);
    endless.extend([0xff; 16]);
    assert!(read(&endless, u64::MAX).await.expect_err("no number").contains("is no number"));
}

#[tokio::test]
async fn other_headers_are_refused() {
    let mut second_version = Vec::new();
    dag::prefixed(&mut second_version, b"\xa1\x67version\x02");
    let mut rootless = Vec::new();
    dag::prefixed(&mut rootless, b"\xa1\x67version\x01");
    let mut twice = Vec::new();
    dag::prefixed(&mut twice, b"\xa2\x67version\x01\x67version\x01");
    let mut trailing = Vec::new();
    dag::prefixed(&mut trailing, b"\xa2\x65roots\x80\x67version\x01x");
    let mut untagged = Vec::new();
    dag::prefixed(&mut untagged, b"\xa2\x65roots\x81\x41\0\x67version\x01");
    let mut unknown = Vec::new();
    dag::prefixed(&mut unknown, b"\xa1\x64hops\x01");
    let mut huge = Vec::new();
    dag::prefixed(&mut huge, &[0; MAX_HEADER + 1]);
    let mut many = Vec::new();
    dag::prefixed(&mut many, b"\xa2\x65roots\x9b\xff\xff\xff\xff\xff\xff\xff\xff");
    let table = [
        (second_version, "another version"),
        (rootless, "names no roots"),
        (twice, "one twice"),
        (trailing, "longer than it says"),
        (untagged, "something unexpected"),
        (unknown, "unknown key"),
        (huge, "header is too long"),
        (many, "too large"),
        (b"<html>".to_vec(), "cut off"),
    ];
    for (car, message) in table {
        let error = read(&car, u64::MAX).await.expect_err(message);
        assert!(error.contains(message), "{message}: {error}");
    }
}
