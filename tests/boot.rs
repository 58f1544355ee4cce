//! Boot: what srvwrap says and does until the first generation is online, or is not.

use crate::harness::srvwrap;

#[test]
fn a_program_that_does_not_exist_ends_it_with_127_and_its_name() {
    let (code, log) = srvwrap(["no-such-program"]).run();
    assert_eq!(code, 127, "{log}");
    assert!(log.contains("no-such-program"), "{log}");
}

#[test]
fn a_shell_that_writes_online_is_online_and_stops_at_term() {
    let mut srvwrap = srvwrap(["-n", "2", "sh", "-c", "echo online >&3; exec sleep 1000"]).online();
    assert_eq!(srvwrap.worker_pids().len(), 2);
    srvwrap.stop();
}
