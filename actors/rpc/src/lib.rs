//! Cap'n Proto vats and the capability servers of a node.
