use crate::FileStamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where a controller finds utilities, and the rules by which its ansible-core looks for them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct World {
    /// Folders that hold utilities of `ansible.module_utils`, in the order of the search.
    pub folders: Vec<String>,
    /// What the controller has said of collections so far.
    pub collections: BTreeMap<String, Collection>,
    /// Utilities that every module gets, by full name.
    pub always: Vec<String>,
    /// Files that ansible-core writes itself, by path inside the closure.
    pub given: BTreeMap<String, String>,
    /// Whether imports inside `match` statements are seen.
    pub match_cases: bool,
    /// Major and minor version of the controller's Python.
    pub python: (u8, u8),
    /// Whether comments and documentation stay on the controller.
    pub minify: bool,
}

/// What a controller knows of a collection.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Collection {
    /// Whether it can be imported.
    pub installed: bool,
    /// Its folder; absent for `ansible.builtin`.
    pub root: Option<String>,
    /// Redirects of utilities: name below `module_utils` to full name, or to nothing where only stock
    /// Ansible knows what to say (deprecations, removals).
    pub routes: BTreeMap<String, Option<String>>,
    /// What this depends on.
    pub stamps: Vec<FileStamp>,
}
