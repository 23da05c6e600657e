use crate::Error;
use rustix::fs::{Mode, chmod, mkdir, stat};
use std::{env, os::unix::fs::MetadataExt, path::PathBuf};

/// The folder that holds the daemon's socket, locks, log and control sockets: mode 0700 and ours.
#[derive(Debug, Clone)]
pub struct StateDir(PathBuf);

/// What ssh's options have a meaning for, and no escape that all its versions know.
const SPECIAL_TO_SSH: [&str; 3] = ["\"", "\\", "${"];

impl StateDir {
    /// Chooses the folder: `SLIPSTREAM_DIR`, else below `XDG_RUNTIME_DIR`, else `/tmp/slipstream-UID`.
    ///
    /// Kept short on purpose: a Unix socket's path has room for about 100 bytes.
    pub fn default_path() -> PathBuf {
        if let Some(dir) = env::var_os("SLIPSTREAM_DIR").filter(|d| !d.is_empty()) {
            return dir.into();
        }
        let uid = rustix::process::getuid().as_raw();
        if let Some(dir) = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from) {
            // Under su or sudo the variable may still name the other user's folder.
            if stat(&dir).is_ok_and(|s| s.st_uid == uid) {
                return dir.join("slipstream");
            }
        }
        PathBuf::from(format!("/tmp/slipstream-{uid}"))
    }

    /// Makes the folder if there is none and checks that nobody else can get at it.
    ///
    /// # Errors
    ///
    /// [`Error::Unsafe`] if it is a link, another user's, or open to others, or ssh would make something else of its
    /// path.
    pub fn open(path: PathBuf) -> Result<Self, Error> {
        let text = path.to_string_lossy();
        if let Some(special) = SPECIAL_TO_SSH.iter().find(|special| text.contains(**special)) {
            let reason =
                format!("ssh takes the {special} in its path for something else; choose one without");
            return Err(unsafe_path(path.clone(), reason));
        }
        match mkdir(&path, Mode::RWXU) {
            // The umask may have taken bits away from what mkdir was asked for.
            Ok(()) => chmod(&path, Mode::RWXU)?,
            Err(rustix::io::Errno::EXIST) => {}
            Err(errno) => return Err(unsafe_path(path, format!("it can't be made: {errno}"))),
        }
        let meta = path.symlink_metadata()?;
        if !meta.is_dir() {
            return Err(unsafe_path(path, "it is not a folder".into()));
        }
        let uid = rustix::process::getuid().as_raw();
        if meta.uid() != uid {
            let owner = meta.uid();
            return Err(unsafe_path(path, format!("uid {owner} owns it, not uid {uid}")));
        }
        if meta.mode() & 0o077 != 0 {
            let mode = meta.mode() & 0o777;
            return Err(unsafe_path(path, format!("others can reach it (mode {mode:03o}); make it 0700")));
        }
        Ok(Self(path))
    }

    /// The folder.
    pub fn path(&self) -> &std::path::Path {
        &self.0
    }

    /// Where the daemon listens.
    pub fn socket(&self) -> PathBuf {
        self.0.join("daemon.sock")
    }

    /// Held by a client while it starts a daemon.
    pub fn start_lock(&self) -> PathBuf {
        self.0.join("start.lock")
    }
}

fn unsafe_path(path: PathBuf, reason: String) -> Error {
    Error::Unsafe { path, reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt};

    #[test]
    fn a_folder_open_to_others_is_refused() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("state");
        fs::create_dir(&path).expect("mkdir");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o770)).expect("chmod");
        assert!(matches!(StateDir::open(path), Err(Error::Unsafe { .. })));
    }

    #[test]
    fn a_link_is_refused() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("state");
        std::os::unix::fs::symlink(dir.path(), &path).expect("symlink");
        assert!(matches!(StateDir::open(path), Err(Error::Unsafe { .. })));
    }

    #[test]
    fn a_path_that_ssh_would_misread_is_refused() {
        let dir = tempfile::tempdir().expect("temp dir");
        for name in ["a\"b", "a\\b", "${HOME}x"] {
            let path = dir.path().join(name);
            assert!(matches!(StateDir::open(path.clone()), Err(Error::Unsafe { .. })), "{name}");
            assert!(!path.exists());
        }
    }

    #[test]
    fn a_new_folder_is_private() {
        let dir = tempfile::tempdir().expect("temp dir");
        let state = StateDir::open(dir.path().join("state")).expect("open");
        assert_eq!(state.path().metadata().expect("stat").mode() & 0o777, 0o700);
    }
}
