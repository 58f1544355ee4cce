//! Children that a server forks after it has asked to be told, in languages that fork without exec: a signal to one of
//! them is no word to the server, though they share its descriptors.
//!
//! What this module does not do: try what a program starts by exec, which gets no descriptor (`check.rs`).

use std::path::Path;
use std::process::Command;

use crate::harness::{examples, require, srvwrap};

/// A child is ended by TERM; the server is not told by that, and is told when it is its turn.
const IN_C: &str = r#"
#include "srvwrap.h"
#include <poll.h>
#include <sys/wait.h>

static void finish(void) {}

int main(void) {
    struct pollfd notice = {srvwrap_on_shutdown(finish), POLLIN, 0};
    int status;
    pid_t child = fork();
    if (child == 0) return pause(), 0;
    kill(child, SIGTERM);
    waitpid(child, &status, 0);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGTERM || poll(&notice, 1, 0) != 0) return 1;
    srvwrap_online();
    while ((notice.fd = srvwrap_on_shutdown(finish)) >= 0) poll(&notice, 1, -1);
    return 0;
}
"#;

#[test]
fn a_child_that_c_has_forked_is_ended_alone() {
    if !require::program("cc") {
        return;
    }
    let mut compiler = Command::new("cc");
    compiler.args(["-Wall", "-Wextra", "-Werror", "-I"]).arg(examples::client("c"));
    is_ended_alone("program.c", IN_C, compiler);
}

const IN_RUST: &str = r#"
mod srvwrap;

fn main() {
    let told = srvwrap::on_shutdown(|| {}).unwrap();
    let notice = std::env::var("NOTIFY_FD").unwrap().parse().unwrap();
    let (mut status, mut byte) = (0, 0);
    let read = unsafe {
        let child = fork();
        if child == 0 {
            pause();
            std::process::exit(0);
        }
        kill(child, 15);
        waitpid(child, &mut status, 0);
        recv(notice, &mut byte, 1, 0x42) // MSG_PEEK and MSG_DONTWAIT: 0 at the end of what there is to read
    };
    assert_eq!((status, read), (15, -1));
    srvwrap::online().unwrap();
    told();
}

unsafe extern "C" {
    fn fork() -> i32;
    fn kill(process: i32, signal: i32) -> i32;
    fn pause() -> i32;
    fn recv(socket: i32, byte: *mut u8, size: usize, flags: i32) -> isize;
    fn waitpid(process: i32, status: *mut i32, options: i32) -> i32;
}
"#;

#[test]
fn a_child_that_rust_has_forked_is_ended_alone() {
    let mut compiler = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    compiler.args(["--edition", "2021", "-D", "warnings"]);
    is_ended_alone("program.rs", IN_RUST, compiler);
}

fn is_ended_alone(name: &str, text: &str, mut compiler: Command) {
    let client = std::fs::read_to_string(examples::client("rust/srvwrap.rs")).expect("it is there");
    let starting = srvwrap(["-p", "0", "./program"]).file(name, text).file("srvwrap.rs", &client);
    let place: &Path = starting.path();
    let made = compiler.arg("-o").arg(place.join("program")).arg(place.join(name)).status();
    assert!(made.expect("it is here").success(), "{name} does not compile");
    let mut srvwrap = starting.online();
    srvwrap.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(srvwrap.exit_code(), 0);
    assert!(!srvwrap.has_said("killed"));
}
