//! Images: chain loader over IPFS and the file system, and etc/ww.toml.
