//! A directory for sockets that nobody is to find by name, and that is gone at the end.
//!
//! What this file does not do: remove what others have put there; then it stays.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::mkdtemp;

/// Dropping it removes it.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Below the directory for temporary files. Who knows a name in it can reach that, as a program that has changed
    /// its user has to.
    pub(crate) fn new() -> Result<Scratch, Errno> {
        let path = mkdtemp(&std::env::temp_dir().join("srvwrap-check-XXXXXX"))?;
        // Where it does not work, the one user who made it is served.
        let _ = fs::set_permissions(&path, fs::Permissions::from_mode(0o711));
        Ok(Scratch { path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.path);
    }
}
