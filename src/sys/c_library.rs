//! Three functions of the C library, in the place of its own, so that a static binary has half of its weight.
//!
//! ```text
//!   __assert_fail        the library's beginning ──> translated messages ──> locales, character sets, dlopen, wide printf
//!   __xpg_strerror_r     std, to name an errno   ──> the same
//!   pthread_getattr_np   std, to find a stack    ──> scanf ──> floating-point numbers in every width
//! ```
//!
//! They are few hundred bytes here and 400 KiB there, none of which srvwrap ever runs: it has one locale, one thread, and
//! the names of errors anyway. A linker takes the first definition that it finds; the library's own stays in its archive.
//! Where the library is shared, nobody but srvwrap sees these.
//!
//! What this file does not do: anything that another part of srvwrap calls.
#![cfg(all(not(test), target_os = "linux", target_env = "gnu"))]

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};

use nix::errno::Errno;

/// assert(3): says what does not hold, and ends.
///
/// # Safety
/// The texts end with a zero byte.
#[unsafe(no_mangle)]
unsafe extern "C" fn __assert_fail(
    assertion: *const c_char,
    _file: *const c_char,
    _line: c_uint,
    _function: *const c_char,
) -> ! {
    // SAFETY: the caller's texts; writing and ending is all that is left to do.
    unsafe {
        let text = CStr::from_ptr(assertion).to_bytes();
        libc::write(2, text.as_ptr().cast(), text.len());
        libc::abort()
    }
}

/// strerror_r(3) as POSIX has it.
///
/// # Safety
/// There is room for so many bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn __xpg_strerror_r(number: c_int, buffer: *mut c_char, size: usize) -> c_int {
    let text = Errno::from_raw(number).desc().as_bytes();
    let Some(room) = size.checked_sub(1) else { return libc::ERANGE };
    let length = text.len().min(room);
    // SAFETY: the text is cut to what there is room for, less its zero byte.
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr().cast(), buffer, length);
        *buffer.add(length) = 0;
    }
    if length < text.len() { libc::ERANGE } else { 0 }
}

/// Where a thread's stack is: nobody knows. std wants it for a message about stacks that are full, which end the
/// process with or without.
#[unsafe(no_mangle)]
extern "C" fn pthread_getattr_np(_thread: libc::pthread_t, _attributes: *mut c_void) -> c_int {
    libc::ENOSYS
}
