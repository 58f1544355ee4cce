// SPDX-License-Identifier: 0BSD
//! The worker protocol of srvwrap, in one file to copy.
//!
//! ```text
//! let listeners = srvwrap::listeners()?;             // accept on these: poll, and take WouldBlock as "try again"
//! thread::spawn(srvwrap::on_shutdown(finish)?);      // finish() is called once, when this process is to end
//! srvwrap::online()?;                                // now srvwrap knows that it serves
//! ```
//!
//! Not run by srvwrap, all four do nothing, and `listeners` is empty. Unix only, and no thread but the caller's.
#![allow(dead_code)] // few programs use all four

use std::env;
use std::ffi::c_int;
use std::io::{BufRead, BufReader, Error, Result, Write};
use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;

/// Says that connections are accepted.
pub fn online() -> Result<()> {
    say("online")
}

/// Says that this process is about to end and is to be replaced. Finish and exit afterwards: nobody will ask.
pub fn offline(why: &str) -> Result<()> {
    say(format!("offline {}", why.replace(['\r', '\n'], " ")).trim_end())
}

/// From this call on SIGTERM and SIGINT do not end the process. What is returned waits for one of them or for the line
/// from srvwrap, and then calls `finish`: run it in a thread. It is to lead to this: close the listeners, answer for
/// half a second with `Connection: close`, close what is idle, exit.
pub fn on_shutdown(finish: impl FnOnce() + Send + 'static) -> Result<impl FnOnce() + Send + 'static> {
    let notice = inherited("NOTIFY_FD", SO_TYPE)?;
    if let Some(descriptor) = notice {
        OURS.get_or_init(|| (descriptor, std::process::id()));
        // SAFETY: `end_reading` makes a few system calls, which a signal handler may.
        let _ = TO_FINISH.map(|number| unsafe { signal(number, end_reading as *const () as usize) });
    }
    Ok(move || {
        let Some(descriptor) = notice else { return };
        // The line, the end of the stream and an error all mean that it is time to go.
        let (notice, words) = (stream(descriptor), [&b"\"shutdown\""[..], b"\"shutdown\"\r"]);
        BufReader::new(&*notice).split(b'\n').map_while(Result::ok).find(|line| words.contains(&&line[..]));
        finish();
    })
}

/// The listening sockets, in the operator's order: `TcpListener::from(descriptor)`, or `UnixListener`. Set them to
/// non-blocking, since other workers accept on them too. They are given once; a second call gives none.
pub fn listeners() -> Result<Vec<OwnedFd>> {
    static GIVEN: OnceLock<()> = OnceLock::new();
    let mut found = Vec::new();
    if inherited("NOTIFY_FD", SO_TYPE)?.is_none() || GIVEN.set(()).is_err() {
        return Ok(found);
    }
    while let Some(descriptor) = inherited(&format!("LISTEN_FD_{}", found.len()), SO_ACCEPTCONN)? {
        // SAFETY: it is open, it is ours, and it is given away only here, once.
        found.push(unsafe { OwnedFd::from_raw_fd(descriptor) });
    }
    Ok(found)
}

fn say(line: &str) -> Result<()> {
    if let Some(descriptor) = inherited("NOTIFY_FD", SO_TYPE)? {
        // That it fails means that srvwrap is gone, and this process will be killed.
        let _ = stream(descriptor).write_all(format!("{line}\n").as_bytes());
    }
    Ok(())
}

static OURS: OnceLock<(RawFd, u32)> = OnceLock::new();

/// Ends the reading of the thread that waits; the writing side stays open for `offline`. A child that was forked shares
/// the descriptor: there the signal does what it does by itself.
extern "C" fn end_reading(number: c_int) {
    // SAFETY: integers, and a descriptor that is never closed. 0 is SIG_DFL.
    match OURS.get() {
        Some((notice, process)) if *process == std::process::id() => unsafe { shutdown(*notice, SHUT_RD) },
        _ => unsafe { (signal(number, 0), raise(number)).1 },
    };
}

/// The notice descriptor, which stays open for as long as the process lives.
fn stream(descriptor: RawFd) -> ManuallyDrop<UnixStream> {
    // SAFETY: it is open, and not closed when this is dropped.
    ManuallyDrop::new(unsafe { UnixStream::from_raw_fd(descriptor) })
}

/// The socket whose number is in this variable and that has this option, kept from children.
fn inherited(variable: &str, option: c_int) -> Result<Option<RawFd>> {
    let Ok(text) = env::var(variable) else { return Ok(None) };
    let (descriptor, mut is, mut size) = (text.parse().unwrap_or(-1), 0, size_of::<c_int>() as u32);
    // SAFETY: it writes one integer, and fails on a descriptor that is not open. The other takes integers.
    let told = unsafe { getsockopt(descriptor, SOL_SOCKET, option, &mut is, &mut size) };
    if told == 0 && is != 0 && unsafe { fcntl(descriptor, F_SETFD, FD_CLOEXEC) } == 0 {
        return Ok(Some(descriptor));
    }
    let closed = "is no open or listening socket: what stands between srvwrap and this program has closed it";
    Err(Error::other(format!("{variable}={text} {closed}")))
}

unsafe extern "C" {
    fn fcntl(descriptor: c_int, command: c_int, ...) -> c_int;
    fn getsockopt(socket: c_int, level: c_int, option: c_int, is: *mut c_int, size: *mut u32) -> c_int;
    fn shutdown(descriptor: c_int, how: c_int) -> c_int;
    fn raise(number: c_int) -> c_int;
    fn signal(number: c_int, handler: usize) -> usize;
}

// The same on every Unix, but for the last three.
const F_SETFD: c_int = 2;
const FD_CLOEXEC: c_int = 1;
const SHUT_RD: c_int = 0;
const TO_FINISH: [c_int; 2] = [15, 2]; // SIGTERM and SIGINT
const SOL_SOCKET: c_int = if cfg!(target_os = "linux") { 1 } else { 0xffff };
const SO_TYPE: c_int = if cfg!(target_os = "linux") { 3 } else { 0x1008 };
const SO_ACCEPTCONN: c_int = if cfg!(target_os = "linux") { 30 } else { 2 };
