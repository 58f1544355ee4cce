//! The sockets that launchd holds for this process, by the name that the job's property list gives them.
//!
//! ```text
//!   dlsym("launch_activate_socket") ── missing ──> not macOS
//!        └── (name, &fds, &count) ──> 0 and an array to be freed, or an errno; once for each name
//! ```
//!
//! It is looked up at run time, so that there is one way on every system. A static binary has no libraries to look in.
//!
//! What this file does not do: look at what it was given.

use std::fmt;
use std::os::fd::OwnedFd;

/// Why there are none.
#[cfg_attr(
    target_feature = "crt-static",
    expect(dead_code, reason = "a static binary can call nobody who says so")
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LaunchdError {
    /// This system has no launchd, or this binary cannot call it.
    NoLaunchd,
    /// The property list has no such name (ENOENT).
    NoSuchName,
    /// This process was not started by launchd (ESRCH).
    NotManaged,
    /// Somebody in this process has them already (EALREADY).
    Taken,
    /// The name is there, with no socket.
    Empty,
    Os(i32),
}

/// At least one.
#[cfg(not(target_feature = "crt-static"))]
pub(crate) fn activate(name: &str) -> Result<Vec<OwnedFd>, LaunchdError> {
    use std::ffi::{CString, c_char, c_int};
    use std::os::fd::FromRawFd;
    use std::ptr;

    type Activate = unsafe extern "C" fn(*const c_char, *mut *mut c_int, *mut libc::size_t) -> c_int;

    // SAFETY: the name is a C string.
    let symbol = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"launch_activate_socket".as_ptr()) };
    if symbol.is_null() {
        return Err(LaunchdError::NoLaunchd);
    }
    // SAFETY: Apple documents this signature for the symbol, which is not null.
    let function = unsafe { std::mem::transmute::<*mut libc::c_void, Activate>(symbol) };
    let name = CString::new(name).map_err(|_| LaunchdError::NoSuchName)?;
    let (mut fds, mut count) = (ptr::null_mut::<c_int>(), 0);
    // SAFETY: a C string and two places to write to, all of which live through the call.
    match unsafe { function(name.as_ptr(), &raw mut fds, &raw mut count) } {
        0 => {}
        libc::ENOENT => return Err(LaunchdError::NoSuchName),
        libc::ESRCH => return Err(LaunchdError::NotManaged),
        libc::EALREADY => return Err(LaunchdError::Taken),
        errno => return Err(LaunchdError::Os(errno)),
    }
    let mut taken = Vec::new();
    if !fds.is_null() {
        for index in 0..count {
            // SAFETY: the array has so many descriptors, which are the caller's from now on.
            taken.push(unsafe { OwnedFd::from_raw_fd(*fds.add(index)) });
        }
        // SAFETY: the array is the caller's to free, and nobody looks at it after this.
        unsafe { libc::free(fds.cast()) };
    }
    for fd in &taken {
        close_on_exec(fd);
    }
    if taken.is_empty() { Err(LaunchdError::Empty) } else { Ok(taken) }
}

/// There is nothing to look in.
#[cfg(target_feature = "crt-static")]
pub(crate) fn activate(_name: &str) -> Result<Vec<OwnedFd>, LaunchdError> {
    Err(LaunchdError::NoLaunchd)
}

#[cfg(not(target_feature = "crt-static"))]
fn close_on_exec(fd: &OwnedFd) {
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    let _ = fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC));
}

impl std::error::Error for LaunchdError {}

impl fmt::Display for LaunchdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LaunchdError::NoLaunchd => "there is no launchd here: it is a part of macOS",
            LaunchdError::NoSuchName => "the Sockets of the job's property list have no such name",
            LaunchdError::NotManaged => "launchd has not started this srvwrap",
            LaunchdError::Taken => "they were taken over already",
            LaunchdError::Empty => "launchd holds no socket of this name",
            LaunchdError::Os(errno) => return f.write_str(nix::errno::Errno::from_raw(*errno).desc()),
        })
    }
}
