//! The server of `Executor`: starts cells on behalf of one cell.

use std::{collections::BTreeMap, rc::Rc};

use capnp::Error;
use ww_core::{grants::ExecutorMethod, text};
use ww_executor::{Attachment, Errors, Owner, Spec};
use ww_schema::{cell_capnp, peer_capnp::executor};

use crate::{context::Context, process, program, shelf, spec, supervisor};

/// Largest program in a message, in bytes: together with what is around it, it fits into one message.
pub const MAX_PROGRAM: usize = 48 << 20;

/// Arguments and environment of one program together, in bytes, each with [`BESIDES`] more: what Linux grants a process by
/// default is 2 MiB.
pub(crate) const MAX_STRINGS: usize = 1 << 20;

/// Bytes that a text costs besides its own, so that empty ones count: its place in a list, in the spec and in what WASI
/// holds of it.
const BESIDES: usize = 64;

pub(crate) struct Server(pub(crate) Context);

/// The `Executor` of one cell.
pub(crate) fn client(context: Context) -> executor::Client {
    shelf::new_executor(Server(context))
}

impl Server {
    fn require(&self, method: ExecutorMethod) -> Result<(), Error> {
        if self.0.guest.grants.executor.contains(&method) { Ok(()) } else { Err(self.0.denied(method)) }
    }

    fn spec(&self, params: executor::run_bytes_params::Reader<'_>) -> Result<Spec, Error> {
        let wasm = spec::program_bytes(params.get_wasm()?)?;
        let mut room = MAX_STRINGS;
        let args = texts(params.get_args()?, &mut room)?;
        let env = environment(params.get_env()?, &mut room)?;
        Ok(Spec {
            name: format!("child of {}", self.0.guest.id),
            names: Vec::new(),
            wasm,
            args,
            env,
            limits: None,
            grants: self.0.grants_for_children().for_child(),
            program: None,
            files: None,
            handed: self.0.guest.handed.clone(),
            publish: None,
        })
    }
}

fn attachment(wanted: cell_capnp::attachment::Reader<'_>) -> Result<Attachment, Error> {
    Ok(Attachment {
        errors: match wanted.get_errors()? {
            cell_capnp::attachment::Errors::Tail => Errors::Tail,
            cell_capnp::attachment::Errors::Held => Errors::Held,
            cell_capnp::attachment::Errors::Merged => Errors::Merged,
        },
        stdin_terminal: wanted.get_stdin_terminal(),
        stdout_terminal: wanted.get_stdout_terminal(),
        stderr_terminal: wanted.get_stderr_terminal(),
    })
}

/// The texts of a list, as long as there is room for them.
pub(crate) fn texts(list: capnp::text_list::Reader<'_>, room: &mut usize) -> Result<Vec<String>, Error> {
    let most = *room / BESIDES;
    if list.len() as usize > most {
        return Err(Error::failed(format!("{} arguments or variables: at most {most} are taken", list.len())));
    }
    list.iter()
        .map(|text| {
            let text = text?;
            *room = room.checked_sub(text.len() + BESIDES).ok_or_else(|| {
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

/// The variables of a list, as long as there is room for them. Of two with the same name the last one counts.
pub(crate) fn environment(
    list: capnp::text_list::Reader<'_>,
    room: &mut usize,
) -> Result<Vec<(String, String)>, Error> {
    let variables: BTreeMap<_, _> = texts(list, room)?.into_iter().map(variable).collect::<Result<_, _>>()?;
    Ok(variables.into_iter().collect())
}

fn variable(entry: String) -> Result<(String, String), Error> {
    match entry.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(Error::failed(format!("{} is no environment variable: expected KEY=VALUE", text::quoted(entry)))),
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
        let attachment = attachment(params.get()?.get_attachment()?)?;
        drop(params);
        let owner = Owner::Cell(self.0.owner().await?);
        let process = self.0.executor.run_attached(owner, spec, attachment).await;
        let process = process.map_err(|error| Error::failed(error.to_string()))?;
        results.get().set_process(process::client(process, &self.0));
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

    async fn load(
        self: Rc<Self>,
        params: executor::LoadParams,
        mut results: executor::LoadResults,
    ) -> Result<(), Error> {
        self.require(ExecutorMethod::Load)?;
        let account = &self.0.guest.account;
        // The call pays for the copy until it is answered, as for its message.
        let wasm = spec::program_bytes(params.get()?.get_wasm()?)?;
        drop(params);
        let owner = Owner::Cell(self.0.guest.id);
        let program = self.0.executor.load(owner, wasm.clone(), &self.0.limits()?).await;
        let program = program.map_err(|error| Error::failed(error.to_string()))?;
        let program = program::Server::new(program, wasm, &self.0.sources, account)?;
        results.get().set_program(shelf::new_program(program));
        Ok(())
    }

    async fn spawn(
        self: Rc<Self>,
        params: executor::SpawnParams,
        mut results: executor::SpawnResults,
    ) -> Result<(), Error> {
        self.require(ExecutorMethod::Spawn)?;
        let wanted = params.get()?.get_spec()?;
        if wanted.get_restart()? != cell_capnp::Restart::Temporary {
            return Err(Error::failed(
                "restart: only a supervisor starts a cell again, use `Executor.supervisor`".into(),
            ));
        }
        let detached = wanted.get_detached();
        let (spec, serving) = spec::cell(&self.0, wanted).await?;
        drop(params);
        let owner = Owner::Cell(self.0.owner().await?);
        let process = self.0.executor.spawn(owner, spec, serving).await;
        let mut process = process.map_err(|error| Error::failed(error.to_string()))?;
        if detached {
            process.detach();
        }
        results.get().set_process(process::serving(process, &self.0));
        Ok(())
    }

    async fn supervisor(
        self: Rc<Self>,
        params: executor::SupervisorParams,
        mut results: executor::SupervisorResults,
    ) -> Result<(), Error> {
        self.require(ExecutorMethod::Supervisor)?;
        let supervision = spec::supervision(&self.0, params.get()?.get_options()?).await?;
        drop(params);
        let owner = Owner::Cell(self.0.owner().await?);
        let handle = self.0.executor.supervisor(owner, supervision).await;
        let handle = handle.map_err(|error| Error::failed(error.to_string()))?;
        results.get().set_supervisor(supervisor::client(handle, self.0.clone()));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
