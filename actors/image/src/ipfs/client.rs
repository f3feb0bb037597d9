//! The RPC API of a Kubo daemon (Kubo, "RPC API v0 Reference"): HTTP POST, arguments in the query.
//!
//! Nothing that a daemon says is believed, and none can keep the node waiting: every answer is bounded in size, every
//! step in time.

use std::{error, io, time::Duration};

use bytes::{Bytes, BytesMut};
use cid::Cid;
use futures::{
    io::AsyncRead,
    stream::{self, TryStreamExt},
};
use reqwest::{Client as Http, Response, Url, redirect};
use serde::Deserialize;
use ww_core::text;

use super::{
    Error,
    car::{MAX_BLOCK, Reader},
    path::IpfsPath,
    verify,
};

/// How much longer than the daemon we wait, so that its own error is the one that is seen.
const GRACE: Duration = Duration::from_secs(2);

/// Largest answer to a question about names, and largest error, in bytes.
const MAX_ANSWER: usize = 16 * 1_024;

/// Bytes of a daemon's error that are passed on.
const MAX_MESSAGE: usize = 300;

/// How long to wait for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// Until a connection stands.
    pub(crate) connect: Duration,
    /// Until the daemon has found something, and between two pieces of its answer.
    pub(crate) answer: Duration,
    /// For one whole answer.
    pub(crate) total: Duration,
}

/// A client of one daemon. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: Http,
    url: Url,
    times: Times,
}

#[derive(Deserialize)]
struct Resolved {
    #[serde(rename = "Path")]
    path: String,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(rename = "Message")]
    message: String,
}

impl Client {
    /// Makes a client; nothing is sent yet.
    pub(crate) fn new(url: Url, times: Times) -> Result<Self, Error> {
        let http = Http::builder()
            .user_agent(concat!("ww/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(times.connect)
            .read_timeout(times.answer + GRACE)
            .timeout(times.total)
            .redirect(redirect::Policy::none())
            // The daemon is a part of this machine, or of one that was named: no proxy of the environment is asked.
            .no_proxy()
            .build()
            .map_err(|error| Error::Client { message: cause(&error) })?;
        Ok(Self { http, url, times })
    }

    /// Fetches one block and verifies it.
    pub(crate) async fn block(&self, cid: &Cid) -> Result<Bytes, Error> {
        verify::supported(cid)?;
        if let Some(data) = verify::inline(cid) {
            return Ok(Bytes::copy_from_slice(data));
        }
        let response = self.ask("block/get", &cid.to_string(), self.times.answer, &[]).await?;
        let block = self.body("block/get", response, MAX_BLOCK).await?;
        verify::check(cid, &block)?;
        Ok(block)
    }

    /// Asks for everything below a CID. At most `most` bytes of the answer are read.
    pub(crate) async fn export(&self, cid: &Cid, most: u64) -> Result<Reader<impl AsyncRead + Unpin + use<>>, Error> {
        let response = self.ask("dag/export", &cid.to_string(), self.times.total, &[("progress", "false")]).await?;
        let chunks = stream::try_unfold(response, |mut response: Response| async move {
            let chunk = response.chunk().await.map_err(|error| io::Error::other(cause(&error)))?;
            Ok::<_, io::Error>(chunk.map(|chunk| (chunk, response)))
        });
        Ok(Reader::open(Box::pin(chunks).into_async_read(), most).await?)
    }

    /// Resolves a name to a path that starts with `/ipfs/`.
    pub(crate) async fn resolve(&self, name: &str) -> Result<IpfsPath, Error> {
        let name = format!("/ipns/{name}");
        let response = self.ask("name/resolve", &name, self.times.answer, &[("recursive", "true")]).await?;
        let answer = self.body("name/resolve", response, MAX_ANSWER).await?;
        let path = serde_json::from_slice::<Resolved>(&answer).map(|resolved| resolved.path);
        let path = path.unwrap_or_else(|_| String::from_utf8_lossy(&answer).into_owned());
        let resolved = IpfsPath::parse(&path).ok().filter(|path| path.cid().is_some());
        resolved.ok_or_else(|| Error::Unresolved { name, answer: shown(&path) })
    }

    async fn ask(
        &self,
        command: &'static str,
        argument: &str,
        time: Duration,
        options: &[(&str, &str)],
    ) -> Result<Response, Error> {
        let mut url = self.url.clone();
        url.set_path(&format!("{}/api/v0/{command}", self.url.path().trim_end_matches('/')));
        let timeout = format!("{}ms", time.as_millis());
        url.query_pairs_mut().append_pair("arg", argument).append_pair("timeout", &timeout).extend_pairs(options);
        let response = self.http.post(url).send().await.map_err(|error| self.failed(command, &error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let answer = self.body(command, response, MAX_ANSWER).await.unwrap_or_default();
        let message = match serde_json::from_slice::<Refusal>(&answer) {
            Ok(refusal) => shown(&refusal.message),
            Err(_) => "is this the RPC API of an IPFS daemon?".to_owned(),
        };
        Err(Error::Refused { command, argument: argument.to_owned(), status: status.as_u16(), message })
    }

    /// Reads an answer of at most `most` bytes.
    async fn body(&self, command: &'static str, mut response: Response, most: usize) -> Result<Bytes, Error> {
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failed(command, &error))? {
            if body.len() + chunk.len() > most {
                return Err(Error::TooLong { command, most });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    fn failed(&self, command: &'static str, error: &reqwest::Error) -> Error {
        if error.is_connect() {
            Error::Unreachable { message: cause(error) }
        } else if error.is_timeout() {
            Error::Silent { command, after: self.times.answer + GRACE }
        } else {
            Error::Broken { command, message: cause(error) }
        }
    }
}

/// The innermost reason of an error, which is the one that a person can do something about.
fn cause(error: &dyn error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    shown(&cause.to_string())
}

/// A text that somebody else wrote, safe to print and short.
fn shown(text: &str) -> String {
    text::line(text.trim(), MAX_MESSAGE)
}
