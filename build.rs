//! Two things that the linker leaves out of the fully static build, which is to stay under 2 MiB.
//!
//! - A static binary that can be loaded anywhere mends its own pointers when it starts. The list of them has 24 bytes for
//!   each, or two bits in the short form, which the C library understands since its version 2.36: 70 KiB.
//! - The tables by which a stack is unwound: 245 KiB, which nobody reads where a panic ends the process at once. The
//!   standard library is compiled with them, so it is the linker that has to drop them.
//!
//! What this file does not do: change how srvwrap is compiled, or the usual build, which another library may load.

use std::env;
use std::ffi::{CStr, c_char};
use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// Joined to the linker's own script.
const WITHOUT_UNWINDING: &str =
    "SECTIONS { /DISCARD/ : { *(.eh_frame .gcc_except_table .gcc_except_table.*) } } INSERT BEFORE .text;\n";

fn main() -> io::Result<()> {
    let mut cargo = io::stdout().lock();
    writeln!(cargo, "cargo::rerun-if-changed=build.rs")?;
    let set = |name: &str| env::var(name).unwrap_or_default();
    let is_static = set("CARGO_CFG_TARGET_FEATURE").split(',').any(|feature| feature == "crt-static");
    let is_for_this_machine = set("HOST") == set("TARGET") && set("CARGO_CFG_TARGET_ENV") == "gnu";
    if !is_static || !is_for_this_machine {
        return Ok(());
    }
    let script = Path::new(&set("OUT_DIR")).join("without-unwinding.ld");
    fs::write(&script, WITHOUT_UNWINDING)?;
    writeln!(cargo, "cargo::rustc-link-arg-bins=-Wl,--no-eh-frame-hdr,-T,{}", script.display())?;
    if c_library() >= (2, 36) {
        writeln!(cargo, "cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs")?;
    }
    Ok(())
}

/// The version of the one that this is linked with.
#[cfg(target_env = "gnu")]
fn c_library() -> (u32, u32) {
    unsafe extern "C" {
        fn gnu_get_libc_version() -> *const c_char;
    }
    // SAFETY: it returns a text that lives as long as the process.
    let text = unsafe { CStr::from_ptr(gnu_get_libc_version()) }.to_string_lossy();
    let mut numbers = text.split('.').map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(not(target_env = "gnu"))]
fn c_library() -> (u32, u32) {
    (0, 0)
}
