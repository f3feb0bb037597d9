//! Does with other cells what its messages say, through the bare imports of `wetware:cell`.
//!
//! The first line of a message says what to do, the rest is its text.
//!
//! | first line | what it does |
//! |---|---|
//! | `count` | replies with the number of this message in the life of the instance, from 1 |
//! | `ask TO [MS]` | sends the text to another cell, waits, at most MS milliseconds, and replies with the reply |
//! | `tell TO` | sends the text to another cell |
//! | `dial NAME` | sends the text to a published cell of this node over `Host.dial`, and replies with the reply; once |
//! | `flood TO N` | sends the text to another cell N times |
//! | `who` | replies with its id, its name, and the envelope |
//! | `id`, `name`, `current` | the same, one by one; of the envelope the id of the message |
//! | `register NAME`, `unregister NAME`, `whereis NAME` | what they say |
//! | `link ID`, `unlink ID`, `monitor ID`, `demonitor N`, `trap on`, `trap off`, `kill ID`, `shutdown ID` | what they say |
//! | `quit CODE` | ends itself |
//! | `log LEVEL` | writes the text to the log |
//! | `heard` | replies with the signals that it was told of, one per line |
//! | `panic`, `spin` | ends with a trap; computes for ever |
//!
//! TO is a name, or `#` and an id. Signals are remembered. Errors are returned in their debug form.

use std::{
    fmt::Debug,
    hint,
    sync::Mutex,
    sync::atomic::{AtomicU64, Ordering},
};

use bindings::wetware::cell::{
    log::{self, Level},
    mail::{self, Address},
    process::{self, ExitSignal},
    registry,
    self_::{self, Kind},
};

#[allow(missing_docs, unreachable_pub, clippy::all, clippy::unwrap_used)]
mod bindings {
    wit_bindgen::generate!({
        inline: "package wetware:guest; world neighbour { include wetware:cell/actor-imports@0.1.0; }",
        path: ["../../../wit/deps/cli.wit", "../../../wit/cell.wit"],
        generate_all,
    });
}

use ww_guest::{capnp, rpc};

ww_guest::cell! { handle: answer }

static MESSAGES: AtomicU64 = AtomicU64::new(0);
static HEARD: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn answer(body: Vec<u8>) -> Result<Vec<u8>, String> {
    if let Some(heard) = signal() {
        HEARD.lock().map_err(text)?.push(heard);
        return Ok(Vec::new());
    }
    let number = MESSAGES.fetch_add(1, Ordering::Relaxed) + 1;
    let end = body.iter().position(|&byte| byte == b'\n').unwrap_or(body.len());
    let command = String::from_utf8_lossy(&body[..end]).into_owned();
    let rest = body.get(end + 1..).unwrap_or_default();
    obey(number, &command, rest)
}

fn signal() -> Option<String> {
    match self_::current().ok()??.kind {
        Kind::Message => None,
        Kind::Exit(exited) => Some(format!("exit {} {:?} {}", exited.cell, exited.reason.end, exited.reason.text)),
        Kind::Down(down) => {
            Some(format!("down {} {} {:?} {}", down.monitor, down.cell, down.reason.end, down.reason.text))
        }
    }
}

fn obey(number: u64, command: &str, rest: &[u8]) -> Result<Vec<u8>, String> {
    let wrong = || format!("no such command: {command:?}");
    let id = |digits: &str| digits.parse::<u64>().map_err(|_| wrong());
    let done = |()| Vec::new();
    match command.split(' ').collect::<Vec<_>>()[..] {
        ["count"] => Ok(number.to_string().into_bytes()),
        ["ask", to] => mail::request(&address(to)?, rest, None).map_err(text),
        ["ask", to, within] => mail::request(&address(to)?, rest, Some(id(within)?)).map_err(text),
        ["tell", to] => mail::send(&address(to)?, rest).map(done).map_err(text),
        ["flood", to, times] => {
            let to = address(to)?;
            for _ in 0..id(times)? {
                mail::send(&to, rest).map_err(text)?;
            }
            Ok(Vec::new())
        }
        ["dial", name] => dial((*name).to_owned(), rest.to_vec()),
        ["who"] => {
            let (id, name) = (self_::id().map_err(text)?, self_::name().map_err(text)?);
            let envelope = self_::current().map_err(text)?.ok_or("no message in progress")?;
            let timed = envelope.remaining.is_some();
            let trace = format!("{:016x}{:016x}", envelope.trace.0, envelope.trace.1);
            Ok(format!("{id} {name} {:?} {timed} {trace}", envelope.sender).into_bytes())
        }
        ["id"] => Ok(self_::id().map_err(text)?.to_string().into_bytes()),
        ["name"] => Ok(self_::name().map_err(text)?.into_bytes()),
        ["current"] => {
            Ok(self_::current().map_err(text)?.map_or_else(Vec::new, |envelope| envelope.id.to_string().into_bytes()))
        }
        ["register", name] => registry::register(name).map(done).map_err(text),
        ["unregister", name] => registry::unregister(name).map(done).map_err(text),
        ["whereis", name] => Ok(format!("{:?}", registry::whereis(name).map_err(text)?).into_bytes()),
        ["link", cell] => process::link(id(cell)?).map(done).map_err(text),
        ["unlink", cell] => process::unlink(id(cell)?).map(done).map_err(text),
        ["monitor", cell] => Ok(process::monitor(id(cell)?).map_err(text)?.to_string().into_bytes()),
        ["demonitor", monitor] => Ok(process::demonitor(id(monitor)?).map_err(text)?.to_string().into_bytes()),
        ["trap", on] => Ok(process::trap_exits(on == "on").map_err(text)?.to_string().into_bytes()),
        ["kill", cell] => process::signal(id(cell)?, ExitSignal::Kill).map(done).map_err(text),
        ["shutdown", cell] => process::signal(id(cell)?, ExitSignal::Shutdown).map(done).map_err(text),
        ["quit", code] => process::exit(code.parse().map_err(|_| wrong())?).map(done).map_err(text),
        ["log", level] => {
            let level = match level {
                "warn" => Level::Warn,
                "error" => Level::Error,
                _ => Level::Info,
            };
            let fields = [("number".to_owned(), number.to_string())];
            log::log(level, &String::from_utf8_lossy(rest), &fields).map(done).map_err(text)
        }
        ["heard"] => Ok(HEARD.lock().map_err(text)?.join("\n").into_bytes()),
        ["panic"] => panic!("a panic on purpose"),
        ["spin"] => loop {
            hint::black_box(number);
        },
        _ => Err(wrong()),
    }
}

/// The cell has one connection, and so this once.
fn dial(name: String, text: Vec<u8>) -> Result<Vec<u8>, String> {
    rpc::run(|host| async move {
        let to = rpc::Address { peer_id: Vec::new(), addrs: Vec::new(), name };
        let exchange = rpc::Exchange::dial(&host, &to, None).await?;
        // One that is refused is not taken: the outcome says why.
        let _ = exchange.request().write_all(&text).await;
        let _ = exchange.request().close().await;
        let reply = exchange.reply().read_to_end().await;
        match exchange.outcome().await? {
            rpc::Outcome::Ok => reply,
            other => Err(capnp::Error::failed(format!("{other:?}"))),
        }
    })
    .map_err(|error| error.to_string())
}

fn address(to: &str) -> Result<Address, String> {
    match to.strip_prefix('#') {
        Some(id) => Ok(Address::Id(id.parse().map_err(|_| format!("no id: {to:?}"))?)),
        None => Ok(Address::Name(to.to_owned())),
    }
}

fn text(error: impl Debug) -> String {
    format!("{error:?}")
}
