//! Names the build by a digest of what the daemon and its agent are made from: of one version there may be many.

use std::{
    env, fs,
    hash::{DefaultHasher, Hasher as _},
    io,
    path::{Path, PathBuf},
};

/// Where that is, from the root of the repository.
const SOURCES: [&str; 4] = [
    "crates/slipstream-wire/src",
    "crates/slipstream-modgraph/src",
    "crates/slipstream-daemon/src",
    "python/ansible_slipstream/agent",
];

fn main() -> io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = Vec::new();
    for folder in SOURCES {
        add_files(&root.join(folder), &mut files)?;
    }
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in files {
        println!("cargo:rerun-if-changed={}", file.display());
        hasher.write(&fs::read(file)?);
    }
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    println!("cargo:rustc-env=SLIPSTREAM_BUILD={version}+{:016x}", hasher.finish());
    Ok(())
}

fn add_files(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            add_files(&path, files)?;
        } else if path.extension().is_some_and(|ending| ending == "rs" || ending == "py") {
            files.push(path);
        }
    }
    Ok(())
}
