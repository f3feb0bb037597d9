use libp2p::swarm::ConnectionId;

use super::*;
use crate::{
    config::StreamLimits,
    streams::ledger::{Place, Presence},
};

/// A node with bounds, and who is connected to it.
struct Node {
    admission: Admission,
    held: HashMap<ConnectionId, (Presence, Vec<Place>)>,
    next: usize,
}

impl Node {
    fn new(limits: Limits, named: &[PeerId]) -> Self {
        let known = Acquaintances::new(named.iter().copied().collect());
        let ledger = Ledger::new(StreamLimits::default());
        Self { admission: Admission::new(limits, known, ledger, Refusals::default()), held: HashMap::new(), next: 0 }
    }

    /// A peer connects from the last part of an address. What made room is gone at once.
    fn come(&mut self, peer: PeerId, from: &str) -> Result<ConnectionId, Exceeded> {
        self.next += 1;
        let (id, addr) = (ConnectionId::new_unchecked(self.next), from.parse::<Multiaddr>().unwrap());
        let standing = self.admission.known.standing(&peer);
        let admitted = self.admission.admit(id, peer, standing, &addr);
        while let Some((_, id)) = self.admission.closing.pop_front() {
            self.admission.forget(id);
            self.held.remove(&id);
        }
        admitted?;
        let presence = self.admission.ledger.connected(peer, standing, Origin::of(&addr));
        self.held.insert(id, (presence, Vec::new()));
        Ok(id)
    }

    fn stranger(&mut self, last: u8) -> Result<ConnectionId, Exceeded> {
        self.come(PeerId::random(), &format!("/ip4/192.0.2.{last}/tcp/1"))
    }

    /// Has the peer of a connection open a stream, and say something if it is meant to.
    fn opens_stream(&mut self, id: ConnectionId, says_something: bool) {
        let peer = self.admission.open[&id].peer;
        let mut place = self.admission.ledger.inbound(peer).unwrap();
        if says_something {
            place.hear();
        }
        self.held.get_mut(&id).unwrap().1.push(place);
    }

    fn still(&self, ids: &[ConnectionId]) -> Vec<usize> {
        (0..ids.len()).filter(|at| self.held.contains_key(&ids[*at])).collect()
    }
}

fn limits(strangers: u32, per_address: u32) -> Limits {
    Limits { strangers, per_address, ..Limits::default() }
}

#[test]
fn as_many_keys_as_one_likes_keep_nobody_out() {
    let mut node = Node::new(Limits::default(), &[]);
    let honest = node.stranger(2).unwrap();
    for _ in 0..1_000 {
        node.stranger(1).unwrap();
    }
    let Limits { per_address, .. } = Limits::default();
    assert_eq!(node.held.len(), per_address as usize + 1);
    assert!(node.held.contains_key(&honest), "another address");
    let counts = node.admission.refusals.counts();
    assert_eq!(counts.made_room, 1_000 - u64::from(per_address));
    assert!(node.admission.open.len() == node.held.len() && node.admission.closing.is_empty());
}

#[test]
fn the_one_that_was_idle_longest_makes_room_and_one_at_work_does_not() {
    let mut node = Node::new(limits(9, 3), &[]);
    let ids = [(); 3].map(|()| node.stranger(1).unwrap());
    node.opens_stream(ids[0], true);
    node.opens_stream(ids[1], false);
    let fourth = node.stranger(1).unwrap();
    assert_eq!(node.still(&ids), [0, 2], "a stream on which nothing is said is no work");
    for id in [ids[2], fourth] {
        node.opens_stream(id, true);
    }
    assert_eq!(node.stranger(1).unwrap_err(), Exceeded { limit: 3, what: Bound::Address });
    node.held.get_mut(&fourth).unwrap().1.clear();
    node.held.get_mut(&ids[2]).unwrap().1.clear();
    node.stranger(1).unwrap();
    assert_eq!(node.still(&[ids[0], ids[2], fourth]), [0, 1], "it was used later");
    assert_eq!(node.admission.refusals.counts().refused_by_address, 1);
}

#[test]
fn an_address_with_more_than_its_share_makes_room_even_at_work() {
    let strangers = SHARE as u32 + 3;
    let mut node = Node::new(limits(strangers, 64), &[]);
    let ids: Vec<_> = (0..strangers).map(|_| node.stranger(1).unwrap()).collect();
    ids.iter().for_each(|id| node.opens_stream(*id, true));
    for last in 2..5 {
        let id = node.stranger(last).unwrap();
        node.opens_stream(id, true);
    }
    assert_eq!(node.still(&ids), (3..ids.len()).collect::<Vec<_>>());
    assert_eq!(node.stranger(5).unwrap_err(), Exceeded { limit: strangers as usize, what: Bound::Strangers });
    assert_eq!(node.admission.refusals.counts().over_share, 3);
}

#[test]
fn a_few_addresses_at_work_keep_no_other_one_out_on_either_transport() {
    let Limits { strangers, per_address, quic_strangers, quic_per_address, .. } = Limits::default();
    for (transport, all, each, share) in
        [("tcp/1", strangers, per_address, SHARE), ("udp/1/quic-v1", quic_strangers, quic_per_address, QUIC_SHARE)]
    {
        let mut node = Node::new(Limits::default(), &[]);
        let mut works = |last: u32| {
            let id = node.come(PeerId::random(), &format!("/ip4/192.0.2.{last}/{transport}"))?;
            node.opens_stream(id, true);
            Ok::<_, Exceeded>(id)
        };
        let few = all / each;
        for last in (0..few).flat_map(|last| (0..each).map(move |_| last)) {
            works(last).unwrap();
        }
        let addresses = all / share as u32;
        for last in (few..addresses).flat_map(|last| (0..share).map(move |_| last)) {
            works(last).unwrap_or_else(|full| panic!("{transport}, address {last}: {full}"));
        }
        assert_eq!(works(addresses).unwrap_err(), Exceeded { limit: all as usize, what: Bound::Strangers });
        assert_eq!(node.held.len(), all as usize);
    }
}

#[test]
fn known_peers_have_places_that_strangers_cannot_take() {
    let named = PeerId::random();
    let limits = Limits { connections: 6, dialled: 2, ..limits(2, 2) };
    let mut node = Node::new(limits, &[named]);
    let dialled = [(); 3].map(|()| PeerId::random());
    dialled.iter().for_each(|peer| node.admission.known.dialled(*peer));
    let here = "/ip4/192.0.2.1/tcp/1";
    let mut ids = vec![node.stranger(1).unwrap(), node.stranger(1).unwrap()];
    ids.extend(dialled[..2].iter().map(|peer| node.come(*peer, here).unwrap()));
    ids.extend([(); 2].map(|()| node.come(named, here).unwrap()));
    ids.iter().for_each(|id| node.opens_stream(*id, true));
    assert_eq!(node.stranger(1).unwrap_err().what, Bound::Address);
    assert_eq!(node.stranger(2).unwrap_err().what, Bound::Strangers);
    assert_eq!(node.come(dialled[2], here).unwrap_err().what, Bound::Dialled);
    assert_eq!(node.come(named, here).unwrap_err().what, Bound::All);
    // One that is idle makes room for one that is better known, not the other way round.
    node.held.get_mut(&ids[0]).unwrap().1.clear();
    ids.push(node.come(named, here).unwrap());
    assert_eq!(node.still(&ids), [1, 2, 3, 4, 5, 6]);
    node.held.values_mut().for_each(|(_, places)| places.clear());
    node.opens_stream(ids[1], true);
    node.opens_stream(ids[2], true);
    node.opens_stream(ids[3], true);
    assert_eq!(node.stranger(1).unwrap_err().what, Bound::All, "those of the named peer stay");
}

#[test]
fn one_key_has_a_bound_and_its_own_idle_connection_makes_room() {
    let mut node = Node::new(Limits::default(), &[]);
    let (peer, here) = (PeerId::random(), "/ip4/192.0.2.1/tcp/1");
    let ids: Vec<_> = (0..10).map(|_| node.come(peer, here).unwrap()).collect();
    assert_eq!(node.still(&ids), [6, 7, 8, 9]);
    node.opens_stream(ids[9], true);
    assert_eq!(node.come(peer, here).unwrap_err().what, Bound::Peer);
}

#[test]
fn strangers_have_fewer_connections_of_quic() {
    let mut node = Node::new(Limits { quic_strangers: 3, quic_per_address: 2, ..Limits::default() }, &[]);
    let mut come = |last: u8| node.come(PeerId::random(), &format!("/ip4/192.0.2.{last}/udp/1/quic-v1")).unwrap();
    let ids = [1, 1, 1, 2, 3].map(&mut come);
    assert_eq!(node.still(&ids), [2, 3, 4]);
    node.stranger(1).unwrap();
    assert_eq!(node.held.len(), 4, "TCP has places of its own");
}

#[test]
fn those_that_do_not_leave_are_bounded() {
    let mut node = Node::new(limits(1, 1), &[]);
    let addr: Multiaddr = "/ip4/192.0.2.1/tcp/1".parse().unwrap();
    let mut come = |standing| {
        node.next += 1;
        node.admission.admit(ConnectionId::new_unchecked(node.next), PeerId::random(), standing, &addr)
    };
    let outcomes = (0..MAX_LEAVING + 9).map(|_| come(Standing::Stranger)).collect::<Vec<_>>();
    assert!(outcomes[..=MAX_LEAVING].iter().all(Result::is_ok));
    assert_eq!(outcomes[MAX_LEAVING + 2].unwrap_err().what, Bound::Leaving);
    come(Standing::Named).unwrap();
    assert!(node.admission.open.len() <= MAX_LEAVING + 3);
}
