//! Supervisors from outside: the calls of OTP.

use capnp::Error;
use ww_schema::{
    cell_capnp::exit_reason,
    supervision_capnp::supervisor::{self, child::state},
};

use super::{Process, spec::Child as Spec};

/// A supervisor. It lives until it is stopped, gives up, or its owner ends, whoever holds it.
#[derive(Clone)]
pub struct Supervisor {
    client: supervisor::Client,
}

/// A child as its supervisor sees it.
#[derive(Clone)]
pub struct Child {
    /// Its id; of an instance of a template one that the supervisor chose.
    pub id: String,
    /// What it does.
    pub state: State,
}

/// What a child does.
#[derive(Clone)]
pub enum State {
    /// It is a cell that runs. The process does not keep it alive.
    Running(Process),
    /// It is a supervisor that runs.
    Supervisor(Supervisor),
    /// It is being started or stopped, or waits for its restart.
    Restarting,
    /// It has ended.
    Stopped,
}

impl Supervisor {
    /// Adds a child and waits until it has started.
    ///
    /// # Errors
    ///
    /// Where the id is taken, or the child cannot be started: then it is not added.
    pub async fn start_child(&self, id: &str, child: impl Into<Spec>) -> Result<Child, Error> {
        let mut request = self.client.start_child_request();
        child.into().write(id, request.get().init_spec());
        child_of(request.send().promise.await?.get()?.get_child()?)
    }

    /// Starts another instance of the template of a simple-one-for-one supervisor.
    ///
    /// # Errors
    ///
    /// Where there is no template, or the instance cannot be started.
    pub async fn start_instance(&self) -> Result<Child, Error> {
        child_of(self.client.start_child_request().send().promise.await?.get()?.get_child()?)
    }

    /// Stops a child, or takes its restart back, and waits for its end.
    ///
    /// # Errors
    ///
    /// Where there is no such child.
    pub async fn terminate_child(&self, id: &str) -> Result<(), Error> {
        let mut request = self.client.terminate_child_request();
        request.get().set_id(id);
        request.send().promise.await.map(drop)
    }

    /// Starts a child that has ended.
    ///
    /// # Errors
    ///
    /// Where there is no such child, or it runs, or it cannot be started.
    pub async fn restart_child(&self, id: &str) -> Result<Child, Error> {
        let mut request = self.client.restart_child_request();
        request.get().set_id(id);
        child_of(request.send().promise.await?.get()?.get_child()?)
    }

    /// Forgets a child that has ended.
    ///
    /// # Errors
    ///
    /// Where there is no such child, or it runs.
    pub async fn delete_child(&self, id: &str) -> Result<(), Error> {
        let mut request = self.client.delete_child_request();
        request.get().set_id(id);
        request.send().promise.await.map(drop)
    }

    /// The children in the order of their start. Answered at once, whatever the supervisor is doing.
    ///
    /// # Errors
    ///
    /// Where the supervisor has ended.
    pub async fn children(&self) -> Result<Vec<Child>, Error> {
        let response = self.client.which_children_request().send().promise.await?;
        response.get()?.get_children()?.iter().map(child_of).collect()
    }

    /// The child with an id, if there is one.
    ///
    /// # Errors
    ///
    /// Where the supervisor has ended.
    pub async fn child(&self, id: &str) -> Result<Option<Child>, Error> {
        Ok(self.children().await?.into_iter().find(|child| child.id == id))
    }

    /// Ends its children in reverse order, then itself.
    ///
    /// # Errors
    ///
    /// Where the connection is broken.
    pub async fn stop(&self) -> Result<(), Error> {
        self.client.stop_request().send().promise.await.map(drop)
    }

    /// Waits for its end: the exit code that stands for the reason, and the reason as text.
    ///
    /// # Errors
    ///
    /// Where the connection is broken.
    pub async fn wait(&self) -> Result<(u8, String), Error> {
        let response = self.client.wait_request().send().promise.await?;
        let reason: exit_reason::Reader<'_> = response.get()?.get_reason()?;
        Ok((reason.get_code(), reason.get_text()?.to_string()?))
    }

    /// The generated client, for the other calls.
    pub fn client(&self) -> &supervisor::Client {
        &self.client
    }
}

impl From<supervisor::Client> for Supervisor {
    fn from(client: supervisor::Client) -> Self {
        Self { client }
    }
}

impl Child {
    /// The process of a cell that runs.
    pub fn process(&self) -> Option<&Process> {
        match &self.state {
            State::Running(process) => Some(process),
            State::Supervisor(_) | State::Restarting | State::Stopped => None,
        }
    }

    /// The supervisor that it is.
    pub fn supervisor(&self) -> Option<&Supervisor> {
        match &self.state {
            State::Supervisor(supervisor) => Some(supervisor),
            State::Running(_) | State::Restarting | State::Stopped => None,
        }
    }
}

fn child_of(child: supervisor::child::Reader<'_>) -> Result<Child, Error> {
    let state = match child.get_state().which()? {
        state::Running(process) => State::Running(process?.into()),
        state::Supervisor(supervisor) => State::Supervisor(supervisor?.into()),
        state::Restarting(()) => State::Restarting,
        state::Stopped(()) => State::Stopped,
    };
    Ok(Child { id: child.get_id()?.to_string()?, state })
}
