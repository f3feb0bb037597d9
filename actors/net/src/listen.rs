//! Whether an address can be listened on, and what to tell a person if it cannot.
//!
//! libp2p lets its TCP listeners share a port with any other program of the same user that agrees to (`SO_REUSEPORT`),
//! in order to dial from the port it listens on. Two nodes on one port would each get a part of the connections, so
//! the port is tried first without sharing it.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use libp2p::{Multiaddr, multiaddr::Protocol};
use socket2::{Domain, Socket, Type};

/// Connections that wait to be accepted at a socket that accepts none: as few as there can be.
const PROBE_BACKLOG: i32 = 1;

/// Fails where somebody else has the port of this address. What is no address of a socket is left to the transport.
pub(crate) fn check_free(addr: &Multiaddr) -> io::Result<()> {
    let Some((addr, kind)) = socket_addr(addr) else { return Ok(()) };
    if addr.port() == 0 {
        return Ok(());
    }
    let socket = Socket::new(Domain::for_address(addr), kind, None)?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Elsewhere than on Windows this means that connections which have just ended are no obstacle.
    #[cfg(not(windows))]
    if kind == Type::STREAM {
        socket.set_reuse_address(true)?;
    }
    socket.bind(&addr.into())?;
    if kind == Type::STREAM { socket.listen(PROBE_BACKLOG) } else { Ok(()) }
}

/// What is wrong with an address, and what to do about it.
pub(crate) fn explain(addr: &Multiaddr, error: &io::Error) -> String {
    let port = socket_addr(addr).map_or(0, |(addr, _)| addr.port());
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "port {port} ({addr}) is in use by another node or program: stop that one, choose another port, or use \
             --port 0 for any free port"
        ),
        io::ErrorKind::PermissionDenied => {
            format!(
                "this user may not listen on port {port} ({addr}): choose a port from 1024 on, or use --port 0 for any \
                 free port"
            )
        }
        io::ErrorKind::AddrNotAvailable => format!("cannot listen on {addr}: it is no address of this machine"),
        _ => format!("cannot listen on {addr}"),
    }
}

fn socket_addr(addr: &Multiaddr) -> Option<(SocketAddr, Type)> {
    let mut protocols = addr.iter();
    let ip = match protocols.next()? {
        Protocol::Ip4(ip) => IpAddr::from(ip),
        Protocol::Ip6(ip) => IpAddr::from(ip),
        _ => return None,
    };
    match protocols.next()? {
        Protocol::Tcp(port) => Some((SocketAddr::new(ip, port), Type::STREAM)),
        Protocol::Udp(port) => Some((SocketAddr::new(ip, port), Type::DGRAM)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn a_port_is_free_until_somebody_has_it() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (tcp_port, udp_port) = (tcp.local_addr().unwrap().port(), udp.local_addr().unwrap().port());
        let tcp_addr: Multiaddr = format!("/ip4/127.0.0.1/tcp/{tcp_port}").parse().unwrap();
        let quic_addr: Multiaddr = format!("/ip4/127.0.0.1/udp/{udp_port}/quic-v1").parse().unwrap();
        for (addr, port) in [(&tcp_addr, tcp_port), (&quic_addr, udp_port)] {
            let error = check_free(addr).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
            let text = explain(addr, &error);
            assert!(text.contains(&format!("port {port} ")) && text.contains("--port 0"), "{text}");
        }
        drop((tcp, udp));
        check_free(&tcp_addr).unwrap();
        check_free(&quic_addr).unwrap();
        check_free(&"/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
        check_free(&"/dns4/localhost/tcp/1".parse().unwrap()).unwrap();
    }
}
