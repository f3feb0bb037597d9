//! The libp2p swarm as an actor.
