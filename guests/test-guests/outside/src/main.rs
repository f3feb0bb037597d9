//! Reaches for the machine that its node runs on, in every way that the standard library has: files, sockets, names and the
//! environment. Prints a line for each, `NAME: PERMITTED` where it got through.
//!
//! The argument is the port of a server on the loopback address, which must never hear of this.

use std::{
    env, fs, io,
    net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket},
};

ww_guest::cell! { main: run }

/// What is tried, by its name.
type Attempt<'a> = (&'a str, &'a dyn Fn() -> io::Result<()>);

fn run() -> Result<(), String> {
    let port: u16 = env::args().nth(1).and_then(|port| port.parse().ok()).ok_or("expected a port")?;
    let attempts: [Attempt<'_>; 12] = [
        ("read a file", &|| fs::read("/etc/passwd").map(drop)),
        ("write a file", &|| fs::write("/tmp/outside", "x")),
        ("write a file here", &|| fs::write("outside", "x")),
        ("list the root", &|| fs::read_dir("/").map(drop)),
        ("list the current directory", &|| fs::read_dir(".").map(drop)),
        ("make a directory", &|| fs::create_dir("/tmp/outside-directory")),
        ("connect over TCP", &|| TcpStream::connect(("127.0.0.1", port)).map(drop)),
        ("listen on TCP", &|| TcpListener::bind(("127.0.0.1", 0)).map(drop)),
        ("send over UDP", &|| UdpSocket::bind(("127.0.0.1", 0))?.send_to(b"x", ("127.0.0.1", port)).map(drop)),
        ("connect over IPv6", &|| TcpStream::connect(("::1", port)).map(drop)),
        ("look a name up", &|| ("localhost", port).to_socket_addrs().map(drop)),
        ("see a variable", &|| match env::vars().next() {
            Some(_) => Ok(()),
            None => Err(io::Error::other("there is none")),
        }),
    ];
    for (name, attempt) in attempts {
        match attempt() {
            Ok(()) => println!("{name}: PERMITTED"),
            Err(error) => println!("{name}: {:?}", error.kind()),
        }
    }
    Ok(())
}
