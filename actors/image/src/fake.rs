//! A daemon that says whatever a test wants, on a port of its own.

pub(crate) mod dag;

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use cid::{Cid, multihash::Multihash};
use futures::executor::block_on;
use reqwest::Url;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    runtime::Handle,
    time,
};
use ww_core::task::{self, Kind, Task};

use self::dag::Block;
use crate::ipfs::{
    car::Reader,
    unixfs::{self, Node},
};

/// Far longer than any test waits.
const FOR_EVER: Duration = Duration::from_secs(3_600);

/// A running daemon. It ends with this.
pub(crate) struct Daemon {
    pub(crate) url: String,
    _task: Task<()>,
}

/// A question to a daemon.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// `block/get`, for example.
    pub(crate) command: String,
    /// What it is about.
    pub(crate) arg: String,
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// Status 200 and these bytes.
    Ok(Vec<u8>),
    /// Another status, and an error.
    Error(u16, String),
    /// A part of an answer, then the end of the connection.
    Cut(Vec<u8>),
    /// A part of an answer, then nothing for ever.
    Stalled(Vec<u8>),
    /// Nothing for ever.
    Silence,
}

impl Daemon {
    pub(crate) async fn start(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let answer = Arc::new(answer);
        let task = task::spawn(&Handle::current(), Kind::owned("fake daemon", "test"), async move {
            let mut connections = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                let answer = answer.clone();
                let serve = async move { serve(stream, &*answer).await.unwrap_or_default() };
                connections.push(task::spawn(&Handle::current(), Kind::owned("connection", "test"), serve));
            }
        });
        Self { url, _task: task }
    }
}

async fn serve(stream: TcpStream, answer: &(impl Fn(&Request) -> Answer + Sync)) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_until(b'\n', &mut head).await? == 0 {
            return Ok(());
        }
    }
    let head = String::from_utf8(head).expect("a request in ASCII");
    let target = head.strip_prefix("POST ").and_then(|rest| rest.split(' ').next()).expect("a POST request");
    let url = Url::parse(&format!("http://daemon{target}")).expect("a target");
    let query: HashMap<_, _> = url.query_pairs().into_owned().collect();
    assert!(query["timeout"].ends_with("ms"), "every question has a timeout");
    let command = url.path().strip_prefix("/api/v0/").expect("a path of the API").to_owned();
    let request = Request { command, arg: query["arg"].clone() };

    let ok = |length: usize| format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    match answer(&request) {
        Answer::Ok(body) => stream.write_all(&[ok(body.len()).as_bytes(), &body].concat()).await?,
        Answer::Error(status, message) => {
            let body = format!(r#"{{"Message":{message:?},"Code":0,"Type":"error"}}"#);
            let length = body.len();
            let answer = format!("HTTP/1.1 {status} No\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).await?;
        }
        Answer::Cut(body) => stream.write_all(&[ok(body.len() + 1).as_bytes(), &body].concat()).await?,
        Answer::Stalled(body) => {
            stream.write_all(&[ok(body.len() + 1).as_bytes(), &body].concat()).await?;
            stream.flush().await?;
            time::sleep(FOR_EVER).await;
        }
        Answer::Silence => time::sleep(FOR_EVER).await,
    }
    stream.shutdown().await
}

/// What an honest daemon knows.
#[derive(Clone, Default)]
pub(crate) struct Store {
    blocks: HashMap<Multihash<64>, Bytes>,
    names: HashMap<String, String>,
}

impl Store {
    /// The blocks of a recorded CAR file.
    pub(crate) fn recorded(car: &[u8]) -> Self {
        let mut store = Self::default();
        block_on(async {
            let mut reader = Reader::open(car, u64::MAX).await.expect("a recorded CAR file");
            while let Some(block) = reader.next().await.expect("a recorded block") {
                store.blocks.insert(*block.cid.hash(), block.data);
            }
        });
        store
    }

    pub(crate) fn with(mut self, blocks: impl IntoIterator<Item = Block>) -> Self {
        self.blocks.extend(blocks.into_iter().map(|block| (*block.cid.hash(), block.data)));
        self
    }

    pub(crate) fn named(mut self, name: &str, path: &str) -> Self {
        self.names.insert(name.to_owned(), path.to_owned());
        self
    }

    pub(crate) fn answer(&self, request: &Request) -> Answer {
        let missing = || Answer::Error(500, "block was not found locally (offline)".to_owned());
        match request.command.as_str() {
            "block/get" => self.block(&request.arg).map_or_else(missing, |block| Answer::Ok(block.data.to_vec())),
            "dag/export" => self.block(&request.arg).map_or_else(missing, |root| {
                let mut blocks = Vec::new();
                self.collect(&root, &mut blocks);
                Answer::Ok(dag::car(&[root.cid], &blocks))
            }),
            "name/resolve" => match self.names.get(&request.arg) {
                Some(path) => Answer::Ok(format!(r#"{{"Path":{path:?}}}"#).into_bytes()),
                None => Answer::Error(500, "could not resolve name".to_owned()),
            },
            command => Answer::Error(404, format!("no command {command}")),
        }
    }

    fn block(&self, cid: &str) -> Option<Block> {
        let cid = Cid::try_from(cid).expect("a CID");
        self.blocks.get(cid.hash()).map(|data| Block { cid, data: data.clone() })
    }

    /// A block and those below it in the order in which daemons send them, each once.
    fn collect(&self, block: &Block, blocks: &mut Vec<Block>) {
        if blocks.contains(block) {
            return;
        }
        blocks.push(block.clone());
        let links: Vec<Cid> = match unixfs::decode(block.cid.codec(), &block.data) {
            Ok(Node::File(file)) => file.children.iter().map(|part| part.cid).collect(),
            Ok(Node::Directory(links)) => links.iter().map(|link| link.cid).collect(),
            _ => Vec::new(),
        };
        for cid in links {
            if let Some(data) = self.blocks.get(cid.hash()) {
                self.collect(&Block { cid, data: data.clone() }, blocks);
            }
        }
    }
}
