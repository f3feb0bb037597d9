//! The server of `Executor`: starts cells on behalf of one cell.

use std::rc::Rc;

use bytes::Bytes;
use capnp::Error;
use ww_core::grants::ExecutorMethod;
use ww_executor::{Owner, Spec};
use ww_schema::peer_capnp::executor;

use crate::{
    context::{Context, denied},
    process,
};

/// Largest program in a message, in bytes: together with what is around it, it fits into one message.
const MAX_PROGRAM: usize = 48 << 20;

/// Arguments and environment of one program together, in bytes, each with the NUL after it, so that empty ones count:
/// what Linux grants a process by default is 2 MiB.
const MAX_STRINGS: usize = 1 << 20;

struct Server(Context);

/// The `Executor` of one cell.
pub(crate) fn client(context: Context) -> executor::Client {
    capnp_rpc::new_client(Server(context))
}

impl Server {
    fn require(&self, method: ExecutorMethod) -> Result<(), Error> {
        if self.0.guest.grants.executor.contains(&method) { Ok(()) } else { Err(denied(method)) }
    }

    fn spec(&self, params: executor::run_bytes_params::Reader<'_>) -> Result<Spec, Error> {
        let wasm = params.get_wasm()?;
        if wasm.len() > MAX_PROGRAM {
            return Err(Error::failed(format!("a program of {} bytes: at most {MAX_PROGRAM} are taken", wasm.len())));
        }
        let mut room = MAX_STRINGS;
        let args = texts(params.get_args()?, &mut room)?;
        let env = texts(params.get_env()?, &mut room)?;
        let env = env.into_iter().map(variable).collect::<Result<_, _>>()?;
        Ok(Spec {
            name: format!("child of {}", self.0.guest.id),
            names: Vec::new(),
            wasm: Bytes::copy_from_slice(wasm),
            args,
            env,
            limits: None,
            grants: self.0.guest.grants.for_child(),
            files: None,
        })
    }
}

/// The texts of a list, as long as there is room for them.
fn texts(list: capnp::text_list::Reader<'_>, room: &mut usize) -> Result<Vec<String>, Error> {
    list.iter()
        .map(|text| {
            let text = text?;
            *room = room.checked_sub(text.len() + 1).ok_or_else(|| {
                Error::failed(format!("arguments and environment are too long: at most {MAX_STRINGS} bytes are taken"))
            })?;
            let text = text.to_string()?;
            if text.contains('\0') {
                return Err(Error::failed(
                    "an argument or variable contains a NUL: a program could not see its rest".into(),
                ));
            }
            Ok(text)
        })
        .collect()
}

fn variable(entry: String) -> Result<(String, String), Error> {
    match entry.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(Error::failed(format!("{entry:?} is no environment variable: expected KEY=VALUE"))),
    }
}

impl executor::Server for Server {
    async fn run_bytes(
        self: Rc<Self>,
        params: executor::RunBytesParams,
        mut results: executor::RunBytesResults,
    ) -> Result<(), Error> {
        self.require(ExecutorMethod::RunBytes)?;
        let spec = self.spec(params.get()?)?;
        drop(params);
        let owner = Owner::Cell(self.0.guest.id);
        let process = self.0.executor.run(owner, spec).await.map_err(|error| Error::failed(error.to_string()))?;
        results.get().set_process(process::client(process));
        Ok(())
    }

    async fn echo(
        self: Rc<Self>,
        params: executor::EchoParams,
        mut results: executor::EchoResults,
    ) -> Result<(), Error> {
        self.require(ExecutorMethod::Echo)?;
        results.get().set_response(params.get()?.get_message()?);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
