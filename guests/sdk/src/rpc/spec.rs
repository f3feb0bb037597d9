//! What cells and supervisors are started from.

use std::{rc::Rc, time::Duration};

use capnp::capability::{Client, FromClientHook};
use ww_schema::{
    cell_capnp::{self, program},
    supervision_capnp::{child_spec, options},
};

/// A program that the node has compiled, or its bytes.
#[derive(Clone)]
pub enum Program {
    /// Returned by [`Executor::load`](super::Executor::load).
    Loaded(program::Client),
    /// A component or a core preview 1 module.
    Wasm(Rc<[u8]>),
}

/// A cell that serves messages.
///
/// It may do nothing but compute and answer, until [`Cell::may`] or [`Cell::grant`] says more.
#[derive(Clone)]
pub struct Cell {
    program: Program,
    live: bool,
    name: String,
    args: Vec<String>,
    env: Vec<(String, String)>,
    memory: u64,
    deadline: Duration,
    mailbox: u32,
    children: u32,
    grants: Vec<(String, Option<Client>)>,
    detached: bool,
}

/// A supervisor and its first children. The defaults are OTP's: one restart in 5 s.
#[derive(Clone)]
pub struct Supervision {
    strategy: options::Strategy,
    intensity: Option<(u32, Duration)>,
    auto_shutdown: options::AutoShutdown,
    name: String,
    children: Vec<(String, Child)>,
}

/// A child of a supervisor: permanent, and stopped with the patience of OTP.
#[derive(Clone)]
pub struct Child {
    what: What,
    restart: cell_capnp::Restart,
    shutdown: Shutdown,
    significant: bool,
    backoff: Option<(Duration, Duration)>,
}

#[derive(Clone)]
enum What {
    Cell(Cell),
    Supervisor(Supervision),
}

#[derive(Clone, Copy)]
enum Shutdown {
    Default,
    After(Duration),
    BrutalKill,
    Infinity,
}

impl From<&[u8]> for Program {
    fn from(wasm: &[u8]) -> Self {
        Self::Wasm(wasm.into())
    }
}

impl From<Vec<u8>> for Program {
    fn from(wasm: Vec<u8>) -> Self {
        Self::Wasm(wasm.into())
    }
}

impl From<&Program> for Program {
    fn from(program: &Program) -> Self {
        program.clone()
    }
}

impl Cell {
    /// One live instance, whose `poll` or `handle` is called for each message.
    pub fn live(program: impl Into<Program>) -> Self {
        Self { live: true, ..Self::fresh(program) }
    }

    /// A fresh instance for each message, whose `main` runs once.
    pub fn fresh(program: impl Into<Program>) -> Self {
        Self {
            program: program.into(),
            live: false,
            name: String::new(),
            args: Vec::new(),
            env: Vec::new(),
            memory: 0,
            deadline: Duration::ZERO,
            mailbox: 0,
            children: 0,
            grants: Vec::new(),
            detached: false,
        }
    }

    /// A name that it is registered under.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// A variable of its environment.
    #[must_use]
    pub fn env(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((key.into(), value.into()));
        self
    }

    /// Bytes of linear memory that it may use.
    #[must_use]
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = bytes;
        self
    }

    /// How long it may take for one message.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Messages that may wait for it.
    #[must_use]
    pub fn mailbox(mut self, messages: u32) -> Self {
        self.mailbox = messages;
        self
    }

    /// Cells that it may own.
    #[must_use]
    pub fn children(mut self, children: u32) -> Self {
        self.children = children;
        self
    }

    /// Lets it use an import, by its reserved name: `wetware:cell/mail` and the others that `cell.capnp` lists.
    #[must_use]
    pub fn may(mut self, import: impl Into<String>) -> Self {
        self.grants.push((import.into(), None));
        self
    }

    /// Hands it a capability, which it gets with [`granted`](super::granted).
    #[must_use]
    pub fn grant(mut self, name: impl Into<String>, capability: impl FromClientHook) -> Self {
        self.grants.push((name.into(), Some(Client::new(capability.into_client_hook()))));
        self
    }

    /// Lets it outlive the references to its [`Process`](super::Process), though not its owner.
    #[must_use]
    pub fn detached(mut self) -> Self {
        self.detached = true;
        self
    }

    pub(super) fn write(&self, mut to: cell_capnp::spec::Builder<'_>) {
        match &self.program {
            Program::Loaded(program) => to.reborrow().init_program().set_loaded(program.clone()),
            Program::Wasm(wasm) => to.reborrow().init_program().set_wasm(wasm),
        }
        to.set_async(self.live);
        to.set_name(&self.name);
        to.set_detached(self.detached);
        let mut args = to.reborrow().init_args(self.args.len() as u32);
        for (index, arg) in (0..).zip(&self.args) {
            args.set(index, arg);
        }
        let mut env = to.reborrow().init_env(self.env.len() as u32);
        for (index, (key, value)) in (0..).zip(&self.env) {
            env.set(index, format!("{key}={value}"));
        }
        let mut limits = to.reborrow().init_limits();
        limits.set_memory(self.memory);
        limits.set_deadline(milliseconds(self.deadline));
        limits.set_children(self.children);
        to.reborrow().init_mailbox().set_capacity(self.mailbox);
        let mut grants = to.init_grants(self.grants.len() as u32);
        for (index, (name, capability)) in (0..).zip(&self.grants) {
            let mut grant = grants.reborrow().get(index);
            grant.set_name(name);
            if let Some(capability) = capability {
                grant.init_cap().set_as_capability(capability.hook.add_ref());
            }
        }
    }
}

impl Supervision {
    fn new(strategy: options::Strategy) -> Self {
        Self {
            strategy,
            intensity: None,
            auto_shutdown: options::AutoShutdown::Never,
            name: String::new(),
            children: Vec::new(),
        }
    }

    /// When a child has to be restarted, that one is.
    pub fn one_for_one() -> Self {
        Self::new(options::Strategy::OneForOne)
    }

    /// When a child has to be restarted, all are.
    pub fn one_for_all() -> Self {
        Self::new(options::Strategy::OneForAll)
    }

    /// When a child has to be restarted, that one and all that were started after it are.
    pub fn rest_for_one() -> Self {
        Self::new(options::Strategy::RestForOne)
    }

    /// Instances of one template, which [`Supervisor::start_instance`](super::Supervisor::start_instance) starts.
    pub fn simple_one_for_one(template: impl Into<Child>) -> Self {
        Self::new(options::Strategy::SimpleOneForOne).child("instance", template)
    }

    /// One more child, after the others.
    #[must_use]
    pub fn child(mut self, id: impl Into<String>, child: impl Into<Child>) -> Self {
        self.children.push((id.into(), child.into()));
        self
    }

    /// Restarts that may happen within a period; one more ends the supervisor.
    #[must_use]
    pub fn intensity(mut self, restarts: u32, period: Duration) -> Self {
        self.intensity = Some((restarts, period));
        self
    }

    /// Ends the supervisor when significant children end: any of them, or the last one.
    #[must_use]
    pub fn auto_shutdown(mut self, auto_shutdown: options::AutoShutdown) -> Self {
        self.auto_shutdown = auto_shutdown;
        self
    }

    /// A name that it is registered under.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    pub(super) fn write(&self, mut to: options::Builder<'_>) {
        to.set_strategy(self.strategy);
        to.set_auto_shutdown(self.auto_shutdown);
        to.set_name(&self.name);
        if let Some((restarts, period)) = self.intensity {
            to.set_intensity(restarts);
            to.set_period(milliseconds(period));
        }
        match (&self.strategy, &self.children[..]) {
            (options::Strategy::SimpleOneForOne, [(id, template)]) => template.write(id, to.init_template()),
            (_, children) => {
                let mut list = to.init_children(children.len() as u32);
                for (index, (id, child)) in (0..).zip(children) {
                    child.write(id, list.reborrow().get(index));
                }
            }
        }
    }
}

impl Child {
    fn new(what: What) -> Self {
        let shutdown = match what {
            What::Cell(_) => Shutdown::Default,
            What::Supervisor(_) => Shutdown::Infinity,
        };
        Self { what, restart: cell_capnp::Restart::Permanent, shutdown, significant: false, backoff: None }
    }

    /// Started again unless it ended with `normal` or `shutdown`.
    #[must_use]
    pub fn transient(mut self) -> Self {
        self.restart = cell_capnp::Restart::Transient;
        self
    }

    /// Never started again.
    #[must_use]
    pub fn temporary(mut self) -> Self {
        self.restart = cell_capnp::Restart::Temporary;
        self
    }

    /// Killed if it has not ended within this time of being told to.
    #[must_use]
    pub fn shutdown(mut self, within: Duration) -> Self {
        self.shutdown = Shutdown::After(within);
        self
    }

    /// Killed without being told.
    #[must_use]
    pub fn brutal_kill(mut self) -> Self {
        self.shutdown = Shutdown::BrutalKill;
        self
    }

    /// Its end can end its supervisor, see [`Supervision::auto_shutdown`].
    #[must_use]
    pub fn significant(mut self) -> Self {
        self.significant = true;
        self
    }

    /// Waits before it is started again: `base`, then twice as long each time, at most `cap`.
    #[must_use]
    pub fn backoff(mut self, base: Duration, cap: Duration) -> Self {
        self.backoff = Some((base, cap));
        self
    }

    pub(super) fn write(&self, id: &str, mut to: child_spec::Builder<'_>) {
        to.set_id(id);
        match &self.what {
            What::Cell(cell) => cell.write(to.reborrow().init_child().init_cell()),
            What::Supervisor(supervision) => supervision.write(to.reborrow().init_child().init_supervisor()),
        }
        to.set_restart(self.restart);
        let mut shutdown = to.reborrow().init_shutdown();
        match self.shutdown {
            Shutdown::Default => {}
            Shutdown::After(within) => shutdown.set_timeout(milliseconds(within)),
            Shutdown::BrutalKill => shutdown.set_brutal_kill(()),
            Shutdown::Infinity => shutdown.set_infinity(()),
        }
        to.set_significant(self.significant);
        if let Some((base, cap)) = self.backoff {
            let mut backoff = to.init_backoff();
            backoff.set_base(milliseconds(base));
            backoff.set_cap(milliseconds(cap));
        }
    }
}

impl From<Cell> for Child {
    fn from(cell: Cell) -> Self {
        Self::new(What::Cell(cell))
    }
}

impl From<Supervision> for Child {
    fn from(supervision: Supervision) -> Self {
        Self::new(What::Supervisor(supervision))
    }
}

/// Milliseconds as a schema has them; what is longer is as good as for ever.
pub(super) fn milliseconds(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use capnp::{Error, message};

    use super::*;

    #[test]
    fn a_tree_is_written_as_it_was_built() -> Result<(), Error> {
        let cell =
            Cell::live(&b"wasm"[..]).name("store").arg("a").env("KEY", "value").memory(7).may("wetware:cell/log");
        let pool = Supervision::simple_one_for_one(Cell::fresh(vec![1]));
        let tree = Supervision::rest_for_one()
            .intensity(3, Duration::from_secs(2))
            .child("store", Child::from(cell).transient().shutdown(Duration::from_secs(1)))
            .child("pool", pool);
        let mut message = message::Builder::new_default();
        tree.write(message.init_root());
        let read: options::Reader<'_> = message.get_root_as_reader()?;
        assert_eq!((read.get_strategy()?, read.get_intensity()), (options::Strategy::RestForOne, 3));
        assert_eq!(read.get_period(), 2_000);
        let children = read.get_children()?;
        let store = children.get(0);
        assert_eq!((store.get_id()?.to_str()?, store.get_restart()?), ("store", cell_capnp::Restart::Transient));
        assert!(matches!(store.get_shutdown().which()?, child_spec::shutdown::Timeout(1_000)));
        let child_spec::child::Cell(cell) = store.get_child().which()? else { panic!("it is a cell") };
        let cell = cell?;
        assert_eq!((cell.get_async(), cell.get_name()?.to_str()?, cell.get_limits()?.get_memory()), (true, "store", 7));
        assert_eq!(cell.get_env()?.get(0)?.to_str()?, "KEY=value");
        let grant = cell.get_grants()?.get(0);
        assert_eq!((grant.get_name()?.to_str()?, grant.has_cap()), ("wetware:cell/log", false));
        let child_spec::child::Supervisor(pool) = children.get(1).get_child().which()? else { panic!("no cell") };
        assert!(pool?.has_template());
        assert!(matches!(children.get(1).get_shutdown().which()?, child_spec::shutdown::Infinity(())));
        Ok(())
    }
}
