//! The closures that controllers have computed, kept by content.

use crate::{deflate, locks::lock};
use slipstream_modgraph::look_at;
use slipstream_wire::{
    BlobSource, ClosureHead, ClosureInfo, Compression, Digest, FileStamp, Frame, ToAgent, pack_names,
};
use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
    sync::{Arc, Mutex},
};
use tokio::{sync::OnceCell, task::spawn_blocking};

/// Source text kept at most; when it would be more, everything is dropped and asked for again.
const KEPT_BYTES: usize = 256 << 20;

/// A file's id and content.
pub(crate) type Blob = (Digest, Arc<[u8]>);

/// A closure for agents that hold the same, as the body of [`slipstream_wire::ToAgent::Closure`].
pub(crate) struct Bundle {
    /// In JSON.
    head: Vec<u8>,
    /// The blobs that come along.
    blobs: Vec<Digest>,
    /// Head and blobs, deflated.
    bytes: Vec<u8>,
    /// At which level.
    level: i32,
    /// Of both, before that.
    digest: Digest,
}

/// What an agent has been sent.
#[derive(Clone, Default)]
pub(crate) struct Held {
    /// How many blobs there were with each.
    closures: HashMap<Digest, u32>,
    numbers: HashMap<Digest, u32>,
    /// Blobs with lower numbers have come to the agent, as its answers tell.
    arrived: u32,
    /// The agent may be waiting for another one: who waited for it meanwhile could wait for ever.
    fetching: bool,
    /// Of all closures in their order: agents with the same history number their blobs alike.
    history: Option<Digest>,
    /// Of all bodies.
    bytes: usize,
}

impl Held {
    /// The id of all that was sent, in its order; the agent computes the same.
    pub(crate) fn history(&self) -> Option<&Digest> {
        self.history.as_ref()
    }

    /// Bytes that were sent.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Tells whether the agent has that closure.
    pub(crate) fn has(&self, closure: &Digest) -> bool {
        self.closures.contains_key(closure)
    }

    /// Notes that the agent has run a module of that closure, and so has what it was sent before.
    pub(crate) fn answered(&mut self, closure: &Digest) {
        let arrived = self.closures.get(closure).copied().unwrap_or_default();
        if arrived > self.arrived {
            self.arrived = arrived;
            self.fetching = self.numbers.len() > arrived as usize && self.fetching;
        }
    }

    /// Returns the agent's numbers of all these blobs, if it has them and waits for nobody.
    pub(crate) fn numbers_of(&self, blobs: &[Digest]) -> Option<Vec<u32>> {
        if self.fetching {
            return None;
        }
        let arrived = |blob| self.numbers.get(blob).copied().filter(|number| *number < self.arrived);
        blobs.iter().map(arrived).collect()
    }

    /// Notes that a bundle is on its way, and returns the frame that brings it, or says where it is.
    pub(crate) fn take(
        &mut self,
        closure: &Digest,
        bundle: &Bundle,
        cached: &BTreeSet<Digest>,
        source: Option<BlobSource>,
    ) -> Frame {
        for blob in &bundle.blobs {
            let number = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX);
            self.numbers.insert(blob.clone(), number);
        }
        let before = self.history.as_ref().map_or("", Digest::as_str);
        let (closure_id, content) = (closure.as_str(), bundle.digest.as_str());
        let head = bundle.head.len() as u64;
        let after = Digest::of(format!("{before}{closure_id}:{head}:{content}").as_bytes());
        self.history = Some(after.clone());
        self.bytes += bundle.bytes.len();
        self.closures.insert(closure.clone(), u32::try_from(self.numbers.len()).unwrap_or(u32::MAX));
        let digest = closure.clone();
        let (history, source, body) = if cached.contains(&after) {
            (Some(after), None, vec![])
        } else if source.is_some() {
            self.fetching = true;
            (Some(after), source, deflate::pack(&bundle.head, bundle.level))
        } else {
            (None, None, bundle.bytes.clone())
        };
        let flags = if body.is_empty() { 0 } else { Frame::DEFLATED };
        Frame::message(0, &ToAgent::Closure { digest, head, history, source }, body).flagged(flags)
    }
}

impl Bundle {
    /// Bytes on the wire.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The blobs that come along.
    pub(crate) fn blobs(&self) -> &[Digest] {
        &self.blobs
    }
}

/// What a bundle depends on: the agent's history, the closure, the compression.
type BundleId = (Option<Digest>, Digest, Compression);
/// Where a bundle will be when it is packed; nothing if it can't be.
type Place = Arc<OnceCell<Option<Arc<Bundle>>>>;

#[derive(Default)]
struct Contents {
    by_key: HashMap<String, Digest>,
    by_digest: HashMap<Digest, Arc<ClosureInfo>>,
    blobs: HashMap<Digest, Arc<[u8]>>,
    /// Hosts in the same state share a bundle, and wait for the one that packs it.
    bundles: HashMap<BundleId, Place>,
    kept: usize,
}

impl Contents {
    /// Counts a bundle that has just been packed, at the cost of others if need be; forgets that it can't be.
    fn account_for(&mut self, place: &Place, id: BundleId, bundle: Option<&Bundle>) {
        // Everything may have been dropped meanwhile, and asked for again.
        if !self.bundles.get(&id).is_some_and(|kept| Arc::ptr_eq(kept, place)) {
            return;
        }
        let (Some(place), Some(bundle)) = (self.bundles.remove(&id), bundle) else { return };
        if self.kept + bundle.len() > KEPT_BYTES {
            self.kept = self.blobs.values().map(|blob| blob.len()).sum();
            self.bundles.clear();
        }
        self.kept += bundle.len();
        self.bundles.insert(id, place);
    }
}

/// Closures by key and by digest, with the content of their files.
#[derive(Clone, Default)]
pub(crate) struct ClosureCache(Arc<Mutex<Contents>>);

impl ClosureCache {
    /// Returns the closure stored under `key`.
    pub(crate) fn find(&self, key: &str) -> Option<Arc<ClosureInfo>> {
        let contents = lock(&self.0);
        contents.by_digest.get(contents.by_key.get(key)?).cloned()
    }

    /// Returns the closure of that id.
    pub(crate) fn get(&self, digest: &Digest) -> Option<Arc<ClosureInfo>> {
        lock(&self.0).by_digest.get(digest).cloned()
    }

    /// Stores a closure; `content` is its files' content, one after the other.
    ///
    /// Returns why not, if the content is not what the closure says.
    pub(crate) fn store(&self, key: String, closure: ClosureInfo, content: &[u8]) -> Result<(), String> {
        let mut blobs = Vec::with_capacity(closure.files.len());
        let mut rest = content;
        for file in &closure.files {
            let len = usize::try_from(file.len).unwrap_or(usize::MAX);
            let (blob, tail) = rest.split_at_checked(len).ok_or("the closure's content is too short")?;
            if Digest::of(blob) != file.digest {
                return Err(format!("{} is not what its digest says", file.path));
            }
            blobs.push((file.digest.clone(), blob.into()));
            rest = tail;
        }
        self.keep(key, closure, blobs);
        Ok(())
    }

    /// Keeps a closure and its files' content.
    pub(crate) fn keep(&self, key: String, closure: ClosureInfo, blobs: Vec<Blob>) -> Arc<ClosureInfo> {
        let mut contents = lock(&self.0);
        if contents.kept + blobs.iter().map(|(_, blob)| blob.len()).sum::<usize>() > KEPT_BYTES {
            *contents = Contents::default();
        }
        for (digest, blob) in blobs {
            if !contents.blobs.contains_key(&digest) {
                contents.kept += blob.len();
                contents.blobs.insert(digest, blob);
            }
        }
        let closure = Arc::new(closure);
        contents.by_key.insert(key, closure.digest.clone());
        contents.by_digest.insert(closure.digest.clone(), Arc::clone(&closure));
        closure
    }

    /// Returns what an agent lacks of `closure`, by what it holds.
    pub(crate) async fn bundle(
        &self,
        closure: &Arc<ClosureInfo>,
        held: &Held,
        compression: Compression,
    ) -> Option<Arc<Bundle>> {
        let id = (held.history.clone(), closure.digest.clone(), compression);
        let place = Arc::clone(lock(&self.0).bundles.entry(id.clone()).or_default());
        let (closure, numbers) = (Arc::clone(closure), held.numbers.clone());
        place.get_or_init(|| self.packed(&place, id, closure, numbers)).await.clone()
    }

    /// Packs beside the daemon's only thread: it takes tens of milliseconds.
    async fn packed(
        &self,
        place: &Place,
        id: BundleId,
        closure: Arc<ClosureInfo>,
        numbers: HashMap<Digest, u32>,
    ) -> Option<Arc<Bundle>> {
        let (cache, compression) = (self.clone(), id.2);
        let packing = spawn_blocking(move || cache.pack(&closure, numbers, compression));
        let bundle = packing.await.ok().flatten().map(Arc::new);
        lock(&self.0).account_for(place, id, bundle.as_deref());
        bundle
    }

    /// Packs in the order of paths: files of one folder are alike.
    fn pack(
        &self,
        closure: &ClosureInfo,
        mut numbers: HashMap<Digest, u32>,
        compression: Compression,
    ) -> Option<Bundle> {
        let mut files: Vec<_> = closure.files.iter().collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let mut head = ClosureHead {
            names: pack_names(files.iter().map(|file| file.path.as_str())),
            files: Vec::with_capacity(files.len()),
            sizes: Vec::new(),
        };
        let mut blobs: Vec<Digest> = Vec::new();
        let mut content: Vec<Arc<[u8]>> = Vec::new();
        for file in files {
            let next = u32::try_from(numbers.len()).ok()?;
            let number = *numbers.entry(file.digest.clone()).or_insert(next);
            head.files.push(number);
            if number == next {
                let blob = lock(&self.0).blobs.get(&file.digest).cloned()?;
                head.sizes.push(blob.len() as u64);
                blobs.push(file.digest.clone());
                content.push(blob);
            }
        }
        let head = serde_json::to_vec(&head).ok()?;
        let parts: Vec<&[u8]> = std::iter::once(&*head).chain(content.iter().map(AsRef::as_ref)).collect();
        let whole = parts.concat();
        let level = deflate::bundle_level(compression);
        let bytes = deflate::pack(&whole, level);
        Some(Bundle { digest: Digest::of(&whole), blobs, bytes, level, head })
    }

    /// Number of closures, and bytes kept.
    pub(crate) fn size(&self) -> (usize, usize) {
        let contents = lock(&self.0);
        (contents.by_digest.len(), contents.kept)
    }
}

/// Tells whether every file that the closure was made of still looks the same.
pub(crate) fn still_true(closure: &ClosureInfo) -> bool {
    let same = |stamp: &FileStamp| look_at(Path::new(&stamp.path)) == *stamp;
    closure.stamps.iter().all(same)
}

#[cfg(test)]
mod tests {
    use super::*;
    use slipstream_wire::ClosureFile;

    fn closure(content: &[u8], stamps: Vec<FileStamp>) -> ClosureInfo {
        let file =
            ClosureFile { path: "a.py".into(), digest: Digest::of(content), len: content.len() as u64 };
        let meta = serde_json::Value::Null;
        ClosureInfo { digest: Digest::of(b"closure"), files: vec![file], meta, stamps }
    }

    #[test]
    fn a_changed_file_invalidates() {
        let file = tempfile::NamedTempFile::new().expect("file");
        let cache = ClosureCache::default();
        cache.store("k".into(), closure(b"x", vec![look_at(file.path())]), b"x").expect("store");
        let found = cache.find("k").expect("stored");
        assert!(still_true(&found));
        std::fs::write(file.path(), "longer").expect("write");
        assert!(!still_true(&found));
    }

    #[test]
    fn content_that_is_not_what_was_said_is_refused() {
        let cache = ClosureCache::default();
        assert!(cache.store("k".into(), closure(b"x", vec![]), b"y").is_err());
        assert!(cache.store("k".into(), closure(b"x", vec![]), b"").is_err());
    }

    #[tokio::test]
    async fn a_bundle_holds_what_is_missing_once() {
        let cache = ClosureCache::default();
        cache.store("k".into(), closure(b"x", vec![]), b"x").expect("store");
        let closure = cache.find("k").expect("stored");
        let mut held = Held::default();
        let all = cache.bundle(&closure, &held, Compression::Auto).await.expect("bundle");
        assert_eq!(all.blobs, vec![Digest::of(b"x")]);
        held.take(&closure.digest, &all, &BTreeSet::new(), None);
        assert!(held.has(&closure.digest));
        // Others may have it from there once the agent has answered.
        assert_eq!(held.numbers_of(&all.blobs), None);
        held.answered(&closure.digest);
        assert_eq!(held.numbers_of(&all.blobs), Some(vec![0]));
        assert_eq!(held.numbers_of(&[Digest::of(b"y")]), None);
        let none = cache.bundle(&closure, &held, Compression::Auto).await.expect("bundle");
        assert!(none.blobs.is_empty());
    }

    #[tokio::test]
    async fn hosts_that_ask_at_once_share_a_bundle() {
        let cache = ClosureCache::default();
        let held = Held::default();
        let closure = Arc::new(closure(b"x", vec![]));
        let none = cache.bundle(&closure, &held, Compression::Auto).await;
        assert!(none.is_none(), "its content has not come yet");
        cache.store("k".into(), (*closure).clone(), b"x").expect("store");
        let ask = || cache.bundle(&closure, &held, Compression::Auto);
        let (one, other) = tokio::join!(ask(), ask());
        assert!(Arc::ptr_eq(&one.expect("bundle"), &other.expect("bundle")));
        assert_eq!(lock(&cache.0).bundles.len(), 1);
    }
}
