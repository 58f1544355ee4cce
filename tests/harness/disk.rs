//! A disk of a few megabytes, that only this test sees and can fill: a tmpfs in a mount namespace of its own.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::require;

/// It is gone with the process that holds it.
pub(crate) struct SmallDisk {
    holder: Child,
    path: PathBuf,
    _directory: tempfile::TempDir,
}

impl SmallDisk {
    /// None where the machine does not offer it.
    pub(crate) fn new(megabytes: u32) -> Option<SmallDisk> {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let script = format!("mount -t tmpfs -o size={megabytes}m,mode=755 none . && echo ready && exec cat");
        let mut holder = Command::new("unshare")
            .args(["--mount", "sh", "-c", &format!("cd \"$0\" && {script}")])
            .arg(directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("unshare is there");
        let mut said = String::new();
        let stdout = holder.stdout.as_mut().expect("piped");
        BufReader::new(stdout).read_line(&mut said).expect("it can be read");
        // What is mounted there is seen from outside through this alone.
        let path = format!("/proc/{}/root{}", holder.id(), directory.path().display()).into();
        let disk = SmallDisk { holder, path, _directory: directory };
        require::require("the right to mount in a namespace", said == "ready\n").then_some(disk)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Until [`SmallDisk::free`] not one byte more can be written.
    pub(crate) fn fill(&self) {
        let mut file = File::create(self.at("filler")).expect("its name finds room");
        while file.write_all(&[b'f'; 4096]).is_ok() {}
    }

    pub(crate) fn free(&self) {
        fs::remove_file(self.at("filler")).expect("it was filled");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
