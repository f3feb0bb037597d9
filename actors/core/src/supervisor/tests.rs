//! The rules of the OTP manual, as tables. See [`world`] for how to read a trace.

mod api;
mod backoff;
mod interleaved;
mod lifecycle;
mod model;
mod random;
mod strategies;
mod world;
