//! Servers by libraries of C, with the file of `clients/c` and the half second that their own stops leave out.
//!
//! | library | its listener | the notice descriptor | before it stops |
//! |---|---|---|---|
//! | libevent's evhttp | `evhttp_accept_socket_with_handle` | an event | `evhttp_del_accept_socket` |
//! | libmicrohttpd | `MHD_OPTION_LISTEN_SOCKET` | in `main`'s poll | `MHD_quiesce_daemon` |
//!
//! Two workers are replaced under clients of which half keep their connections, and not one request is lost.
//!
//! What this module does not do: try the example of `clients/c` (`languages.rs`, `load.rs`).

use std::process::{Command, Stdio};

use crate::harness::http::Target;
use crate::harness::load::Load;
use crate::harness::{examples, require, srvwrap};

const DEPLOYS: u32 = 5;

#[test]
fn libevent_with_the_client_file_loses_nothing() {
    loses_nothing("libevent", "event2/http.h", "-levent");
}

#[test]
fn libmicrohttpd_with_the_client_file_loses_nothing() {
    loses_nothing("libmicrohttpd", "microhttpd.h", "-lmicrohttpd");
}

fn loses_nothing(library: &str, header: &str, link: &str) {
    if !is_here(library, header) {
        return;
    }
    let starting = srvwrap(["-n", "2", "-p", "0", "./program"]);
    let source = format!("{}/tests/c_libraries/{library}.c", env!("CARGO_MANIFEST_DIR"));
    let mut compiler = Command::new("cc");
    compiler.args(["-O2", "-Wall", "-Wextra", "-Werror", "-I"]).arg(examples::client("c"));
    compiler.arg("-o").arg(starting.path().join("program")).args([source.as_str(), link]);
    assert!(compiler.status().expect("it is here").success(), "{source} does not compile");

    let mut srvwrap = starting.online();
    let target = Target::Port(srvwrap.port());
    let load = Load::begin(&[target.clone(), target]);
    let (report, _) = load.through_deploys(srvwrap, DEPLOYS);
    assert_eq!(report.failures, [], "of {} requests", report.answers);
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
