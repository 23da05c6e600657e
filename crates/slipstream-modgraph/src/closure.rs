//! Collects a module's closure.

use crate::{
    imports::Doubt,
    library::{Library, Manner, Source},
    locate::{Entry, Located, Locator, Open},
};
use slipstream_wire::{Digest, FileStamp, World};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

const CORE_UTILS: &str = "ansible/module_utils/";
/// Who imports it, a utility of ansible-core too, hands the zip to another interpreter.
const RESPAWN: &str = "ansible/module_utils/common/respawn.py";

/// A module whose closure is wanted.
pub struct Question<'a> {
    /// Its full name: `ansible.modules.command`.
    pub name: &'a str,
    /// Its source.
    pub content: &'a [u8],
    /// Where its controller looks for utilities.
    pub world: &'a World,
}

/// What is known of a module's closure.
pub enum Answer {
    /// All of it.
    Found(Found),
    /// Nothing yet: the controller has to say more of these collections.
    NeedCollections(BTreeSet<String>),
    /// Only ansible-core can tell, for this reason.
    AskStock(&'static str),
}

/// A whole closure.
pub struct Found {
    /// Content id and content of each file, by path.
    pub files: BTreeMap<String, (Digest, Arc<[u8]>)>,
    /// Holds as long as all these look the same.
    pub stamps: Vec<FileStamp>,
    /// Whether the module needs its files in a real zip.
    pub needs_zip: bool,
}

/// Finds the closure of a module.
pub fn close(library: &mut Library, question: &Question<'_>) -> Answer {
    let found = match Walk::new(library, question.world, question.world.minify).walk(question) {
        // It may read another file's documentation.
        Ok(walk) if walk.manner().minify && walk.any_of_others(|source| source.reads_documentation) => {
            Walk::new(library, question.world, false).walk(question)
        }
        found => found,
    };
    match found {
        Ok(walk) if !walk.needed.is_empty() => Answer::NeedCollections(walk.needed),
        Ok(walk) => Answer::Found(walk.found()),
        Err(doubt) => Answer::AskStock(doubt),
    }
}

struct Walk<'a, 'b> {
    locator: Locator<'a, 'b>,
    todo: BTreeSet<Entry>,
    /// Names that have their place in the closure.
    done: BTreeSet<String>,
    files: BTreeMap<String, Arc<Source>>,
    needed: BTreeSet<String>,
}

impl<'a, 'b> Walk<'a, 'b> {
    fn new(library: &'b mut Library, world: &'a World, minify: bool) -> Self {
        let manner = Manner { python: world.python, minify };
        Self {
            locator: Locator { world, reader: library.reader(), manner, others: BTreeSet::new() },
            todo: BTreeSet::new(),
            done: BTreeSet::new(),
            files: BTreeMap::new(),
            needed: BTreeSet::new(),
        }
    }

    fn manner(&self) -> Manner {
        self.locator.manner
    }

    /// Follows imports from the module until nothing new is found, or more has to be known of collections.
    fn walk(mut self, question: &Question<'_>) -> Result<Self, Doubt> {
        let (world, manner) = (self.locator.world, self.manner());
        for (path, text) in &world.given {
            self.done.insert(path.trim_end_matches("/__init__.py").replace('/', "."));
            self.files.insert(path.clone(), Arc::new(Source::read(text.as_bytes(), manner)?));
        }
        let module = Source::read(question.content, manner)?;
        self.want(question.name, false, &module)?;
        for name in &world.always {
            let (name, optional) = (name.clone(), false);
            self.todo.insert(Entry { name, ambiguous: false, child_redirected: false, optional });
        }
        while let Some(entry) = self.todo.pop_first() {
            if !self.done.contains(&entry.name) {
                self.process(&entry)?;
            }
        }
        if !self.needed.is_empty() {
            return Ok(self);
        }
        self.add_module(question.name, module)?;
        if self.any_of_others(|source| source.curious) {
            return Err("a module that looks into its own files");
        }
        Ok(self)
    }

    fn process(&mut self, entry: &Entry) -> Result<(), Doubt> {
        let located = match self.locator.locate(entry) {
            Ok(Some(located)) => located,
            Ok(None) if entry.optional => return Ok(()),
            Ok(None) => return Err("a utility that can't be found"),
            Err(Open::Doubt(doubt)) => return Err(doubt),
            Err(Open::Collection(name)) => {
                self.needed.insert(name);
                return Ok(());
            }
        };
        if self.done.contains(&located.name) {
            return Ok(());
        }
        self.want(&located.name, located.is_package, &located.source)?;
        self.add(entry, located);
        Ok(())
    }

    /// Notes what a file imports.
    fn want(&mut self, name: &str, is_package: bool, source: &Source) -> Result<(), Doubt> {
        for (name, optional) in source.imports.utilities(name, is_package, self.locator.world.match_cases)? {
            if !self.done.contains(&name) {
                self.todo.insert(Entry { name, ambiguous: true, child_redirected: false, optional });
            }
        }
        Ok(())
    }

    /// Gives a utility its place, and asks for the packages that it is in.
    fn add(&mut self, entry: &Entry, located: Located) {
        let Located { name, source, is_package, redirected } = located;
        for (end, _) in name.match_indices('.') {
            let package = name[..end].to_owned();
            if !self.done.contains(&package) {
                self.todo.insert(Entry {
                    name: package,
                    ambiguous: false,
                    child_redirected: redirected,
                    optional: entry.optional,
                });
            }
        }
        let suffix = if is_package { "/__init__.py" } else { ".py" };
        self.files.insert(name.replace('.', "/") + suffix, source);
        self.done.insert(name);
    }

    /// Adds the module itself, and empty packages down to it.
    fn add_module(&mut self, name: &str, source: Source) -> Result<(), Doubt> {
        let path = name.replace('.', "/");
        let empty = Arc::new(Source::read(b"", self.locator.manner)?);
        let core = name.starts_with("ansible.");
        for (end, _) in path.match_indices('/').skip(usize::from(core)) {
            let package = format!("{}/__init__.py", &path[..end]);
            if core || !self.files.contains_key(&package) {
                self.files.insert(package, Arc::clone(&empty));
            }
        }
        self.files.insert(path + ".py", Arc::new(source));
        Ok(())
    }

    /// Tells whether that holds for the module or a utility that is not ansible-core's.
    fn any_of_others(&self, holds: impl Fn(&Source) -> bool) -> bool {
        let below_core = |path: &str| {
            let name = path.strip_prefix(CORE_UTILS)?.strip_suffix(".py")?;
            Some(name.trim_end_matches("/__init__").to_owned())
        };
        let of_core = |path: &str| below_core(path).is_some_and(|name| !self.locator.others.contains(&name));
        let core = |path: &String| of_core(path) || self.locator.world.given.contains_key(path);
        self.files.iter().any(|(path, source)| !core(path) && holds(source))
    }

    fn found(self) -> Found {
        let world = self.locator.world;
        let needs_zip = self.files.contains_key(RESPAWN) || self.any_of_others(|source| source.uses_zip);
        let said = world.collections.values().flat_map(|collection| &collection.stamps).cloned();
        Found {
            stamps: self.locator.reader.into_stamps().into_iter().chain(said).collect(),
            files: self
                .files
                .into_iter()
                .map(|(path, s)| (path, (s.digest.clone(), Arc::clone(&s.content))))
                .collect(),
            needs_zip,
        }
    }
}
