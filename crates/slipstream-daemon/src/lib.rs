//! Keeps links and agents alive and routes requests: one daemon per user and state folder.
//!
//! [`daemon_main`] is the whole program; the binary and the Python extension both call it. One
//! thread runs everything: work is waiting, and children that die with their parent thread
//! (`PR_SET_PDEATHSIG`) need that thread to live as long as the daemon.

mod agent;
mod ahead;
mod askpass;
mod batch;
mod boot;
mod chores;
mod closures;
mod config;
mod connection;
mod copies;
mod death;
mod deflate;
mod error;
mod evict;
mod files;
mod handler;
mod link;
mod locks;
mod logging;
mod master;
mod process;
mod program;
mod registry;
mod run;
mod scan;
mod server;
mod slot;
mod socket_watch;
mod start;
mod stats;

use config::Config;
use std::io::Write;

/// The wheel's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The version and, behind a `+`, which of its builds this is: compared in the handshake.
pub const BUILD: &str = env!("SLIPSTREAM_BUILD");

/// Runs the program and returns its exit code. `args` excludes the program's name.
///
/// Under `SLIPSTREAM_ASKPASS` it is the helper that ssh asks for a secret; otherwise the daemon,
/// which writes `ready`, or why it can't start, to standard output and closes it.
pub fn daemon_main(args: Vec<String>) -> i32 {
    if let Ok(address) = std::env::var(askpass::ENVIRONMENT) {
        return askpass::main(&address, args.first().map_or("", String::as_str));
    }
    let outcome = Config::parse(args).and_then(server::serve);
    match outcome {
        Ok(()) => 0,
        Err(error) => {
            // Standard output is the starter's readiness pipe until the daemon is ready.
            let _ = writeln!(std::io::stdout(), "{error}");
            1
        }
    }
}
