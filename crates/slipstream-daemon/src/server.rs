//! The daemon's life: take the folder, listen, serve, end.

use crate::{
    BUILD, config::Config, connection::Client, error::Error, handler, logging::LogLevel, process,
    registry::Shared, socket_watch::SocketWatch,
};
use rustix::fs::{FlockOperation, flock};
use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::{UnixListener, UnixStream},
    signal::unix::{Signal, SignalKind, signal},
    time::timeout,
};
use tracing::{info, warn};

/// What links and agents get to end in order; what is left then dies with the daemon.
const END_GRACE: Duration = Duration::from_secs(4);

/// Without descriptors no client can be taken, however often one asks.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Runs the daemon until it is told to end or nobody has needed it for long.
pub(crate) fn serve(config: Config) -> Result<(), Error> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let lock = take_folder(&config)?;
    process::allow_many_descriptors();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(run(config, lock));
    // A thread may be reading a pipe that nobody writes to; nothing waits for it.
    runtime.shutdown_background();
    outcome
}

/// Takes the folder's lock; the kernel gives it back however the daemon ends.
///
/// A daemon that ends lets go of its socket first and of the lock a moment later, so this waits; the
/// starter's deadline ends a wait for one that stays.
fn take_folder(config: &Config) -> Result<File, Error> {
    let path = config.dir.join("daemon.lock");
    let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    flock(&lock, FlockOperation::LockExclusive).map_err(io::Error::from)?;
    Ok(lock)
}

async fn run(config: Config, lock: File) -> Result<(), Error> {
    let socket = config.socket();
    let log = LogLevel::start(&config.dir, &config.log)?;
    let watch = SocketWatch::new(&config.dir).map_err(io::Error::other)?;
    // Only a daemon that has the lock gets here, so a socket that is there belongs to nobody.
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket)?;
    let shared = Arc::new(Shared::new(config, log, watch));
    info!(version = BUILD, pid = std::process::id(), "listening");
    say_ready()?;
    let mut signals = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let retiring = accept_until_end(&shared, &listener, &mut signals).await?;
    // From here on the next client starts another daemon.
    let _ = std::fs::remove_file(&socket);
    drop((listener, lock));
    shared.socket_gone.cancel();
    if retiring {
        let mut clients = shared.clients.subscribe();
        tokio::select! {
            _ = clients.wait_for(|n| *n == 0) => {}
            () = shared.stop.cancelled() => {}
            _ = signals.0.recv() => {}
            _ = signals.1.recv() => {}
        }
    }
    end_links(&shared).await;
    info!("ended");
    Ok(())
}

/// Tells the starter, and lets go of its pipe.
fn say_ready() -> io::Result<()> {
    let mut out = io::stdout();
    // The starter may have given up waiting; the daemon is of use all the same.
    let _ = out.write_all(b"ready\n").and_then(|()| out.flush());
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&null)?;
    Ok(())
}

/// Serves clients; true if the daemon makes room for another version.
async fn accept_until_end(
    shared: &Arc<Shared>,
    listener: &UnixListener,
    (term, int): &mut (Signal, Signal),
) -> Result<bool, Error> {
    let mut hup = signal(SignalKind::hangup())?;
    let unused = unused(shared);
    tokio::pin!(unused);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => welcome(shared, stream),
                // Out of descriptors: a client that leaves gives some back, an agent that ends does too.
                Err(error) => {
                    warn!(%error, "accept");
                    let _ = timeout(ACCEPT_PAUSE, shared.occupancy.subscribe().changed()).await;
                }
            },
            _ = term.recv() => return Ok(false),
            _ = int.recv() => return Ok(false),
            _ = hup.recv() => {}
            () = shared.stop.cancelled() => return Ok(false),
            () = shared.retire.cancelled() => return Ok(true),
            () = &mut unused => {
                info!("nobody needed the daemon for a while");
                return Ok(false);
            }
        }
    }
}

fn welcome(shared: &Arc<Shared>, stream: UnixStream) {
    let uid = rustix::process::getuid().as_raw();
    match stream.peer_cred() {
        Ok(peer) if peer.uid() == uid => {}
        peer => {
            warn!(uid = ?peer.ok().map(|p| p.uid()), "connection of another user refused");
            return;
        }
    }
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        let _occupant = shared.occupy();
        let _client = shared.count_client();
        match handler::serve(Arc::clone(&shared), Client::new(stream)).await {
            Ok(()) | Err(Error::ClientGone) => {}
            Err(error) => warn!(%error, "client cut off"),
        }
    });
}

async fn unused(shared: &Shared) {
    let mut occupancy = shared.occupancy.subscribe();
    loop {
        // The sender lives in `shared`, so these waits can't fail.
        let _ = occupancy.wait_for(|n| *n == 0).await;
        if timeout(shared.config.idle, occupancy.wait_for(|n| *n > 0)).await.is_err() {
            return;
        }
    }
}

async fn end_links(shared: &Arc<Shared>) {
    for link in shared.links() {
        link.close();
    }
    let mut watched = shared.watched.subscribe();
    let _ = timeout(END_GRACE, watched.wait_for(|n| *n == 0)).await;
}
