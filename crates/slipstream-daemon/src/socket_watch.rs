//! Tells when ssh's control socket appears, without looking again and again.

use crate::locks::lock;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};
use tokio::sync::oneshot;

type Waiting = Arc<Mutex<HashMap<PathBuf, oneshot::Sender<()>>>>;

/// Watches one folder for sockets that callers expect in it.
pub(crate) struct SocketWatch {
    waiting: Waiting,
    /// Watches as long as it lives.
    _watcher: RecommendedWatcher,
}

impl SocketWatch {
    /// Watches `dir`.
    pub(crate) fn new(dir: &Path) -> notify::Result<Self> {
        let waiting = Waiting::default();
        let seen = Arc::clone(&waiting);
        let mut watcher = notify::recommended_watcher(move |_event| release(&seen))?;
        watcher.watch(dir, RecursiveMode::NonRecursive)?;
        Ok(Self { waiting, _watcher: watcher })
    }

    /// Returns what becomes ready when `path` exists; call it before starting what makes it.
    pub(crate) fn expect(&self, path: &Path) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        lock(&self.waiting).insert(path.to_owned(), sender);
        receiver
    }
}

/// Wakes every caller whose socket is there; which file an event names differs by system.
fn release(waiting: &Waiting) {
    let mut waiting = lock(waiting);
    waiting.retain(|_, sender| !sender.is_closed());
    let there: Vec<_> = waiting.keys().filter(|path| path.exists()).cloned().collect();
    for path in there {
        if let Some(sender) = waiting.remove(&path) {
            let _ = sender.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_that_appears_wakes_its_caller() {
        let dir = tempfile::tempdir().expect("temp dir");
        let watch = SocketWatch::new(dir.path()).expect("watch");
        let path = dir.path().join("s");
        let ready = watch.expect(&path);
        let _listener = std::os::unix::net::UnixListener::bind(&path).expect("bind");
        ready.await.expect("woken");
    }
}
