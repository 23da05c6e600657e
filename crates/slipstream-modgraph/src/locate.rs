//! Where a utility's source is, by the rules of ansible-core's `ModuleUtilLocatorBase` and its children.

use crate::{
    imports::Doubt,
    library::{Folder, Manner, Reader, Source},
};
use slipstream_wire::{Collection, World};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

const LEGACY: &str = "ansible.module_utils.";
/// Routes of `ansible.module_utils` are this collection's.
const BUILTIN: &str = "ansible.builtin";

/// A utility that some file imports.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub(crate) name: String,
    /// The last part may be something inside the module that the rest names.
    pub(crate) ambiguous: bool,
    /// A package that need not exist, because a redirect brought something below it.
    pub(crate) child_redirected: bool,
    pub(crate) optional: bool,
}

/// A utility that was found.
pub(crate) struct Located {
    pub(crate) name: String,
    pub(crate) source: Arc<Source>,
    pub(crate) is_package: bool,
    pub(crate) redirected: bool,
}

/// Why there is no answer.
pub(crate) enum Open {
    /// The controller has not said anything of this collection yet.
    Collection(String),
    Doubt(Doubt),
}

impl From<Doubt> for Open {
    fn from(doubt: Doubt) -> Self {
        Self::Doubt(doubt)
    }
}

pub(crate) struct Locator<'a, 'b> {
    pub(crate) world: &'a World,
    pub(crate) reader: Reader<'b>,
    pub(crate) manner: Manner,
    /// Utilities of ansible-core's names that were found outside of its folder, by path below that.
    pub(crate) others: BTreeSet<String>,
}

type Sourced = Option<(Arc<Source>, bool)>;

impl<'a> Locator<'a, '_> {
    /// Finds a utility; `None` if there is none.
    pub(crate) fn locate(&mut self, entry: &Entry) -> Result<Option<Located>, Open> {
        let legacy = entry.name.starts_with(LEGACY);
        if !legacy {
            check_collection_name(&entry.name)?;
        }
        let above = if legacy { 2 } else { 5 };
        let candidates = candidates(&entry.name, entry.ambiguous, legacy, above);
        for &name in &candidates {
            let routed = if legacy { None } else { self.redirect(name, above, entry)? };
            let found = match routed {
                Some(shim) => Some((shim, true, true)),
                None => match self.find(name, legacy)? {
                    Some((source, is_package)) => Some((source, is_package, false)),
                    None if legacy => self.redirect(name, above, entry)?.map(|shim| (shim, true, true)),
                    None => None,
                },
            };
            if let Some((source, is_package, redirected)) = found {
                return Ok(Some(Located { name: name.into(), source, is_package, redirected }));
            }
        }
        let last = candidates.last().filter(|_| entry.child_redirected);
        let package = |name: &&str| {
            Ok(Located { name: (*name).into(), source: self.empty()?, is_package: true, redirected: false })
        };
        last.map(package).transpose()
    }

    /// Returns the package that stands in for a redirected utility, if a route says so.
    fn redirect(&self, name: &str, above: usize, entry: &Entry) -> Result<Option<Arc<Source>>, Open> {
        let Some(below) = name.splitn(above + 1, '.').nth(above) else { return Ok(None) };
        let legacy = name.starts_with(LEGACY);
        let collection = self.collection(name, legacy)?;
        if !collection.installed {
            return if entry.optional && !legacy { Ok(None) } else { Err("a missing collection".into()) };
        }
        let Some(target) = collection.routes.get(below) else { return Ok(None) };
        let target = target.as_ref().ok_or("a deprecated or removed utility")?;
        let shim = format!("\nimport sys\nimport {target} as mod\n\nsys.modules['{name}'] = mod\n");
        Ok(Some(Arc::new(Source::read(shim.as_bytes(), self.manner)?)))
    }

    fn collection(&self, name: &str, legacy: bool) -> Result<&'a Collection, Open> {
        let collection = if legacy {
            BUILTIN.to_owned()
        } else {
            name.split('.').skip(1).take(2).collect::<Vec<_>>().join(".")
        };
        self.world.collections.get(&collection).ok_or(Open::Collection(collection))
    }

    /// Returns a utility's source, and whether it is a package.
    fn find(&mut self, name: &str, legacy: bool) -> Result<Sourced, Open> {
        let parts: Vec<&str> = name.split('.').collect();
        if legacy {
            return Ok(self.find_in_folders(&parts[2..])?);
        }
        if parts.len() < 6 {
            return Ok(Some((self.empty()?, true)));
        }
        let collection = self.collection(name, false)?;
        if !collection.installed {
            return Ok(None);
        }
        let root =
            collection.root.as_deref().ok_or("a utility of ansible.builtin by its collection's name")?;
        Ok(self.find_in_collection(Path::new(root), &parts[3..])?)
    }

    /// As Python's own path finder, for source files.
    fn find_in_folders(&mut self, below: &[&str]) -> Result<Sourced, Doubt> {
        let (name, packages) = below.split_last().ok_or("an import without a name")?;
        let mut namespace = false;
        for root in &self.world.folders {
            let path = packages.iter().fold(PathBuf::from(root), |path, part| path.join(part));
            let folder = self.reader.folder(&path);
            if folder.has(name) {
                let package = path.join(name);
                let inside = self.reader.folder(&package);
                if let Some(found) = self.source_in(&package, &inside, "__init__")? {
                    self.note_owner(root, below);
                    return Ok(Some((found, true)));
                }
                namespace |= package.is_dir();
            }
            if let Some(found) = self.source_in(&path, &folder, name)? {
                self.note_owner(root, below);
                return Ok(Some((found, false)));
            }
        }
        if namespace { Err("a namespace package") } else { Ok(None) }
    }

    /// ansible-core's own folder is the last, and perhaps one of those before, too.
    fn note_owner(&mut self, root: &str, below: &[&str]) {
        if self.world.folders.last().is_some_and(|cores| Path::new(cores) != Path::new(root)) {
            self.others.insert(below.join("/"));
        }
    }

    /// As the collection loader's `get_data`: any folder is a package, and comes before a file.
    fn find_in_collection(&mut self, root: &Path, below: &[&str]) -> Result<Sourced, Doubt> {
        let (name, packages) = below.split_last().ok_or("an import without a name")?;
        let path = packages.iter().fold(root.to_owned(), |path, part| path.join(part));
        let folder = self.reader.folder(&path);
        let package = path.join(name);
        if folder.has(name) && package.is_dir() {
            let inside = self.reader.folder(&package);
            let found = if inside.has("__init__.py") {
                self.reader.source(&package.join("__init__.py"), self.manner)?
            } else {
                None
            };
            return Ok(Some((found.map_or_else(|| self.empty(), Ok)?, true)));
        }
        let file = format!("{name}.py");
        if !folder.has(&file) {
            return Ok(None);
        }
        Ok(self.reader.source(&path.join(file), self.manner)?.map(|found| (found, false)))
    }

    fn source_in(
        &mut self,
        path: &Path,
        folder: &Folder,
        module: &str,
    ) -> Result<Option<Arc<Source>>, Doubt> {
        if folder.has_compiled(module) {
            return Err("a utility that is not source");
        }
        let file = format!("{module}.py");
        if folder.has(&file) { self.reader.source(&path.join(file), self.manner) } else { Ok(None) }
    }

    fn empty(&self) -> Result<Arc<Source>, Doubt> {
        Source::read(b"", self.manner).map(Arc::new)
    }
}

fn check_collection_name(name: &str) -> Result<(), Doubt> {
    let parts: Vec<&str> = name.split('.').collect();
    if parts[0] != "ansible_collections" {
        return Err("an import that is no utility");
    }
    if parts.len() >= 6 && parts[3..5] != ["plugins", "module_utils"] {
        return Err("a collection import outside module_utils");
    }
    Ok(())
}

/// Returns the names to look for, in order.
fn candidates(name: &str, ambiguous: bool, legacy: bool, above: usize) -> Vec<&str> {
    const SIX: &str = "ansible.module_utils.six";
    if legacy && (name == SIX || name.starts_with("ansible.module_utils.six.")) {
        // six makes its submodules when it runs.
        return vec![SIX];
    }
    match name.rsplit_once('.') {
        Some((parent, _)) if ambiguous && name.split('.').count() > above + 1 => vec![name, parent],
        _ => vec![name],
    }
}
