//! Source files and folders as they were read last; what has not changed is not read again.

use crate::{
    imports::{Doubt, Imports, parse},
    minify::{minify_parsed, reads_documentation},
};
use slipstream_wire::{Digest, FileStamp};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ffi::{OsStr, OsString},
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Text kept at most; when it would be more, all is dropped and read again.
const KEPT_BYTES: usize = 64 << 20;
/// Modules that hand AnsiballZ's zip to another interpreter need a real one: so do new interpreters of theirs, which
/// `multiprocessing` starts by default since Python 3.14.
const ZIP_MARKS: [&str; 10] = [
    "respawn",
    "_modlib_path",
    "PYTHONPATH",
    "ProcessPool",
    "multiprocessing.Process",
    "multiprocessing.Pool",
    "multiprocessing.Manager",
    "multiprocessing.get_context",
    "multiprocessing import",
    "multiprocessing as",
];
/// Those that look into it must find in it what stock puts there.
const CURIOUS_MARKS: [&str; 7] = [
    "pkgutil",
    "importlib.resources",
    "importlib_resources",
    "zipimport",
    "iter_modules",
    "getsource",
    "__loader__.",
];

/// A source file's content as it is shipped, and what it imports.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) digest: Digest,
    pub(crate) content: Arc<[u8]>,
    pub(crate) imports: Imports,
    /// Whether it may look for the zip that AnsiballZ would have made.
    pub(crate) uses_zip: bool,
    /// Whether it may look at files of the closure.
    pub(crate) curious: bool,
    /// Whether it may read documentation: its own, or another file's.
    pub(crate) reads_documentation: bool,
}

/// The names in a folder.
#[derive(Debug, Default)]
pub(crate) struct Folder {
    names: HashSet<OsString>,
    /// Modules that are there in another form than source, by name.
    compiled: HashSet<String>,
}

impl Folder {
    pub(crate) fn has(&self, name: &str) -> bool {
        self.names.contains(OsStr::new(name))
    }

    pub(crate) fn has_compiled(&self, module: &str) -> bool {
        self.compiled.contains(module)
    }

    fn read(path: &Path) -> Self {
        let names: HashSet<_> =
            fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.file_name()).collect();
        let compiled = names.iter().filter_map(|name| {
            let (module, rest) = name.to_str()?.split_once('.')?;
            (rest.ends_with("so") || rest == "pyc").then(|| module.to_owned())
        });
        Self { compiled: compiled.collect(), names }
    }
}

/// What changes the reading of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Manner {
    pub(crate) python: (u8, u8),
    pub(crate) minify: bool,
}

impl Source {
    /// Reads a file's content.
    pub(crate) fn read(content: &[u8], manner: Manner) -> Result<Self, Doubt> {
        let text = std::str::from_utf8(content).map_err(|_| "a source file that is not UTF-8")?;
        let parsed = parse(text, manner.python)?;
        let imports = Imports::of(parsed.suite());
        let reads_documentation = reads_documentation(text, &parsed);
        let small = if manner.minify { minify_parsed(text, &parsed) } else { None };
        let text = small.as_deref().unwrap_or(text);
        let has = |marks: &[&str]| marks.iter().any(|mark| text.contains(mark));
        let (uses_zip, curious) = (has(&ZIP_MARKS), has(&CURIOUS_MARKS));
        let content = text.as_bytes();
        let (digest, content) = (Digest::of(content), content.into());
        Ok(Self { digest, content, imports, uses_zip, curious, reads_documentation })
    }
}

#[derive(Default)]
struct Kept {
    sources: HashMap<(PathBuf, Manner), (FileStamp, Arc<Source>)>,
    folders: HashMap<PathBuf, (FileStamp, Arc<Folder>)>,
    bytes: usize,
}

/// Everything read so far, for all controllers.
#[derive(Default)]
pub struct Library(Kept);

/// One closure's view of the library: looks at each path once and remembers how it looked.
pub(crate) struct Reader<'a> {
    kept: &'a mut Kept,
    stamps: BTreeMap<PathBuf, FileStamp>,
}

impl Library {
    pub(crate) fn reader(&mut self) -> Reader<'_> {
        if self.0.bytes > KEPT_BYTES {
            self.0 = Kept::default();
        }
        Reader { kept: &mut self.0, stamps: BTreeMap::new() }
    }
}

impl Reader<'_> {
    /// Returns a file's source, or `None` where there is none.
    pub(crate) fn source(&mut self, path: &Path, manner: Manner) -> Result<Option<Arc<Source>>, Doubt> {
        let stamp = self.stamp(path);
        if stamp.ctime_ns == -1 {
            return Ok(None);
        }
        let key = (path.to_owned(), manner);
        if let Some((_, source)) = self.kept.sources.get(&key).filter(|(seen, _)| *seen == stamp) {
            return Ok(Some(Arc::clone(source)));
        }
        let content = fs::read(path).map_err(|_| "a source file that can't be read")?;
        let source = Arc::new(Source::read(&content, manner)?);
        self.kept.bytes += source.content.len();
        self.kept.sources.insert(key, (stamp, Arc::clone(&source)));
        Ok(Some(source))
    }

    /// Returns the names in a folder; none where there is no folder.
    pub(crate) fn folder(&mut self, path: &Path) -> Arc<Folder> {
        let stamp = self.stamp(path);
        if let Some((_, folder)) = self.kept.folders.get(path).filter(|(seen, _)| *seen == stamp) {
            return Arc::clone(folder);
        }
        let folder = Arc::new(Folder::read(path));
        self.kept.folders.insert(path.to_owned(), (stamp, Arc::clone(&folder)));
        folder
    }

    /// Returns how everything looked that was looked at.
    pub(crate) fn into_stamps(self) -> Vec<FileStamp> {
        self.stamps.into_values().collect()
    }

    fn stamp(&mut self, path: &Path) -> FileStamp {
        if let Some(stamp) = self.stamps.get(path) {
            return stamp.clone();
        }
        let stamp = look_at(path);
        self.stamps.insert(path.to_owned(), stamp.clone());
        stamp
    }
}

/// Returns how a file or folder looks now.
pub fn look_at(path: &Path) -> FileStamp {
    let name = path.to_string_lossy().into_owned();
    match fs::metadata(path) {
        Ok(found) => FileStamp {
            path: name,
            ctime_ns: found.ctime().saturating_mul(1_000_000_000).saturating_add(found.ctime_nsec()),
            size: if found.is_dir() { 0 } else { found.len() },
        },
        Err(_) => FileStamp { path: name, ctime_ns: -1, size: 0 },
    }
}
