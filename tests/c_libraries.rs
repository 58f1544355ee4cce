//! Servers by libraries of C, with the file of `clients/c` and the half second that their own stops leave out.
//!
//! | library | its listener | the notice descriptor | before it stops |
//! |---|---|---|---|
//! | libevent's evhttp | `evhttp_accept_socket_with_handle` | an event | `evhttp_del_accept_socket` |
//! | libmicrohttpd | `MHD_OPTION_LISTEN_SOCKET` | in `main`'s poll | `MHD_quiesce_daemon` |
//!
//! Two workers are replaced under clients of which half keep their connections, and not one request is lost. What the
//! page says of the end of a worker is played against each, and an answer may take longer than the half second.
//!
//! What this module does not do: try the example of `clients/c` (`languages.rs`, `load.rs`).

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use nix::sys::signal::Signal;

use crate::harness::examples::Language;
use crate::harness::http::{Connection, Target};
use crate::harness::load::Load;
use crate::harness::{examples, require, srvwrap};
use crate::sessions::keeps_its_part_of;

const DEPLOYS: u32 = 5;

const LIBEVENT: Language = Language { name: "libevent", program: libevent, ..examples::C };

const LIBMICROHTTPD: Language = Language { name: "libmicrohttpd", program: libmicrohttpd, ..examples::C };

fn libevent() -> Option<Vec<OsString>> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| compiled("libevent", "event2/http.h", "-levent"));
    Some(vec![program.clone()?.into()])
}

fn libmicrohttpd() -> Option<Vec<OsString>> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| compiled("libmicrohttpd", "microhttpd.h", "-lmicrohttpd"));
    Some(vec![program.clone()?.into()])
}

#[test]
fn libevent_with_the_client_file_loses_nothing() {
    loses_nothing(&LIBEVENT);
}

#[test]
fn libmicrohttpd_with_the_client_file_loses_nothing() {
    loses_nothing(&LIBMICROHTTPD);
}

fn loses_nothing(server: &Language) {
    let Some(program) = server.with(&["-n", "2", "-p", "0"]) else { return };
    let mut srvwrap = srvwrap(program).online();
    let target = Target::Port(srvwrap.port());
    let load = Load::begin(&[target.clone(), target]);
    let (report, _) = load.through_deploys(srvwrap, DEPLOYS);
    assert_eq!(report.failures, [], "of {} requests", report.answers);
}

#[test]
fn libevent_ends_as_the_page_says() {
    ends_as_the_page_says(&LIBEVENT);
}

#[test]
fn libmicrohttpd_ends_as_the_page_says() {
    ends_as_the_page_says(&LIBMICROHTTPD);
}

/// Told before it has started, too, and half a second for clients, however often it is told.
fn ends_as_the_page_says(server: &Language) {
    keeps_its_part_of("W13", server);
    keeps_its_part_of("W14", server);
}

#[test]
fn libevent_gives_an_answer_that_takes_longer_than_the_half_second() {
    gives_an_answer_that_takes_longer(&LIBEVENT);
}

#[test]
fn libmicrohttpd_gives_an_answer_that_takes_longer_than_the_half_second() {
    gives_an_answer_that_takes_longer(&LIBMICROHTTPD);
}

fn gives_an_answer_that_takes_longer(server: &Language) {
    let Some(program) = server.with(&["-p", "0"]) else { return };
    let mut srvwrap = srvwrap(program).online();
    let mut slower = Connection::open(&Target::Port(srvwrap.port())).expect("it listens");
    let who = slower.get("/", false).expect("it answers").by();
    slower.ask("/slower", false).expect("the connection is open");
    srvwrap.signal(Signal::SIGTERM);
    assert_eq!(slower.answer(false).expect("what was asked is answered").by(), who);
    assert_eq!(srvwrap.exit_code(), 0);
    assert!(!srvwrap.has_said("killed"), "a worker did not finish by itself");
}

fn compiled(library: &str, header: &str, link: &str) -> Option<PathBuf> {
    if !is_here(library, header) {
        return None;
    }
    let source = format!("{}/tests/c_libraries/{library}.c", env!("CARGO_MANIFEST_DIR"));
    let build = |output: &Path| {
        let mut compiler = Command::new("cc");
        compiler.args(["-O2", "-Wall", "-Wextra", "-Werror", "-I"]).arg(examples::client("c"));
        compiler.arg("-o").arg(output).args([source.as_str(), link]);
        compiler
    };
    Some(examples::built(&format!("c-{library}"), build))
}

/// Whether there is a compiler, and this header of the library.
fn is_here(library: &str, header: &str) -> bool {
    let look = || {
        let mut compiler = Command::new("cc");
        compiler.args(["-E", "-include", header, "-x", "c", "/dev/null"]);
        compiler.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    require::program("cc") && require::require(&format!("the header of {library}"), look())
}
