//! Callers that keep a cell waiting, whatever the way they come: others are served meanwhile.

use std::time::{Duration, Instant};

use tokio::{io::AsyncWriteExt, task::JoinSet};
use ww_net::{
    Protocol, Stream,
    call::{Part, Status},
};

use crate::{
    client::{Client, platform, soon},
    harness::Running,
    image::Image,
    server::{Server, serve_with},
    verbs::User,
};

/// Messages that others send beside one caller that stalls.
const MESSAGES: usize = 20;

/// How long one of them may take on a busy machine, without optimisations: 200 ms are what the rule allows, and a caller
/// that is not given up stays for ten seconds or for ever.
const IN_TIME: Duration = Duration::from_secs(3);

/// More than all that is held of a message and its reply on their way.
const LARGE: usize = 2 << 20;

fn serve<'image>(user: &User, image: &'image Image) -> Server<'image> {
    serve_with(image, "echo", |ww| ww.args(["--async"]).env("XDG_RUNTIME_DIR", user.directory()))
}

/// Others are answered in time, in each way, while one caller stalls.
async fn others_are_served(user: &User, other: &Client) {
    let mut slowest = Duration::ZERO;
    for number in 0..MESSAGES {
        let message = format!("message {number}");
        let began = Instant::now();
        let (reply, status) = other.call("echo", message.as_bytes()).await;
        assert!(reply == message.as_bytes() && matches!(status, Ok(Status::Ok)), "{status:?}");
        slowest = slowest.max(began.elapsed());
        assert!(slowest < IN_TIME, "{slowest:?} for message {number}");
    }
    println!("the slowest of {MESSAGES} messages took {slowest:?}");
    assert_eq!(other.send_raw("echo", b"raw").await, b"raw");
    tokio::task::block_in_place(|| assert_eq!(user.prints(&["send", "echo", "hello"]), "hello"));
}

/// Says a little, and then nothing.
async fn silent(mut stream: Stream) -> Stream {
    stream.write_all(b".").await.expect("open");
    stream.flush().await.expect("open");
    stream
}

/// Sends what will be sent back, and takes nothing of it.
async fn deaf(mut stream: Stream) -> Stream {
    let all = vec![b'x'; LARGE];
    let sending = stream.write_all(&all);
    // As far as it is taken.
    let _ = tokio::time::timeout(Duration::from_millis(500), sending).await;
    stream
}

/// One peer stalls again and again, on several streams at once.
fn stall<F>(client: &Client, stalling: fn(Stream) -> F) -> JoinSet<()>
where
    F: Future<Output = Stream> + Send + 'static,
{
    let mut stallers = JoinSet::new();
    for _ in 0..4 {
        let client = client.clone();
        stallers.spawn(async move {
            loop {
                let name = ww_core::Name::new("echo").expect("a name");
                if let Ok(stream) = client.open(Protocol::from(name)).await {
                    let _stream = stalling(stream).await;
                    tokio::time::sleep(Duration::from_millis(300)).await;
                }
            }
        });
    }
    stallers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_stalls_holds_nobody() {
    let (platform, user, image) = (platform(), User::new(), Image::of("echo"));
    let server = serve(&user, &image);
    let place = server.places().next().expect("a place");
    let (staller, other) = (Client::new(&platform, place.clone()).await, Client::new(&platform, place).await);
    // A call is told why it was given up.
    let mut asked = staller.begin_call("echo").await;
    others_are_served(&user, &other).await;
    let status = loop {
        match soon(asked.reply.read()).await.expect("a status") {
            Part::End(status) => break status,
            Part::Data(_) => {}
        }
    };
    assert!(matches!(&status, Status::Refused { text, .. } if text.contains("while others waited")), "{status:?}");
    // It has no credit now, and loses none of its messages that are whole.
    let (reply, status) = staller.call("echo", b"whole").await;
    assert!(reply == b"whole" && matches!(status, Ok(Status::Ok)), "{status:?}");
    let mut stallers = stall(&staller, silent);
    others_are_served(&user, &other).await;
    stallers.shutdown().await;
    let mut stallers = stall(&staller, deaf);
    others_are_served(&user, &other).await;
    stallers.shutdown().await;
    for client in [staller, other] {
        client.net.stop().await;
    }
    server.stop().expect(143, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_stalls_holds_nobody_and_one_that_nobody_waits_for_may_type() {
    let (platform, user, image) = (platform(), User::new(), Image::of("echo"));
    let server = serve(&user, &image);
    let other = Client::new(&platform, server.places().next().expect("a place")).await;
    let typing = || -> Running<'static> {
        let mut typing = user.verb(&["send", "echo"]).open_stdin().start();
        typing.type_in("one\n");
        typing.wait_for_stdout("one\n");
        typing
    };
    tokio::task::block_in_place(|| {
        let mut alone = typing();
        alone.type_in("two\n");
        alone.wait_for_stdout("two\n");
        alone.close_stdin();
        alone.end().expect(0, "one\ntwo\n");
    });
    tokio::task::block_in_place(|| {
        let silent = typing();
        // Another client of the same user is another caller.
        assert_eq!(user.prints(&["send", "echo", "hello"]), "hello");
        silent.end().expect(69, "one\n").expect_stderr(&["timeout: ", "while others waited"]);
        let mut deaf = user.verb(&["send", "echo"]).stdin(vec![b'x'; LARGE]).unread_stdout().start();
        assert_eq!(deaf.read(1), b"x", "it has begun");
        tokio::runtime::Handle::current().block_on(others_are_served(&user, &other));
        drop(deaf);
    });
    other.net.stop().await;
    server.stop().expect(143, "");
}
