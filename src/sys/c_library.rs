//! A function of the C library in the place of its own, so that a static binary is a tenth smaller.
//!
//! ```text
//!   std, at the start ──> pthread_getattr_np ──> scanf, to read /proc/self/maps ──> numbers in every width there is
//! ```
//!
//! std wants to know where the stack is, for the words with which a program ends whose stack is full. It ends with or
//! without them. A linker takes the first definition that it finds, and the library's own stays in its archive; where
//! the library is shared, nobody but srvwrap sees this one.
//!
//! What this file does not do: anything that another part of srvwrap calls.
#![cfg(all(not(test), target_os = "linux", target_env = "gnu"))]

use std::ffi::{c_int, c_void};

/// Where a thread's stack is: nobody knows.
#[unsafe(no_mangle)]
extern "C" fn pthread_getattr_np(_thread: libc::pthread_t, _attributes: *mut c_void) -> c_int {
    libc::ENOSYS
}
