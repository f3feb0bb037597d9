//! End to end: the real command, in an environment of its own, with the guests of `guests/`.
//!
//! | file | what it holds the command to |
//! |---|---|
//! | `harness`, `image`, `output` | how a test starts the command: image, streams, signals, and a bound on every wait |
//! | `guests` | every guest program has a test, or this does not compile |
//! | `main_job` | the first image, its two lines and what is logged beside them |
//! | `ends` | every end of a program and its exit code |
//! | `command_line` | options, configuration, ports |
//! | `signals` | a node that is told to stop |
//! | `bad_images` | images that cannot be run, each with what to do about it |
//! | `streams` | standard streams: whole, bounded, closed by either end |
//! | `authority` | environment, grants and limits: nothing that was not given |
//! | `children` | programs that start programs |
//! | `actors` | guests that live on between messages, through the library |
//! | `trees` | trees of supervisors and cells |
//! | `server`, `client`, `serving` | cells that peers send messages to |
//! | `publishing` | names, audiences, and how many messages at a time |
//! | `load` | many messages, large ones, and replies that break off |
//! | `bounds` | the table of all that can be held or computed leaves nothing out |
//! | `hostile` | one hostile principal of each kind beside those who mean well |
//! | `stalls` | callers that keep a cell waiting, whatever the way they come |
//! | `compilation` | programs that are made to be compiled for long |
//! | `foreign` | clients that are not ours |
//! | `foreign_text` | text of guests in the log and in what the verbs say |
//! | `dialling` | guests that send messages to cells |
//! | `control` | the control socket, and hostile clients beside well-behaved ones |
//! | `verbs`, `top` | the verbs that ask a running node |
//! | `remote` | capabilities over the network: grants to peers, verbs from another machine, nodes that are lost |
//! | `chains` | what is held of another node, narrowed, handed on and taken back; chains of nodes |
//! | `recipes` | programs in other languages, as their recipes build them |
//! | `neighbours` | cells that send messages to one another |
//! | `shell` | the interactive image |
//! | `debug_info` | backtraces that name files and lines |
//! | `identity` | keys and peer ids |
//! | `ipfs` | images from IPFS: honest, lying and absent daemons |

mod actors;
mod authority;
mod bad_images;
mod bounds;
mod causes;
mod chains;
mod children;
mod client;
mod command_line;
mod compilation;
mod control;
mod debug_info;
mod dialling;
mod ends;
mod foreign;
mod foreign_text;
mod guests;
mod harness;
mod hostile;
mod identity;
mod image;
mod ipfs;
mod load;
mod main_job;
mod natives;
mod neighbours;
mod output;
mod publishing;
mod reach;
mod recipes;
mod remote;
mod restarts;
mod server;
mod serving;
mod shell;
mod shortage;
mod signals;
mod stalls;
mod streams;
mod top;
mod trees;
mod verbs;
