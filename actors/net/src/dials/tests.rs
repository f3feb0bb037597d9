use std::{collections::BTreeSet, io};

use libp2p::{TransportError, core::Endpoint, swarm::NetworkBehaviour};

use super::*;
use crate::{
    admission::Admission,
    config::{Limits, StreamLimits},
    counts::Refusals,
    standing::Acquaintances,
    streams::ledger::Ledger,
};

fn addr(port: u16) -> Multiaddr {
    format!("/ip4/192.0.2.7/tcp/{port}").parse().unwrap()
}

fn addrs(ports: &[u16]) -> Vec<Multiaddr> {
    ports.iter().copied().map(addr).collect()
}

fn with_peer(addr: Multiaddr, peer: PeerId) -> Multiaddr {
    addr.with(Protocol::P2p(peer))
}

fn unreachable(peer: PeerId, ports: &[u16]) -> DialError {
    let refusal = |port: &u16| {
        (with_peer(addr(*port), peer), TransportError::Other(io::Error::from(io::ErrorKind::ConnectionRefused)))
    };
    DialError::Transport(ports.iter().map(refusal).collect())
}

/// Joins a dial and begins what it asks for.
fn join(dials: &mut Dials, peer: PeerId, ports: &[u16]) -> (Outcome, Option<ConnectionId>) {
    let (outcome, attempt) = dials.join(peer, addrs(ports)).unwrap();
    let begun = attempt.map(|attempt| {
        let id = ConnectionId::new_unchecked(usize::from(ports.first().copied().unwrap_or_default()));
        dials.began(peer, id, attempt);
        id
    });
    (outcome, begun)
}

#[test]
fn those_who_wait_for_one_peer_share_its_dial_and_its_end() {
    let (mut dials, peer, other) = (Dials::default(), PeerId::random(), PeerId::random());
    let (mut first, begun) = join(&mut dials, peer, &[1, 2]);
    assert!(begun.is_some());
    let (mut second, begun) = join(&mut dials, peer, &[2, 1]);
    assert_eq!(begun, None, "nothing new to try");
    let (mut third, begun) = join(&mut dials, peer, &[]);
    assert_eq!(begun, None);
    let (mut elsewhere, begun) = join(&mut dials, other, &[1]);
    assert!(begun.is_some(), "another peer is another dial");

    dials.connected(&peer);
    for outcome in [&mut first, &mut second, &mut third] {
        assert!(outcome.try_recv().unwrap().is_ok());
    }
    assert!(elsewhere.try_recv().is_err(), "still waiting");
    dials.stop();
    assert!(matches!(elsewhere.try_recv(), Ok(Err(ConnectError::Stopped))));
}

#[test]
fn new_addresses_are_tried_beside_the_others_and_all_must_fail() {
    let (mut dials, peer) = (Dials::default(), PeerId::random());
    let (mut first, id_1) = join(&mut dials, peer, &[1]);
    let (outcome, attempt) = dials.join(peer, addrs(&[1, 2, 2])).unwrap();
    let mut second = outcome;
    assert_eq!(attempt, Some(Attempt { addrs: addrs(&[2]), discovered: true }));
    let id_2 = ConnectionId::new_unchecked(2);
    dials.began(peer, id_2, attempt.unwrap());

    assert_eq!(dials.failed(peer, id_1.unwrap(), unreachable(peer, &[1])), None);
    assert!(first.try_recv().is_err(), "the second attempt is still running");
    assert_eq!(dials.failed(peer, id_2, unreachable(peer, &[2])), None);
    for outcome in [&mut first, &mut second] {
        let Ok(Err(error @ ConnectError::Unreachable { .. })) = outcome.try_recv() else { panic!("an error") };
        let text = error.to_string();
        assert!(text.contains("/ip4/192.0.2.7/tcp/1 (") && text.contains("/ip4/192.0.2.7/tcp/2 ("), "{text}");
        assert!(!text.contains("/p2p/"), "{text}");
    }
    assert!(dials.0.is_empty());
    assert_eq!(dials.failed(peer, id_2, unreachable(peer, &[2])), None, "late news of an ended dial");
}

#[test]
fn an_attempt_is_repeated_without_the_address_where_a_stranger_answers() {
    let (mut dials, peer, stranger) = (Dials::default(), PeerId::random(), PeerId::random());
    let wrong = |port| DialError::WrongPeerId { obtained: stranger, address: with_peer(addr(port), peer) };
    let (mut outcome, id) = join(&mut dials, peer, &[1, 2, 3]);
    let id = id.unwrap();

    // A discovered address: all that were given are still to be tried.
    let again = dials.failed(peer, id, wrong(9)).unwrap();
    assert_eq!(again, Attempt { addrs: addrs(&[1, 2, 3]), discovered: false });
    dials.began(peer, id, again);
    let again = dials.failed(peer, id, wrong(2)).unwrap();
    assert_eq!(again, Attempt { addrs: addrs(&[1, 3]), discovered: false });
    dials.began(peer, id, again);
    let again = dials.failed(peer, id, wrong(1)).unwrap();
    dials.began(peer, id, again);
    assert!(outcome.try_recv().is_err(), "still waiting");
    assert_eq!(dials.failed(peer, id, unreachable(peer, &[3])), None);

    let Ok(Err(ConnectError::WrongPeer { expected, found, addr: at })) = outcome.try_recv() else { panic!("an error") };
    assert_eq!((expected, *found, at), (peer, stranger, addr(9)));
}

#[test]
fn the_first_verdict_says_why() {
    let peer = PeerId::random();
    let limit = || {
        let limits = Limits { pending_outgoing: 0, ..Limits::default() };
        let (known, ledger) = (Acquaintances::new(BTreeSet::new()), Ledger::new(StreamLimits::default()));
        let cause = Admission::new(limits, known, ledger, Refusals::default())
            .handle_pending_outbound_connection(ConnectionId::new_unchecked(1), None, &[], Endpoint::Dialer)
            .unwrap_err();
        DialError::Denied { cause }
    };
    for (ports, error, variant, text) in [
        (&[][..], DialError::NoAddresses, "NoAddresses", "give one"),
        (&[1], DialError::NoAddresses, "Unreachable", "tcp/1 (this node itself listens there)"),
        (&[1], limit(), "Limit", "raise its limit"),
        (&[1], DialError::Aborted, "Unreachable", "tcp/1 ("),
        (&[1], unreachable(peer, &[1]), "Unreachable", "tcp/1 (connection refused)"),
        (&[1], DialError::Transport(Vec::new()), "Unreachable", "at any address"),
    ] {
        let mut dials = Dials::default();
        let (mut outcome, id) = join(&mut dials, peer, ports);
        assert_eq!(dials.failed(peer, id.unwrap(), error), None);
        let error = outcome.try_recv().unwrap().unwrap_err();
        assert!(format!("{error:?}").starts_with(variant), "{error:?}");
        assert!(error.to_string().contains(text), "{error}");
    }
}

#[test]
fn waiters_and_addresses_of_a_dial_are_bounded() {
    let (mut dials, peer) = (Dials::default(), PeerId::random());
    let mut waiters: Vec<_> = (0..MAX_WAITERS).map(|_| join(&mut dials, peer, &[1]).0).collect();
    assert!(matches!(dials.join(peer, addrs(&[1])), Err(ConnectError::Busy { .. })));
    waiters.pop();
    let (_waiting, _) = dials.join(peer, addrs(&[1])).expect("who leaves makes room");

    let other = PeerId::random();
    let ports: Vec<u16> = (1..=u16::try_from(MAX_TRIED).unwrap()).collect();
    let _waiters: Vec<_> = ports.chunks(MAX_ADDRS).map(|ports| join(&mut dials, other, ports).0).collect();
    assert!(matches!(dials.join(other, addrs(&[9_999])), Err(ConnectError::Busy { .. })));
    assert!(dials.join(other, addrs(&[1])).is_ok(), "nothing new");
}

#[test]
fn addresses_are_few_and_those_of_the_peer() {
    let (peer, other) = (PeerId::random(), PeerId::random());
    assert_eq!(checked(peer, vec![addr(1), with_peer(addr(2), peer)]).unwrap(), addrs(&[1, 2]));
    let error = checked(peer, vec![addr(1), with_peer(addr(2), other)]).unwrap_err();
    assert!(matches!(&error, ConnectError::OtherPeer { addr, .. } if addr.to_string().contains("tcp/2")), "{error:?}");
    let many = vec![addr(1); MAX_ADDRS + 1];
    assert!(matches!(checked(peer, many), Err(ConnectError::TooManyAddresses { given: 17, .. })));
}
