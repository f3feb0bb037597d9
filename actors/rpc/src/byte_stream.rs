//! The server of `ByteStream`: one end of a stream of bytes.
//!
//! Calls on one end take effect in the order in which they arrive, also when several are under way.

use std::{any::Any, future::Future, rc::Rc, sync::Arc};

use capnp::Error;
use futures::FutureExt;
use tokio::sync::{Mutex, OwnedMutexGuard};
use ww_cell::{
    pipe::{self, Closed, Demand},
    tail,
};
use ww_schema::peer_capnp::byte_stream;

/// Most bytes of one answer, in bytes, whatever the caller asks for.
const MAX_READ: usize = 1 << 20;

/// What the stream leads to. The lock is what orders calls.
pub(crate) enum End {
    Writer(Writing),
    Reader(Arc<Mutex<pipe::Reader>>),
    Tail(Arc<Mutex<tail::Reader>>),
}

/// The end that writes to a pipe. Clones are the same.
#[derive(Clone)]
pub(crate) struct Writing {
    pub(crate) writer: Arc<Mutex<pipe::Writer>>,
    /// Beside the lock: a call that waits for the reader's question must not hold up those that bring the answer.
    demand: Arc<Mutex<Demand>>,
}

struct Server {
    end: End,
    /// Keeps the stream's owner alive as long as somebody holds the stream, or waits for an answer from it: every call
    /// that can wait holds the server.
    _owner: Rc<dyn Any>,
}

/// A `ByteStream` of a process or a message.
pub(crate) fn client(end: End, owner: Rc<dyn Any>) -> byte_stream::Client {
    capnp_rpc::new_client(Server { end, _owner: owner })
}

/// Takes a place in the queue now, and the lock when its turn has come.
fn queue<T: 'static>(lock: &Arc<Mutex<T>>) -> impl Future<Output = OwnedMutexGuard<T>> + use<T> {
    let mut turn = Box::pin(Arc::clone(lock).lock_owned());
    // The first poll takes the place: also when this task has used up the budget that tokio gives it, which would
    // let calls overtake each other.
    let first = tokio::task::unconstrained(turn.as_mut()).now_or_never();
    async move {
        match first {
            Some(guard) => guard,
            None => turn.await,
        }
    }
}

fn failed(closed: Closed) -> Error {
    match closed {
        Closed::End => Error::failed("the stream is closed: its reader has gone".into()),
        other => Error::failed(other.to_string()),
    }
}

impl Writing {
    pub(crate) fn new(writer: pipe::Writer) -> Self {
        Self { demand: Arc::new(Mutex::new(writer.demand())), writer: Arc::new(Mutex::new(writer)) }
    }
}

impl Server {
    fn write(&self, bytes: Vec<u8>) -> impl Future<Output = Result<(), Error>> + use<> {
        let writer = match &self.end {
            End::Writer(Writing { writer, .. }) => Some(queue(writer)),
            End::Reader(_) | End::Tail(_) => None,
        };
        async move {
            let Some(writer) = writer else { return Err(Error::failed("this end of the stream only reads".into())) };
            writer.await.write_all(&bytes).await.map_err(failed)
        }
    }
}

impl byte_stream::Server for Server {
    fn read(
        self: Rc<Self>,
        params: byte_stream::ReadParams,
        mut results: byte_stream::ReadResults,
    ) -> impl Future<Output = Result<(), Error>> + 'static {
        enum Turn<A, B> {
            Reader(A),
            Tail(B),
            None,
        }
        let turn = match &self.end {
            End::Reader(reader) => Turn::Reader(queue(reader)),
            End::Tail(tail) => Turn::Tail(queue(tail)),
            End::Writer(..) => Turn::None,
        };
        async move {
            let _held = self;
            let max = usize::try_from(params.get()?.get_max_bytes()).unwrap_or(usize::MAX).min(MAX_READ);
            if max == 0 {
                return Err(Error::failed("maxBytes is 0: ask for at least one byte".into()));
            }
            let bytes = match turn {
                Turn::Reader(reader) => reader.await.read(max).await.map_err(failed)?,
                Turn::Tail(tail) => tail.await.read(max).await,
                Turn::None => return Err(Error::failed("this end of the stream only writes".into())),
            };
            results.get().set_data(&bytes);
            Ok(())
        }
    }

    fn write(
        self: Rc<Self>,
        params: byte_stream::WriteParams,
        _: byte_stream::WriteResults,
    ) -> impl Future<Output = Result<(), Error>> + 'static {
        let bytes = params.get().and_then(|params| params.get_data().map(<[u8]>::to_vec));
        let written = bytes.map(|bytes| Server::write(&self, bytes));
        async move {
            let _held = self;
            written?.await
        }
    }

    fn push(self: Rc<Self>, params: byte_stream::PushParams) -> impl Future<Output = Result<(), Error>> + 'static {
        let bytes = params.get().and_then(|params| params.get_data().map(<[u8]>::to_vec));
        let written = bytes.map(|bytes| Server::write(&self, bytes));
        async move {
            let _held = self;
            written?.await
        }
    }

    fn close(
        self: Rc<Self>,
        _: byte_stream::CloseParams,
        _: byte_stream::CloseResults,
    ) -> impl Future<Output = Result<(), Error>> + 'static {
        enum Turn<A, B> {
            Writer(A),
            Reader(B),
            None,
        }
        let turn = match &self.end {
            End::Writer(Writing { writer, .. }) => Turn::Writer(queue(writer)),
            End::Reader(reader) => Turn::Reader(queue(reader)),
            // Holds nobody up.
            End::Tail(_) => Turn::None,
        };
        async move {
            match turn {
                Turn::Writer(writer) => writer.await.close(),
                Turn::Reader(reader) => reader.await.close(),
                Turn::None => {}
            }
            Ok(())
        }
    }

    async fn wanted(
        self: Rc<Self>,
        _: byte_stream::WantedParams,
        mut results: byte_stream::WantedResults,
    ) -> Result<(), Error> {
        let End::Writer(Writing { demand, .. }) = &self.end else {
            return Err(Error::failed("this end of the stream only reads".into()));
        };
        let wanted = queue(demand).await.wanted().await.map_err(failed)?;
        results.get().set_bytes(u32::try_from(wanted).unwrap_or(u32::MAX));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::future::join_all;
    use tokio::{task::LocalSet, time::timeout};
    use ww_cell::pipe::{CAPACITY, pipe};

    use super::*;
    use crate::fixture::wanted;

    #[tokio::test(start_paused = true)]
    async fn many_who_ask_what_is_wanted_wait_without_work() {
        let in_vats = async {
            let (tx, rx) = pipe(CAPACITY);
            let stream = client(End::Writer(Writing::new(tx)), Rc::new(()));
            let mut asked = join_all((0..100).map(|_| wanted(&stream)));
            // That time passes shows that nobody does anything.
            assert!(timeout(Duration::from_secs(1), &mut asked).await.is_err());
            assert!(rx.try_read(7).is_ok());
            let answers = asked.await;
            assert!(answers.iter().all(|answer| matches!(answer, Ok(7))), "{answers:?}");
        };
        LocalSet::new().run_until(in_vats).await;
    }
}
