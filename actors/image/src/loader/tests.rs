mod disk;
mod hostile;
mod ipfs;

use super::*;
use crate::fake::{Daemon, Request, Store};

/// The 8 bytes of an empty component.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// Recorded images, see `tests/fixtures/README.md`.
const V0: (&str, &[u8]) =
    ("Qme3BrZRjWvBCzjYyjWsDJVQrF9xt7LA1uft7fmvbWuPac", include_bytes!("../../tests/fixtures/v0.car"));
const V1: (&str, &[u8]) =
    ("bafybeief3lrz7nw4liqzlqqscw4odmiaijckkanx473q4lumx4zngmkkpe", include_bytes!("../../tests/fixtures/v1.car"));
const SHARDED: (&str, &[u8]) =
    ("bafybeiduzrrmuj74cxqefmwhem75hmqoeuvctlsh6pmsi3bf2vletisw7u", include_bytes!("../../tests/fixtures/sharded.car"));

/// A loader with the URL of a daemon, and little patience.
fn loader(ipfs_url: &str) -> Loader {
    let limits = Limits { answer: Duration::from_millis(100), total: Duration::from_secs(20), ..Limits::default() };
    Loader::new(LoaderConfig { ipfs_url: ipfs_url.to_owned(), limits }).expect("a URL")
}

/// A daemon that tells the truth.
async fn honest(store: Store) -> Daemon {
    Daemon::start(move |request: &Request| store.answer(request)).await
}

/// The text of `share/big.txt`.
fn big() -> String {
    let mut text: String = (0..7_000).map(|line| format!("line {line:06} of a file of several blocks\n")).collect();
    text.truncate(266_240);
    text
}

#[test]
fn what_is_public_goes_anywhere() {
    fn anywhere<T: Send + Sync + 'static>() {}
    fn sent<T: Send>(_: T) {}
    anywhere::<Loader>();
    anywhere::<Image>();
    anywhere::<Files>();
    anywhere::<LoadError>();
    anywhere::<FileError>();
    sent(loader(DEFAULT_IPFS_URL).load("image"));
}

#[test]
fn the_url_of_the_daemon_is_checked() {
    for good in [DEFAULT_IPFS_URL, "http://127.0.0.1:5001/", "https://user:secret@example.net/ipfs"] {
        let config = LoaderConfig { ipfs_url: good.into(), ..LoaderConfig::default() };
        assert!(Loader::new(config).is_ok(), "{good}");
    }
    assert_eq!(loader("https://user:secret@example.net/ipfs/").shown_url(), "https://example.net/ipfs");
    for bad in ["", "localhost:5001", "/ip4/127.0.0.1/tcp/5001", "ftp://localhost", "http://localhost?arg=1"] {
        let config = LoaderConfig { ipfs_url: bad.into(), ..LoaderConfig::default() };
        let error = Loader::new(config).expect_err(bad).to_string();
        assert!(error.contains("expected one like http://localhost:5001"), "{error}");
    }
}
