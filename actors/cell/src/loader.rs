//! `wetware:loader`: a guest reads the files of its own image.

use bytes::Bytes;
use futures::future::BoxFuture;
use wasmtime::component::Linker;

use crate::guest::Guest;

/// The files of an image, wherever it came from.
pub trait Files: Send + Sync + 'static {
    /// The content of one file.
    ///
    /// `path` is relative to the root of the image, with `/` between names. It comes from a guest, and is
    /// checked here. The error is a text for the guest.
    fn read(&self, path: String) -> BoxFuture<'_, Result<Bytes, String>>;
}

/// What a cell without the grant is told.
const DENIED: &str = "denied: the files of the image are not granted to this cell";

/// Links `wetware:loader/loader`.
pub(crate) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut instance = linker.instance("wetware:loader/loader@0.1.0")?;
    instance.func_wrap_async("load", |store, (path,): (String,)| {
        let files = store.data().own.spec.files.clone();
        Box::new(async move {
            let Some(files) = files else { return Ok((Err(DENIED.to_owned()),)) };
            Ok((files.read(path).await.map(|bytes| bytes.to_vec()),))
        })
    })
}

#[cfg(test)]
mod tests;
