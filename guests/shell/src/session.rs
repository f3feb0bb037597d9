//! What the commands do.

use std::io;

use ww_guest::{
    capnp::Error,
    futures::join,
    loader,
    peer_capnp::host,
    rpc::{Executor, Process},
};

use crate::{
    command::{Command, HELP},
    peer::{Remote, show_addr, show_peer},
};

/// A conversation with one node.
pub(crate) struct Session {
    host: host::Client,
    executor: Executor,
}

impl Session {
    pub(crate) fn new(host: host::Client) -> Self {
        let executor = Executor::of(&host);
        Self { host, executor }
    }

    /// Does what a command says, and prints what comes of it.
    pub(crate) async fn obey(&self, command: Command) -> Result<(), Error> {
        match command {
            Command::Help => println!("{HELP}"),
            Command::Id => println!("{}", self.id().await?),
            Command::Addrs => self.print_addrs().await?,
            Command::Peers => self.print_peers().await?,
            Command::Connect(address) => self.connect(&address).await?,
            Command::Echo(text) => println!("{}", self.executor.echo(&text).await?),
            Command::Run { path, args } => self.run(&path, &args).await?,
            // The loop that reads commands ends with this one.
            Command::Exit(_) => {}
        }
        Ok(())
    }

    async fn id(&self) -> Result<String, Error> {
        let response = self.host.id_request().send().promise.await?;
        Ok(show_peer(response.get()?.get_peer_id()?))
    }

    async fn print_addrs(&self) -> Result<(), Error> {
        let response = self.host.addrs_request().send().promise.await?;
        for addr in response.get()?.get_addrs()?.iter() {
            println!("{}", show_addr(addr?));
        }
        Ok(())
    }

    async fn print_peers(&self) -> Result<(), Error> {
        let response = self.host.peers_request().send().promise.await?;
        let peers = response.get()?.get_peers()?;
        if peers.is_empty() {
            println!("no peer is connected");
        }
        for peer in peers.iter() {
            println!("{}", show_peer(peer.get_peer_id()?));
            for addr in peer.get_addrs()?.iter() {
                println!("  {}", show_addr(addr?));
            }
        }
        Ok(())
    }

    async fn connect(&self, address: &str) -> Result<(), Error> {
        let remote = Remote::parse(address).map_err(Error::failed)?;
        let mut request = self.host.connect_request();
        let mut params = request.get();
        params.set_peer_id(&remote.peer_id);
        params.init_addrs(1).set(0, &remote.addr);
        request.send().promise.await?;
        println!("connected to {}", show_peer(&remote.peer_id));
        Ok(())
    }

    async fn run(&self, path: &str, args: &[String]) -> Result<(), Error> {
        let wasm = loader::load(path).map_err(Error::failed)?;
        let none: [&str; 0] = [];
        let child = self.executor.run_bytes(&wasm, args, &none).await?;
        let code = hand_on_output(&child).await?;
        println!("{path} exited with code {code}");
        Ok(())
    }
}

/// Shows what a child prints as it comes, and waits for its end. The child gets no input: what is typed
/// belongs to the shell.
async fn hand_on_output(child: &Process) -> Result<i32, Error> {
    let (stdin, stdout, stderr) = (child.stdin(), child.stdout(), child.stderr());
    // A child that has ended already has no input to close.
    let (_, out, err) = join!(stdin.close(), stdout.copy_to(io::stdout()), stderr.copy_to(io::stderr()));
    out.and(err)?;
    child.wait().await
}
