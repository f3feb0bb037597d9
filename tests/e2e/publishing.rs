//! Under which name, for whom, and how many at a time: what a published cell promises.

use futures::{FutureExt, StreamExt, stream::FuturesUnordered};
use ww::{Audience, Boot, Config, Node, Serving, cell::Mode};
use ww_core::Name;
use ww_net::{
    Identity, OpenError,
    call::{Asked, Ending, Part, Reason, Status},
};

use crate::{
    client::{Client, platform, soon},
    harness::{Ww, shared_cache},
    image::Image,
    server::{serve, serve_with},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_is_not_allowed_finds_nobody() {
    let platform = platform();
    let keys = tempfile::tempdir().expect("a directory");
    let key = |name: &str| Identity::load_or_create(keys.path().join(name)).expect("a key");
    let (friend, another) = (key("friend").peer_id(), key("another").peer_id());
    let listed = format!("[cell]\nasync = true\nallow = ['{friend}', '{another}']\n");
    let (image, unlisted) = (Image::of("echo").manifest(&listed), Image::of("echo"));
    let by_option = friend.to_string();
    let (first, second) = (serve(&image, "echo", &[]), serve(&unlisted, "echo", &["--async", "--allow", &by_option]));
    // The option wins over the image.
    let third = serve_with(&image, "echo", |ww| ww.args(["--allow", &by_option]));
    for (server, another_is_allowed) in [(first, true), (second, false), (third, false)] {
        for place in server.places() {
            let stranger = Client::new(&platform, place).await;
            let forbidden = stranger.call("echo", b"hello").await;
            let unknown = stranger.call("nobody", b"hello").await;
            assert!(matches!(&forbidden.1, Ok(Status::Refused { reason: Reason::NoSuchCell, .. })), "{forbidden:?}");
            assert_eq!((forbidden.0, forbidden.1.ok()), (unknown.0, unknown.1.ok()), "the same byte for byte");
            for name in ["echo", "nobody"] {
                let error = stranger.open_raw(name).await.expect_err("it is not for strangers");
                assert!(matches!(error, OpenError::NoSuchProtocol { .. }), "{error}");
            }
            stranger.net.stop().await;
        }
        server.send("hello").expect(69, "").expect_stderr(&["refused (NoSuchCell)"]);
        for (identity, allowed) in [("friend", true), ("another", another_is_allowed)] {
            for place in server.places() {
                let client = Client::with(&platform, place, key(identity)).await;
                if allowed {
                    assert_eq!(client.send_raw("echo", b"hello").await, b"hello");
                }
                let (reply, status) = client.call("echo", b"hello").await;
                assert_eq!((&*reply == b"hello", matches!(status, Ok(Status::Ok))), (allowed, allowed));
                client.net.stop().await;
            }
        }
    }
    let nonsense = Image::of("echo").manifest("[cell]\npublish = true\nallow = [\"me\"]\n");
    Ww::run(&nonsense).end().expect(66, "").expect_stderr(&["etc/ww.toml", "cell.allow", "\"me\" is no peer id"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_name_of_a_cell_that_has_ended_is_free() {
    let platform = platform();
    let mut config = Config::default();
    config.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().expect("an address")];
    (config.identity, config.cache) = (None, Some(shared_cache()));
    let node = Node::start(config, tokio::runtime::Handle::current()).await.expect("a node");
    let to = (node.net().peer_id(), node.net().addrs().await.remove(0));
    let client = Client::new(&platform, to).await;
    let image = Image::of("actor");
    let name = Name::new("actor").expect("a name");
    let mut kept = Vec::new();
    for _ in 0..2 {
        let loaded = node.load(image.path().to_str().expect("UTF-8")).await.expect("an image");
        let process = node.serve(loaded, Boot::default(), Serving::new(Mode::Async)).await.expect("a cell");
        let published = node.publish(name.clone(), process.cell(), Audience::All).expect("a free name");
        assert!(node.publish(name.clone(), process.cell(), Audience::All).is_err(), "the name is taken");
        assert_eq!(client.send_raw("actor", b"count\n").await, b"1");
        let (_, status) = client.call("actor", b"exit 3").await;
        assert!(matches!(status, Ok(Status::Exit { code: 3, .. })), "{status:?}");
        // The news is on its way: until it has come, calls are told of the end.
        soon(async { while let (_, Ok(Status::Exit { code: 3, .. })) = client.call("actor", b"count\n").await {} })
            .await;
        let (_, status) = client.call("actor", b"count\n").await;
        assert!(matches!(status, Ok(Status::Refused { reason: Reason::NoSuchCell, .. })), "{status:?}");
        assert!(matches!(client.open_raw("actor").await, Err(OpenError::NoSuchProtocol { .. })));
        // Dropping what was published first takes nothing from who has the name now.
        kept.push((published, process));
    }
    drop(kept);
    client.net.stop().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_mailbox_follows_the_policy_of_the_image() {
    const MESSAGES: usize = 6;
    let platform = platform();
    for (overflow, answered) in [("wait", MESSAGES), ("reject", 2), ("drop-oldest", 2)] {
        let manifest = format!("[cell]\nasync = true\npublish = true\nmailbox = 1\noverflow = '{overflow}'\n");
        let image = Image::of("actor").manifest(&manifest);
        let server = serve_with(&image, "actor", |ww| ww);
        let client = Client::new(&platform, server.places().next().expect("a place")).await;
        // One is begun, one waits, and the others come before the first has ended.
        let statuses = futures::future::join_all((0..MESSAGES).map(|_| client.call("actor", b"sleep 500"))).await;
        let ok =
            statuses.iter().filter(|(reply, status)| reply == b"slept" && matches!(status, Ok(Status::Ok))).count();
        let busy = |status: &Status| matches!(status, Status::Refused { reason: Reason::Busy, .. });
        let refused = statuses.iter().filter(|(_, status)| status.as_ref().is_ok_and(busy)).count();
        assert_eq!((ok, refused), (answered, MESSAGES - answered), "{overflow}: {statuses:?}");
        client.net.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_instances_run_at_once_than_the_image_says() {
    let platform = platform();
    let image = Image::of("exits").manifest("[cell]\npublish = true\n[limits]\ninstances = 2\n");
    let server = serve_with(&image, "exits", |ww| ww.guest_args(&["sleep", "1000"]));
    let client = Client::new(&platform, server.places().next().expect("a place")).await;
    let mut answers = FuturesUnordered::new();
    for _ in 0..3 {
        let Asked { body, mut reply } = client.open_call("exits", None).await;
        body.finish(Ending::Whole).await.expect("open");
        // The first line comes before the instance sleeps.
        answers.push(async move { matches!(reply.read().await, Ok(Part::Data(_))).then_some(reply) });
    }
    // Whichever two of them come first.
    let served = [soon(answers.next()).await, soon(answers.next()).await];
    let served = served.map(|answer| answer.expect("three").expect("it is served"));
    assert!(answers.next().now_or_never().is_none(), "it waits");
    soon(answers.next()).await.expect("three").expect("its turn has come");
    drop(served);
    client.net.stop().await;
    for (manifest, part) in [
        ("[cell]\npublish = true\nmailbox = 100000\n", "`mailbox` is 100000, but at most 4096"),
        ("[cell]\npublish = true\n[limits]\ninstances = 100000\n", "`instances` is 100000, but at most 1024"),
    ] {
        Ww::run(&Image::of("echo").manifest(manifest)).end().expect(66, "").expect_stderr(&[part]);
    }
}
