//! Closures for clients: from the cache, or scanned.

use crate::{
    closures::{Blob, still_true},
    connection::Client,
    error::Error,
    locks::lock,
    registry::Shared,
};
use serde_json::{Map, Value};
use slipstream_modgraph::{Answer, Found, Question, close};
use slipstream_wire::{ClosureFile, ClosureInfo, Digest, Reply, World};
use std::sync::Arc;

/// A closure that a client wants to have scanned.
pub(crate) struct Wanted {
    pub(crate) key: String,
    pub(crate) name: String,
    pub(crate) meta: Map<String, Value>,
    pub(crate) world: World,
    pub(crate) content: Vec<u8>,
}

/// Serves a closure from the cache: what the run has found for the module before, or what is true now.
pub(crate) async fn find(
    shared: &Shared,
    client: &Client,
    key: &str,
    run: &str,
    module: &str,
) -> Result<(), Error> {
    let found_before = shared.looked_at(run, module).and_then(|key| shared.closures.find(&key));
    let found = match found_before {
        Some(closure) => Some(closure),
        None => found_now(shared, key).await.inspect(|_| shared.look_at(run, module, key)),
    };
    let Some(closure) = found else {
        shared.stats.closure_misses.add(1);
        return client.reply(&Reply::NeedClosure, vec![]).await;
    };
    shared.stats.closure_hits.add(1);
    client.reply(&named(&closure), vec![]).await
}

/// Looks at hundreds of files, perhaps on a slow file system: other requests go on meanwhile.
async fn found_now(shared: &Shared, key: &str) -> Option<Arc<ClosureInfo>> {
    let closure = shared.closures.find(key)?;
    tokio::task::spawn_blocking(move || still_true(&closure).then_some(closure)).await.ok().flatten()
}

/// Scans a module, and keeps its closure.
pub(crate) async fn scan(
    shared: &Arc<Shared>,
    client: &Client,
    wanted: Wanted,
    run: &str,
) -> Result<(), Error> {
    let (name, key) = (wanted.name.clone(), wanted.key.clone());
    let task = {
        let shared = Arc::clone(shared);
        // A scan takes milliseconds: other requests go on meanwhile.
        tokio::task::spawn_blocking(move || answer(&shared, wanted))
    };
    let reply =
        task.await.unwrap_or_else(|error| Reply::AskStock { why: format!("the scan failed: {error}") });
    if matches!(reply, Reply::Closure { .. }) {
        shared.look_at(run, &name, &key);
    }
    client.reply(&reply, vec![]).await
}

fn answer(shared: &Shared, wanted: Wanted) -> Reply {
    let question = Question { name: &wanted.name, content: &wanted.content, world: &wanted.world };
    let answer = close(&mut lock(&shared.library), &question);
    match answer {
        Answer::Found(found) => {
            let (closure, blobs) = describe(found, wanted.meta);
            named(&shared.closures.keep(wanted.key, closure, blobs))
        }
        Answer::NeedCollections(names) => Reply::NeedCollections { names: names.into_iter().collect() },
        Answer::AskStock(why) => Reply::AskStock { why: why.into() },
    }
}

fn describe(found: Found, mut meta: Map<String, Value>) -> (ClosureInfo, Vec<Blob>) {
    meta.insert("zip".into(), found.needs_zip.into());
    let mut names = String::new();
    let mut files = Vec::with_capacity(found.files.len());
    let mut blobs = Vec::with_capacity(found.files.len());
    for (path, (digest, content)) in found.files {
        names.extend([&path, "\0", digest.as_str(), "\n"]);
        files.push(ClosureFile { path, digest: digest.clone(), len: content.len() as u64 });
        blobs.push((digest, content));
    }
    let digest = Digest::of(names.as_bytes());
    (ClosureInfo { digest, files, meta: meta.into(), stamps: found.stamps }, blobs)
}

/// A client has no use for the list of files.
fn named(closure: &ClosureInfo) -> Reply {
    Reply::Closure { digest: closure.digest.clone(), meta: closure.meta.clone() }
}
