//! What can be typed.

use std::{error, fmt};

/// Shown by `help`.
pub(crate) const HELP: &str = "\
help                      this list
id                        the peer id of the node
addrs                     the addresses on which the node listens
peers                     the peers that are connected, with their addresses
connect <multiaddr>       connect to a peer: /ip4/127.0.0.1/tcp/2020/p2p/<peer id>
echo <text>               have the executor echo a text
run <path> [args]...      run a program of the image, such as bin/hello.wasm
exit [code]               leave, with code 0 or the one given";

/// One command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Help,
    Id,
    Addrs,
    Peers,
    Connect(String),
    Echo(String),
    Run { path: String, args: Vec<String> },
    Exit(u8),
}

/// A line that is no command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Invalid {
    Unknown(String),
    Usage(&'static str),
    Code(String),
}

impl Command {
    /// The command in a line, if the line is not blank.
    pub(crate) fn parse(line: &str) -> Result<Option<Self>, Invalid> {
        let line = line.trim();
        let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim_start();
        let mut words = rest.split_whitespace().map(str::to_owned);
        let command = match name {
            "" => return Ok(None),
            "help" | "?" => Self::Help,
            "id" => Self::Id,
            "addrs" => Self::Addrs,
            "peers" => Self::Peers,
            "connect" => match (words.next(), words.next()) {
                (Some(address), None) => Self::Connect(address),
                _ => return Err(Invalid::Usage("connect <multiaddr>")),
            },
            "echo" => Self::Echo(rest.to_owned()),
            "run" => match words.next() {
                Some(path) => Self::Run { path, args: words.collect() },
                None => return Err(Invalid::Usage("run <path in the image> [args]...")),
            },
            "exit" | "quit" if rest.is_empty() => Self::Exit(0),
            "exit" | "quit" => Self::Exit(rest.parse().map_err(|_| Invalid::Code(rest.to_owned()))?),
            _ => return Err(Invalid::Unknown(name.to_owned())),
        };
        Ok(Some(command))
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => write!(f, "there is no command {name:?}: type `help` for those that there are"),
            Self::Usage(usage) => write!(f, "expected: {usage}"),
            Self::Code(code) => write!(f, "{code:?} is no exit code: expected a number from 0 to 255"),
        }
    }
}

impl error::Error for Invalid {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_commands() {
        let run = |path: &str, args: &[&str]| Command::Run {
            path: path.to_owned(),
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
        };
        for (line, command) in [
            ("help", Command::Help),
            ("?", Command::Help),
            ("  id\r", Command::Id),
            ("addrs", Command::Addrs),
            ("peers", Command::Peers),
            ("connect /ip4/127.0.0.1/tcp/1", Command::Connect("/ip4/127.0.0.1/tcp/1".to_owned())),
            ("echo two  words", Command::Echo("two  words".to_owned())),
            ("echo", Command::Echo(String::new())),
            ("run bin/a.wasm", run("bin/a.wasm", &[])),
            ("run bin/a.wasm x  y", run("bin/a.wasm", &["x", "y"])),
            ("exit", Command::Exit(0)),
            ("exit 7", Command::Exit(7)),
            ("quit", Command::Exit(0)),
        ] {
            assert_eq!(Command::parse(line), Ok(Some(command)), "{line:?}");
        }
        for blank in ["", "  ", "\t\r"] {
            assert_eq!(Command::parse(blank), Ok(None));
        }
    }

    #[test]
    fn other_lines_are_explained() {
        for (line, explanation) in [
            ("frobnicate now", "there is no command \"frobnicate\": type `help` for those that there are"),
            ("connect", "expected: connect <multiaddr>"),
            ("connect a b", "expected: connect <multiaddr>"),
            ("run", "expected: run <path in the image> [args]..."),
            ("exit 256", "\"256\" is no exit code: expected a number from 0 to 255"),
            ("exit soon", "\"soon\" is no exit code: expected a number from 0 to 255"),
        ] {
            let error = Command::parse(line).expect_err("it is no command");
            assert_eq!(error.to_string(), explanation);
        }
    }

    #[test]
    fn help_names_every_command() {
        for line in HELP.lines() {
            let name = line.split(' ').next().unwrap_or_default();
            assert!(!matches!(Command::parse(name), Err(Invalid::Unknown(_))), "{name}");
        }
    }
}
