//! Asks the daemon over its Unix socket, and waits.
//!
//! Blocking, without threads, and safe in a forked Ansible worker: a channel belongs to the process
//! that opened it, and the daemon is started by exec.

mod channel;
mod error;
mod start;
mod state_dir;

pub use channel::Channel;
pub use error::Error;
pub use start::{StartOptions, connect, connect_or_start};
pub use state_dir::StateDir;
