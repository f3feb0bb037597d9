//! Daemons that lie, stall and break: each gives an error that says so, in time, and none makes the loader look
//! elsewhere.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use super::*;
use crate::fake::{
    Answer,
    dag::{self, Block},
};

/// Longest that any of these loads may take: the patience of [`loader`], the grace, and a slow machine.
const IN_TIME: Duration = Duration::from_secs(15);

/// Loads an image from a daemon, and returns the error.
async fn failure(cid: &str, answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> String {
    let daemon = Daemon::start(answer).await;
    let started = Instant::now();
    let error = loader(&daemon.url).load(&format!("/ipfs/{cid}")).await.expect_err("a hostile daemon");
    assert!(started.elapsed() < IN_TIME, "it took {:?}", started.elapsed());
    assert_eq!(error.attempts.len(), 1, "no fall-back: {error}");
    assert!(!error.attempts[0].failure.is_unreachable());
    error.to_string()
}

/// A recorded daemon of which the answers to one command are changed.
fn changed(
    car: &[u8],
    command: &'static str,
    change: impl Fn(Vec<u8>) -> Answer + Send + Sync + 'static,
) -> impl Fn(&Request) -> Answer + Send + Sync + 'static {
    let store = Store::recorded(car);
    move |request| match store.answer(request) {
        Answer::Ok(body) if request.command == command => change(body),
        answer => answer,
    }
}

fn flipped(mut body: Vec<u8>) -> Answer {
    // The last byte is within a block, whatever the answer is.
    if let Some(last) = body.last_mut() {
        *last ^= 1;
    }
    Answer::Ok(body)
}

/// An image with one file in its place.
fn image_with(program: &Block) -> Vec<Block> {
    let bin = dag::directory(&[("main.wasm", program.cid)]);
    vec![dag::directory(&[("bin", bin.cid)]), bin, program.clone()]
}

#[tokio::test]
async fn a_flipped_bit_is_a_mismatch() {
    for (cid, car) in [V0, V1] {
        let error = failure(cid, changed(car, "block/get", flipped)).await;
        assert!(error.contains("are not that block: they hash to"), "{error}");
        assert!(error.contains("Do not run it."), "{error}");
    }
    // With version 0 the program is a dag-pb node, and comes in a CAR file.
    let error = failure(V0.0, changed(V0.1, "dag/export", flipped)).await;
    assert!(error.contains("are not that block: they hash to"), "{error}");
}

#[tokio::test]
async fn a_cut_car_file_is_an_error() {
    for cut in [1, 4, 30] {
        let shorter = move |body: Vec<u8>| Answer::Ok(body[..body.len() - cut].to_vec());
        let error = failure(V0.0, changed(V0.1, "dag/export", shorter)).await;
        assert!(error.contains("cut off"), "{error}");
    }
    let error = failure(V0.0, changed(V0.1, "dag/export", |body| Answer::Cut(body[..body.len() - 9].to_vec()))).await;
    assert!(error.contains("the CAR file cannot be read"), "{error}");
    let error = failure(V0.0, changed(V0.1, "dag/export", |_| Answer::Ok(Vec::new()))).await;
    assert!(error.contains("no CAR file of version 1: it is empty"), "{error}");
}

#[tokio::test]
async fn a_wrong_root_is_an_error() {
    let other = dag::file(COMPONENT, &[]);
    let car = dag::car(&[other.cid], &[other]);
    let error = failure(V0.0, changed(V0.1, "dag/export", move |_| Answer::Ok(car.clone()))).await;
    assert!(error.contains("a CAR file with the roots"), "{error}");
}

#[tokio::test]
async fn an_oversized_block_is_not_read() {
    let error = failure(V1.0, changed(V1.1, "block/get", |_| Answer::Ok(vec![0; (2 << 20) + 1]))).await;
    assert!(error.contains("more than the 2097152 bytes"), "{error}");
    let block = dag::file(&vec![0; 2 << 20], &[]);
    let image = image_with(&block);
    let store = Store::default().with(image.clone());
    let error = failure(&image[0].cid.to_string(), move |request| store.answer(request)).await;
    assert!(error.contains("a block in the CAR file has 2097"), "{error}");
}

#[tokio::test]
async fn a_program_larger_than_allowed_is_not_fetched() {
    let leaf = dag::raw(b"leaf");
    let image = image_with(&dag::file(b"", &[(leaf.cid, DEFAULT_MAX_PROGRAM + 1)]));
    let store = Store::default().with(image.clone());
    let error = failure(&image[0].cid.to_string(), move |request| store.answer(request)).await;
    assert!(error.contains("\"bin/main.wasm\": the file has 268435457 bytes, at most 268435456"), "{error}");
}

#[tokio::test]
async fn a_name_that_leads_elsewhere_spoils_its_directory() {
    let leaf = dag::raw(COMPONENT);
    for name in ["..", ".", "", "../../etc/passwd", "a/b"] {
        let bin = dag::directory(&[("main.wasm", leaf.cid), (name, leaf.cid)]);
        let root = dag::directory(&[("bin", bin.cid)]);
        let store = Store::default().with([root.clone(), bin, leaf.clone()]);
        let error = failure(&root.cid.to_string(), move |request| store.answer(request)).await;
        assert!(error.contains(&format!("{name:?} is not the name of a file")), "{error}");
    }
}

#[tokio::test]
async fn what_is_no_image_is_none() {
    let leaf = dag::raw(COMPONENT);
    let symlink = dag::node(&[], Some(&dag::data(dag::SYMLINK, b"/bin/sh", None, &[])));
    let linked = image_with(&symlink);
    let empty = dag::directory(&[]);
    let foreign = dag::block(0x71, b"\xa0".to_vec());
    let weak = cid::Cid::new_v1(0x55, leaf.cid.hash().truncate(8));
    let blocks = [&linked[..], &[leaf.clone(), empty.clone(), foreign.clone()]].concat();
    for (cid, message) in [
        (leaf.cid, "expected a directory, found a file"),
        (symlink.cid, "found a symbolic link"),
        (linked[0].cid, "\"bin/main.wasm\": expected a regular file, found a symbolic link"),
        (empty.cid, "the directory has no bin/main.wasm"),
        (foreign.cid, "its codec is 0x71: expected raw (0x55) or dag-pb (0x70)"),
        (weak, "cannot be verified"),
        (dag::raw(b"nobody has this").cid, "with status 500: block was not found locally (offline)"),
    ] {
        let store = Store::default().with(blocks.clone());
        let error = failure(&cid.to_string(), move |request| store.answer(request)).await;
        assert!(error.contains(message), "{message}: {error}");
    }
}

#[tokio::test]
async fn silence_ends() {
    let error = failure(V0.0, |_| Answer::Silence).await;
    assert!(error.contains("the daemon did not answer block/get within 2.1 s"), "{error}");
    assert!(error.contains("Ask the daemon itself"), "{error}");
    let error = failure(V0.0, changed(V0.1, "block/get", Answer::Stalled)).await;
    assert!(error.contains("did not answer block/get"), "{error}");
    let error = failure(V0.0, changed(V0.1, "dag/export", |body| Answer::Stalled(body[..70].to_vec()))).await;
    assert!(error.contains("the CAR file cannot be read: "), "{error}");
}

#[tokio::test]
async fn whatever_is_no_daemon_is_told_apart() {
    let error = failure(V0.0, |_| Answer::Cut(Vec::new())).await;
    assert!(error.contains("the connection to the daemon broke during block/get"), "{error}");
    let daemon = Daemon::start(|_: &Request| Answer::Error(403, "no\u{1b}[31m".repeat(1_000))).await;
    let error = loader(&daemon.url).load(&format!("/ipfs/{}", V0.0)).await.expect_err("refused").to_string();
    assert!(error.contains("with status 403: ") && !error.contains('\u{1b}') && error.len() < 1_000, "{error}");
}

#[tokio::test]
async fn the_whole_load_has_a_time() {
    let daemon = Daemon::start(|_: &Request| Answer::Silence).await;
    let limits = Limits { total: Duration::from_millis(50), ..Limits::default() };
    let loader = Loader::new(LoaderConfig { ipfs_url: daemon.url.clone(), limits }).expect("a URL");
    let error = loader.load(&format!("/ipfs/{}", V0.0)).await.expect_err("no answer").to_string();
    assert!(error.contains("gave up after 0.05 s") || error.contains("did not answer"), "{error}");
}

#[tokio::test]
async fn a_later_read_has_a_time_too() {
    let store = Store::recorded(V1.1);
    let daemon = Daemon::start(move |request: &Request| match request.command.as_str() {
        "dag/export" => Answer::Silence,
        _ => store.answer(request),
    })
    .await;
    let limits = Limits { total: Duration::from_secs(2), ..Limits::default() };
    let loader = Loader::new(LoaderConfig { ipfs_url: daemon.url.clone(), limits }).expect("a URL");
    let image = loader.load(&format!("/ipfs/{}", V1.0)).await.expect("the image");
    let error = image.files.read("share/big.txt").await.expect_err("no answer").to_string();
    assert!(error.contains("gave up after 2 s") || error.contains("did not answer"), "{error}");
}

#[tokio::test]
async fn files_that_are_read_later_are_verified_too() {
    let store = Store::recorded(V1.1);
    let lies = Arc::new(AtomicBool::new(false));
    let switch = lies.clone();
    let daemon = Daemon::start(move |request: &Request| match store.answer(request) {
        Answer::Ok(body) if switch.load(Ordering::SeqCst) => flipped(body),
        answer => answer,
    })
    .await;
    let image = loader(&daemon.url).load(&format!("/ipfs/{}", V1.0)).await.expect("the image");
    lies.store(true, Ordering::SeqCst);
    let error = image.files.read("share/big.txt").await.expect_err("a lie");
    assert!(matches!(&error, FileError::Ipfs { error, .. } if matches!(**error, crate::ipfs::Error::Untrusted(_))));
    drop(daemon);
    let error = image.files.read("share/big.txt").await.expect_err("no daemon");
    assert!(matches!(error, FileError::Ipfs { .. }), "{error}");
}
