//! Conversations with a node of the test's own, over pipes in memory.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use capnp::Error;
use futures::{future, join};
use ww_schema::peer_capnp::{byte_stream, executor, host, process};

use super::*;

/// Bytes that a pipe holds: much less than a message, so that both sides have to wait for each other.
const PIPE: usize = 100;

#[derive(Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    closed: bool,
    wakers: Vec<Waker>,
}

#[derive(Clone, Default)]
struct End(Rc<RefCell<Pipe>>);

struct Reading(End);

struct Writing(End);

fn pipe() -> (Writing, Reading) {
    let end = End::default();
    (Writing(end.clone()), Reading(end))
}

impl End {
    fn change<T>(&self, cx: &Context<'_>, change: impl FnOnce(&mut Pipe) -> Option<T>) -> Poll<T> {
        let mut pipe = self.0.borrow_mut();
        match change(&mut pipe) {
            Some(value) => {
                pipe.wakers.drain(..).for_each(Waker::wake);
                Poll::Ready(value)
            }
            None => {
                pipe.wakers.push(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn close(&self) {
        let mut pipe = self.0.borrow_mut();
        pipe.closed = true;
        pipe.wakers.drain(..).for_each(Waker::wake);
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl AsyncRead for Reading {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.0.change(cx, |pipe| {
            if pipe.bytes.is_empty() {
                return pipe.closed.then_some(Ok(0));
            }
            Some(io::Read::read(&mut pipe.bytes, buf))
        })
    }
}

impl AsyncWrite for Writing {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.0.change(cx, |pipe| {
            if pipe.closed {
                return Some(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let room = (PIPE - pipe.bytes.len()).min(buf.len());
            pipe.bytes.extend(&buf[..room]);
            (room > 0).then_some(Ok(room))
        })
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.close();
        Poll::Ready(Ok(()))
    }
}

/// What the node has seen.
#[derive(Clone, Default)]
struct Node {
    args: Rc<RefCell<Vec<String>>>,
    stdin: Rc<RefCell<Vec<u8>>>,
    closed: Rc<Cell<bool>>,
    released: Rc<Cell<bool>>,
}

/// Notes that the guest gave its last reference up.
struct Child(Node);

impl Drop for Child {
    fn drop(&mut self) {
        self.0.released.set(true);
    }
}

impl host::Server for Node {
    async fn executor(
        self: Rc<Self>,
        _: host::ExecutorParams,
        mut results: host::ExecutorResults,
    ) -> Result<(), Error> {
        results.get().set_executor(capnp_rpc::new_client((*self).clone()));
        Ok(())
    }
}

impl executor::Server for Node {
    async fn echo(
        self: Rc<Self>,
        params: executor::EchoParams,
        mut results: executor::EchoResults,
    ) -> Result<(), Error> {
        results.get().set_response(params.get()?.get_message()?);
        Ok(())
    }

    async fn run_bytes(
        self: Rc<Self>,
        params: executor::RunBytesParams,
        mut results: executor::RunBytesResults,
    ) -> Result<(), Error> {
        for arg in params.get()?.get_args()?.iter() {
            self.args.borrow_mut().push(arg?.to_string()?);
        }
        results.get().set_process(capnp_rpc::new_client(Child((*self).clone())));
        Ok(())
    }
}

impl process::Server for Child {
    async fn stdin(self: Rc<Self>, _: process::StdinParams, mut results: process::StdinResults) -> Result<(), Error> {
        results.get().set_stream(capnp_rpc::new_client(self.0.clone()));
        Ok(())
    }

    async fn stdout(
        self: Rc<Self>,
        _: process::StdoutParams,
        mut results: process::StdoutResults,
    ) -> Result<(), Error> {
        results.get().set_stream(capnp_rpc::new_client(self.0.clone()));
        Ok(())
    }

    async fn wait(self: Rc<Self>, _: process::WaitParams, mut results: process::WaitResults) -> Result<(), Error> {
        results.get().set_exit_code(7);
        Ok(())
    }
}

/// What is written is what can be read.
impl byte_stream::Server for Node {
    async fn read(
        self: Rc<Self>,
        params: byte_stream::ReadParams,
        mut results: byte_stream::ReadResults,
    ) -> Result<(), Error> {
        let mut stdin = self.stdin.borrow_mut();
        let count = stdin.len().min(params.get()?.get_max_bytes() as usize);
        results.get().set_data(&stdin.drain(..count).collect::<Vec<_>>());
        Ok(())
    }

    async fn write(
        self: Rc<Self>,
        params: byte_stream::WriteParams,
        _: byte_stream::WriteResults,
    ) -> Result<(), Error> {
        self.stdin.borrow_mut().extend_from_slice(params.get()?.get_data()?);
        Ok(())
    }

    async fn close(self: Rc<Self>, _: byte_stream::CloseParams, _: byte_stream::CloseResults) -> Result<(), Error> {
        self.closed.set(true);
        Ok(())
    }
}

/// Runs a guest's conversation with a node to the end of both.
fn converse_with<T, A>(node: &Node, app: impl FnOnce(host::Client) -> A) -> Result<T, Error>
where
    A: Future<Output = Result<T, Error>>,
{
    let (to_node, from_guest) = pipe();
    let (to_guest, from_node) = pipe();
    let network = VatNetwork::new(from_guest, to_guest, Side::Server, ReaderOptions::new());
    let host: host::Client = capnp_rpc::new_client(node.clone());
    let vat = RpcSystem::new(Box::new(network), Some(host.client));
    let (result, vat) = block_on(async { join!(converse(from_node, to_node, app), vat) });
    if let Err(error) = vat {
        panic!("the node saw no clean end: {error}");
    }
    result
}

#[test]
fn calls_larger_than_the_pipe_are_answered() {
    let text = "x".repeat(10 * PIPE);
    let echoed = converse_with(&Node::default(), |host| async move { Executor::of(&host).echo(&text).await });
    assert_eq!(echoed.expect("an answer").len(), 10 * PIPE);
}

#[test]
fn many_calls_are_in_flight_at_once() {
    let answers = converse_with(&Node::default(), |host| async move {
        let executor = Executor::of(&host);
        future::try_join_all((0..100).map(|_| executor.echo("hello"))).await
    });
    assert_eq!(answers.expect("answers"), vec!["hello"; 100]);
}

#[test]
fn an_error_of_the_application_is_the_outcome() {
    let outcome = converse_with(&Node::default(), |_| async { Err::<(), _>(Error::failed("mine".to_owned())) });
    assert_eq!(outcome.map_err(|error| error.extra), Err("mine".to_owned()));
}

#[test]
fn a_method_that_the_node_lacks_fails_the_call() {
    let outcome =
        converse_with(&Node::default(), |host| async move { host.id_request().send().promise.await.map(drop) });
    assert_eq!(outcome.map_err(|error| error.kind), Err(capnp::ErrorKind::Unimplemented));
}

#[test]
fn a_child_is_written_to_read_from_and_waited_for() {
    let node = Node::default();
    let long = vec![7; 3 * 64 * 1024 + 1];
    let expected = long.clone();
    let outcome = converse_with(&node, |host| async move {
        let none: [&str; 0] = [];
        let child = Executor::of(&host).run_bytes(b"wasm", &["a", "b"], &none).await?;
        child.stdin().write_all(&long).await?;
        child.stdin().close().await?;
        Ok((child.stdout().read_to_end().await?, child.wait().await?))
    });
    assert!(outcome.expect("a conversation") == (expected, 7));
    assert_eq!(*node.args.borrow(), ["a", "b"]);
    assert!(node.closed.get());
    assert!(node.released.get(), "nothing outlives the conversation");
}

#[test]
fn a_lost_connection_fails_what_waits_for_it() {
    let (to_node, _from_guest) = pipe();
    let (to_guest, from_node) = pipe();
    drop(to_guest);
    let outcome = block_on(converse(from_node, to_node, |host| async move { Executor::of(&host).echo("hello").await }));
    assert_eq!(outcome.map_err(|error| error.kind), Err(capnp::ErrorKind::Disconnected));
}
