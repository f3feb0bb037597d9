//! Against a real daemon, which the set-up of the test command starts: `tests/set-up/ipfs-daemon.sh`.
//!
//! `WW_TEST_IPFS_API` is the URL of its RPC API. Where it is not set, the test says that it was left out; with
//! `WW_TEST_REQUIRE_ALL=1` that is a failure.

use std::{
    env,
    io::{self, Write},
    sync::Once,
    time::{Duration, Instant},
};

use reqwest::Client;
use serde_json::Value;
use ww_image::{Failure, FileError, Limits, Loader, LoaderConfig, ipfs};

/// Separates the parts of a form; in none of them.
const BOUNDARY: &str = "ww-image-test-boundary";

/// Entries of the directory that is sharded.
const ENTRIES: usize = 100;

/// Longest time to learn that nobody has a block, with the patience of 1 s that the loader has here.
const IN_TIME: Duration = Duration::from_secs(15);

struct Api {
    url: String,
    http: Client,
}

impl Api {
    fn from_env() -> Option<Self> {
        let url = env::var("WW_TEST_IPFS_API").ok().filter(|url| !url.is_empty());
        if url.is_none() {
            assert_ne!(env::var("WW_TEST_REQUIRE_ALL").as_deref(), Ok("1"), "WW_TEST_IPFS_API is not set");
            // Past the capture of the test harness: whoever runs the tests should see what did not run.
            static TOLD: Once = Once::new();
            TOLD.call_once(|| {
                writeln!(io::stderr(), "left out: images from a real daemon (no IPFS daemon)").expect("stderr is open");
            });
        }
        let http = Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().expect("a client");
        Some(Self { url: url?, http })
    }

    fn loader(&self) -> Loader {
        let limits = Limits { answer: Duration::from_secs(1), ..Limits::default() };
        Loader::new(LoaderConfig { ipfs_url: self.url.clone(), limits }).expect("a URL")
    }

    /// Asks the daemon; returns the last line of its answer.
    async fn ask(&self, command: &str, form: Vec<u8>) -> Value {
        let url = format!("{}/api/v0/{command}", self.url.trim_end_matches('/'));
        let mut request = self.http.post(url);
        if !form.is_empty() {
            let content = format!("multipart/form-data; boundary={BOUNDARY}");
            request = request.header("content-type", content).body(form);
        }
        let answer = request.send().await.expect("an answer");
        let text = answer.text().await.expect("a text");
        let line = text.lines().last().expect("a line");
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{command}: {error}: {text}"))
    }

    /// Adds a directory; returns its CID.
    async fn add(&self, options: &str, files: &[(String, Vec<u8>)]) -> String {
        let mut form = Vec::new();
        for (path, bytes) in files {
            let head = format!(
                "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"image/{path}\"\r\n\
                 Content-Type: application/octet-stream\r\n\r\n"
            );
            form.extend([head.as_bytes(), bytes, b"\r\n"].concat());
        }
        form.extend(format!("--{BOUNDARY}--\r\n").into_bytes());
        let added = self.ask(&format!("add?{options}"), form).await;
        assert_eq!(added["Name"], "image", "the directory comes last: {added}");
        added["Hash"].as_str().expect("a CID").to_owned()
    }
}

/// A program of several blocks: a core module with one long custom section.
fn program() -> Vec<u8> {
    let content: Vec<u8> = (0_u32..300_000).flat_map(u32::to_le_bytes).collect();
    // Id 0, then the length in LEB128, then a name of no bytes.
    let mut length = content.len() + 1;
    let mut wasm = b"\0asm\x01\0\0\0\0".to_vec();
    while length >= 0x80 {
        wasm.push((length & 0x7f | 0x80) as u8);
        length >>= 7;
    }
    wasm.extend([length as u8, 0]);
    wasm.extend(content);
    wasm
}

fn image() -> Vec<(String, Vec<u8>)> {
    let manifest = b"[cell]\nname = \"real\"\nasync = true\n";
    let mut files = vec![("bin/main.wasm".to_owned(), program()), ("etc/ww.toml".to_owned(), manifest.to_vec())];
    files.extend((0..ENTRIES).map(|entry| (format!("many/{entry}.txt"), format!("entry {entry}\n").into_bytes())));
    files
}

#[tokio::test]
async fn images_of_a_real_daemon_load() {
    let Some(api) = Api::from_env() else { return };
    let loader = api.loader();
    for options in ["cid-version=0", "cid-version=1&raw-leaves=true", "cid-version=1&shard-split-threshold=8"] {
        let cid = api.add(options, &image()).await;
        let loaded = loader.load(&format!("/ipfs/{cid}")).await.unwrap_or_else(|error| panic!("{options}: {error}"));
        assert!(loaded.wasm == program(), "{options}: the program is whole");
        assert_eq!(loaded.manifest.cell.name.as_ref().map(|name| name.as_str()), Some("real"));
        assert!(loaded.manifest.cell.async_mode);
        for entry in [0, ENTRIES / 2, ENTRIES - 1] {
            let file = loaded.files.read(&format!("many/{entry}.txt")).await.expect("an entry");
            assert_eq!(file, format!("entry {entry}\n"), "{options}");
        }
        let absent = loaded.files.read("many/absent.txt").await;
        assert!(matches!(absent, Err(FileError::NotFound { .. })), "{options}: {absent:?}");
    }
}

#[tokio::test]
async fn a_name_of_a_real_daemon_is_resolved() {
    let Some(api) = Api::from_env() else { return };
    let cid = api.add("cid-version=1&raw-leaves=true", &image()).await;
    let published =
        api.ask(&format!("name/publish?arg=/ipfs/{cid}&allow-offline=true&resolve=false"), Vec::new()).await;
    let name = published["Name"].as_str().expect("a name");
    let loaded = api.loader().load(&format!("/ipns/{name}")).await.expect("the published image");
    let same = cid::Cid::try_from(loaded.source.trim_start_matches("/ipfs/")).expect("a CID");
    assert_eq!(same, cid::Cid::try_from(cid.as_str()).expect("a CID"));
    assert!(loaded.wasm == program());
}

#[tokio::test]
async fn a_real_daemon_that_has_not_got_it_says_so_in_time() {
    let Some(api) = Api::from_env() else { return };
    let started = Instant::now();
    let path = "/ipfs/bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy";
    let error = api.loader().load(path).await.expect_err("nobody has it");
    assert!(started.elapsed() < IN_TIME, "it took {:?}", started.elapsed());
    let failure = &error.attempts[0].failure;
    assert!(matches!(failure, Failure::Ipfs(ipfs::Error::Refused { status: 500, .. })), "{error}");
    assert_eq!(error.attempts.len(), 1, "no fall-back: {error}");
}
