//! Packages from the npm registry, in a `node_modules` of their own, installed once and found there by the next run.
//!
//! What it does not do: choose how a package is used. That is for the tests.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use nix::fcntl::{Flock, FlockArg};

use super::require;

const PACKAGES: [(&str, &str); 2] = [("express", "5.3.0"), ("fastify", "5.12.8")];

/// Their `node_modules`: a program finds them there by NODE_PATH. `None` where they cannot be had, which has been said.
pub(crate) fn node_packages() -> Option<PathBuf> {
    static THERE: OnceLock<bool> = OnceLock::new();
    if !require::program("node") || !require::program("npm") {
        return None;
    }
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("node-packages");
    let modules = directory.join("node_modules");
    let there = *THERE.get_or_init(|| {
        std::fs::create_dir_all(&directory).expect("a directory can be made");
        let file = File::create(directory.join("lock")).expect("a file can be made");
        // Another run of the tests may be installing them.
        let _lock = Flock::lock(file, FlockArg::LockExclusive).expect("a file can be locked");
        are_there(&modules) || install(&directory) && are_there(&modules)
    });
    require::require("express and fastify from the npm registry", there).then_some(modules)
}

/// With these versions: others are of an older run.
fn are_there(modules: &Path) -> bool {
    PACKAGES.iter().all(|(name, version)| {
        let package = std::fs::read(modules.join(name).join("package.json")).unwrap_or_default();
        let package: serde_json::Value = serde_json::from_slice(&package).unwrap_or_default();
        package["version"] == *version
    })
}

fn install(directory: &Path) -> bool {
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--no-save", "--ignore-scripts", "--fetch-retries", "1"]);
    npm.arg("--prefix").arg(directory).args(PACKAGES.map(|(name, version)| format!("{name}@{version}")));
    npm.env("npm_config_update_notifier", "false").current_dir(directory);
    npm.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    npm.status().is_ok_and(|status| status.success())
}
