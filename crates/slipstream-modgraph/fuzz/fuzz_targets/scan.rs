//! Whatever a module's source is, it has an answer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use slipstream_modgraph::{Library, Question, close};
use slipstream_wire::{Collection, World};
use std::{cell::RefCell, fs, path::Path, sync::OnceLock};

static TREE: OnceLock<tempfile::TempDir> = OnceLock::new();
thread_local!(static LIBRARY: RefCell<Library> = RefCell::default());

fn write(root: &Path, name: &str, text: &str) {
    let path = root.join(name);
    let _ = fs::create_dir_all(path.parent().unwrap_or(root));
    let _ = fs::write(path, text);
}

fn tree() -> &'static Path {
    let folder = TREE.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path(), "utils/basic.py", "from ansible.module_utils.p import q\n");
        write(folder.path(), "utils/p/__init__.py", "from . import r\n");
        write(folder.path(), "utils/p/r.py", "");
        write(folder.path(), "c/plugins/module_utils/u.py", "from .v import w\n");
        write(folder.path(), "c/plugins/module_utils/v/w.py", "from ansible.module_utils.basic import x\n");
        folder
    });
    folder.path()
}

fuzz_target!(|source: &[u8]| {
    let root = tree();
    let collection = Collection {
        installed: true,
        root: Some(root.join("c").display().to_string()),
        routes: [("a".into(), Some("ansible_collections.n.c.plugins.module_utils.u".into()))].into(),
        ..Collection::default()
    };
    let world = World {
        folders: vec![root.join("utils").display().to_string()],
        collections: [("n.c".into(), collection.clone()), ("ansible.builtin".into(), collection)].into(),
        match_cases: true,
        python: (3, 13),
        minify: true,
        ..World::default()
    };
    let question = Question { name: "ansible_collections.n.c.plugins.modules.m", content: source, world: &world };
    LIBRARY.with_borrow_mut(|library| close(library, &question));
});
