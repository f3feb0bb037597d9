use tokio::net::TcpSocket;

use super::*;
use crate::fake::{Answer, dag};

#[tokio::test]
async fn recorded_images_load_and_their_files_are_read_later() {
    for (cid, car) in [V0, V1] {
        let daemon = honest(Store::recorded(car)).await;
        let image = loader(&daemon.url).load(&format!("/ipfs/{cid}")).await.expect("the recorded image");
        assert_eq!(image.source, format!("/ipfs/{cid}"));
        assert_eq!(image.wasm, COMPONENT);
        assert_eq!(image.manifest.cell.name.as_ref().map(ww_core::Name::as_str), Some("fixture"));
        assert_eq!(image.manifest.env["GREETING"], "hello");
        assert_eq!(image.files.read("share/big.txt").await.expect("the file of two blocks"), big());
        assert_eq!(image.files.read(PROGRAM).await.expect("the program"), COMPONENT);
        assert!(matches!(image.files.read("share/none").await, Err(FileError::NotFound { .. })));
        assert!(matches!(image.files.read("share").await, Err(FileError::NotAFile { found: "a directory", .. })));
        assert!(matches!(image.files.read("../x").await, Err(FileError::Path { .. })));
        assert!(matches!(image.files.read("bin/main.wasm/x").await, Err(FileError::Ipfs { .. })));
    }
}

#[tokio::test]
async fn either_version_of_a_cid_names_the_same_image() {
    let daemon = honest(Store::recorded(V0.1)).await;
    let cid = cid::Cid::try_from(V0.0).and_then(cid::Cid::into_v1).expect("a CID");
    for path in [format!("/ipfs/{cid}"), format!("/ipld/{cid}/"), format!("/ipld/{}", V0.0)] {
        assert!(loader(&daemon.url).load(&path).await.is_ok(), "{path}");
    }
}

#[tokio::test]
async fn sharded_directories_are_searched() {
    let daemon = honest(Store::recorded(SHARDED.1)).await;
    let image = loader(&daemon.url).load(&format!("/ipfs/{}", SHARDED.0)).await.expect("the recorded image");
    for number in 0..60 {
        let file = image.files.read(&format!("many/f{number}.txt")).await.expect("an entry");
        assert_eq!(file, format!("file {number}\n"));
    }
    for absent in 60..120 {
        let read = image.files.read(&format!("many/f{absent}.txt")).await;
        assert!(matches!(read, Err(FileError::NotFound { .. })), "{read:?}");
    }
}

#[tokio::test]
async fn an_image_may_lie_below_a_cid() {
    let outer = dag::directory(&[("images", cid::Cid::try_from(V1.0).expect("a CID"))]);
    let daemon = honest(Store::recorded(V1.1).with([outer.clone()])).await;
    let image = loader(&daemon.url).load(&format!("/ipfs/{}/images/", outer.cid)).await.expect("the image");
    assert_eq!(image.source, format!("/ipfs/{}", V1.0));
}

#[tokio::test]
async fn names_are_resolved_and_what_they_stand_for_is_verified() {
    let v1 = format!("/ipfs/{}", V1.0);
    let names = [("good", v1.as_str()), ("below", &format!("{v1}/etc")), ("loop", "/ipns/loop"), ("odd", "\"<html>\"")];
    let store =
        names.iter().fold(Store::recorded(V1.1), |store, (name, path)| store.named(&format!("/ipns/{name}"), path));
    let daemon = honest(store).await;
    let loader = loader(&daemon.url);
    let image = loader.load("/ipns/good").await.expect("the image");
    assert_eq!(image.source, v1);
    for (name, message) in [
        ("good/etc", "the directory has no bin/main.wasm"),
        ("below", "the directory has no bin/main.wasm"),
        ("loop", "resolved /ipns/loop to \"/ipns/loop\": expected a path like /ipfs/"),
        ("odd", "expected a path like /ipfs/"),
        ("unknown", "the daemon refused name/resolve /ipns/unknown with status 500: could not resolve name"),
    ] {
        let error = loader.load(&format!("/ipns/{name}")).await.expect_err(name).to_string();
        assert!(error.contains(message), "{error}");
    }

    let evil = dag::directory(&[("bin", cid::Cid::try_from(V0.0).expect("a CID"))]);
    let store = Store::recorded(V1.1).named("/ipns/good", &v1);
    let liar = Daemon::start(move |request: &Request| match request.command.as_str() {
        "block/get" => Answer::Ok(evil.data.to_vec()),
        _ => store.answer(request),
    });
    let error = super::loader(&liar.await.url).load("/ipns/good").await.expect_err("a lie").to_string();
    assert!(error.contains("they hash to"), "{error}");
}

/// A URL where nobody listens as long as the socket, which only keeps the port, exists.
fn nobody() -> (TcpSocket, String) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("a port");
    let url = format!("http://{}", socket.local_addr().expect("an address"));
    (socket, url)
}

#[tokio::test]
async fn an_unreachable_daemon_leaves_a_mounted_ipfs() {
    let mount = tempfile::tempdir().expect("a directory");
    let path = format!("/ipfs/{}/app", V1.0);
    let bin = mount.path().join(&path[1..]).join("bin");
    std::fs::create_dir_all(&bin).expect("directories");
    std::fs::write(bin.join("main.wasm"), COMPONENT).expect("the program");

    let (_socket, url) = nobody();
    let mut loader = loader(&url);
    loader.mount = mount.path().to_owned();
    let image = loader.load(&path).await.expect("the mounted image");
    assert_eq!((image.source, image.wasm), (path.clone(), Bytes::from_static(COMPONENT)));

    // A daemon that can be reached is believed, whatever it says.
    let daemon = honest(Store::default()).await;
    loader.ipfs_url = Url::parse(&daemon.url).expect("a URL");
    let error = loader.load(&path).await.expect_err("the daemon does not have it");
    assert_eq!(error.attempts.len(), 1, "{error}");
}

#[tokio::test]
async fn an_error_names_each_loader_that_was_tried() {
    let (_socket, url) = nobody();
    let error = loader(&url).load(&format!("/ipfs/{}", V1.0)).await.expect_err("no daemon");
    assert_eq!(error.attempts.len(), 2);
    assert!(error.attempts[0].failure.is_unreachable());
    let text = error.to_string();
    for message in [
        &format!("\n  IPFS daemon at {url}: the daemon cannot be reached: Connection refused"),
        "\n  file system: there is no such directory",
        "\nStart a daemon with `ipfs daemon`, or name the one that runs with --ipfs-url.",
    ] {
        assert!(text.contains(message), "{text}");
    }
}

#[tokio::test]
async fn a_path_that_is_none_reaches_nobody() {
    let daemon = Daemon::start(|request: &Request| panic!("asked for {request:?}")).await;
    for path in ["/ipfs/hello", "/ipfs/", "/ipns/..", &format!("/ipfs/{}/../..", V1.0)] {
        let error = loader(&daemon.url).load(path).await.expect_err(path);
        assert_eq!(error.attempts.len(), 1, "no fall-back: {error}");
        assert!(matches!(error.attempts[0].failure, Failure::Ipfs(crate::ipfs::Error::Path(_))), "{error}");
    }
    let error = loader(&daemon.url).load("/ipfs/hello").await.expect_err("no CID").to_string();
    assert!(error.contains("\"hello\" is not a CID") && error.contains("expected one like Qm… or bafy…"), "{error}");
}
