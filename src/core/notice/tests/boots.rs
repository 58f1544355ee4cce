//! Starts that fail: what most users read first.

use super::*;

pub(super) fn boot_failed(fault: Fault, heard: Heard, listeners: &[&str]) -> Notice {
    let listeners = listeners.iter().map(|address| (*address).to_string()).collect();
    Notice::BootFailed { failure: starting(fault), heard, protocol: Protocol::Srvwrap, listeners }
}

fn boot_failed_by(protocol: Protocol, fault: Fault, heard: Heard, listeners: &[&str]) -> String {
    let mut notice = boot_failed(fault, heard, listeners);
    if let Notice::BootFailed { protocol: of, .. } = &mut notice {
        *of = protocol;
    }
    notice.to_string()
}

/// Under `--protocol systemd` the notice fd is not the way.
#[test]
fn who_is_to_speak_in_datagrams_is_told_so_and_nothing_of_the_notice_fd() {
    let mute = |heard, listeners: &[&str]| {
        boot_failed_by(Protocol::Systemd, Fault::Mute(seconds(60)), heard, listeners)
    };
    for heard in [Heard::Nothing, Heard::Words, Heard::End] {
        assert_eq!(
            mute(heard, &["[::]:8000"]),
            "cannot start: worker 3 (pid 4711) did not say READY=1 on NOTIFY_SOCKET within 60s (srvwrap holds \
             [::]:8000: take it over by LISTEN_FDS, then say it with sd_notify, or use --ready after=2s; see srvwrap \
             check)"
        );
        assert_eq!(
            mute(heard, &[]),
            "cannot start: worker 3 (pid 4711) did not say READY=1 on NOTIFY_SOCKET within 60s (say it with sd_notify \
             when ready, or use --ready exec)"
        );
    }
}

#[test]
fn a_program_that_binds_is_told_of_what_it_was_given_instead() {
    for (protocol, one, two) in [
        (
            Protocol::Srvwrap,
            "listen on the descriptor in LISTEN_FD",
            "listen on the descriptors in LISTEN_FD_0 and so on",
        ),
        (Protocol::Systemd, "take it over by LISTEN_FDS", "take them over by LISTEN_FDS"),
        (
            Protocol::ServerStarter,
            "take it over by SERVER_STARTER_PORT",
            "take them over by SERVER_STARTER_PORT",
        ),
        (
            Protocol::Einhorn,
            "listen on the descriptor in EINHORN_FD_0",
            "listen on the descriptors in EINHORN_FD_0 and so on",
        ),
        (Protocol::Stdin, "listen on descriptor 0, its stdin", "listen on descriptor 0, its stdin"),
    ] {
        let told = |listeners: &[&str]| boot_failed_by(protocol, exited(1), Heard::Nothing, listeners);
        let (start, mid) = (
            "cannot start: worker 3 (pid 4711) exited with status 1 while starting (if the address was in use",
            "srvwrap holds",
        );
        assert_eq!(told(&["a:1"]), format!("{start}: {mid} a:1: {one}, do not bind it)"));
        assert_eq!(
            told(&["a:1", "port 2"]),
            format!("{start}: {mid} a:1, port 2 of every address: {two}, do not bind them)")
        );
    }
}

/// The first thing that most users will ever read.
pub(super) fn boots() -> Vec<(Notice, &'static str)> {
    let one = ["[::]:8000"];
    vec![
        (
            boot_failed(Fault::Late(seconds(60)), Heard::Nothing, &one),
            "cannot start: worker 3 (pid 4711) said nothing on its notice fd within 60s (srvwrap holds [::]:8000: listen on \
             the descriptor in LISTEN_FD, then write the line online to that in NOTIFY_FD, or use --ready after=2s; see \
             srvwrap check)",
        ),
        (
            boot_failed(Fault::Late(seconds(60)), Heard::Nothing, &[]),
            "cannot start: worker 3 (pid 4711) said nothing on its notice fd within 60s (write online to it when ready, or use \
             --ready exec)",
        ),
        (
            boot_failed(Fault::Late(seconds(60)), Heard::Words, &one),
            "cannot start: worker 3 (pid 4711) was not online within 60s: what it wrote to its notice fd was none of online, \
             ready and READY=1",
        ),
        (
            boot_failed(Fault::Late(seconds(60)), Heard::End, &one),
            "cannot start: worker 3 (pid 4711) closed its notice fd without a word, and was not online within 60s (was it a \
             wrapper that closed it? or use --ready after=2s)",
        ),
        (
            boot_failed(exited(1), Heard::Nothing, &one),
            "cannot start: worker 3 (pid 4711) exited with status 1 while starting (if the address was in use: srvwrap \
             holds [::]:8000: listen on the descriptor in LISTEN_FD, do not bind it)",
        ),
        (
            boot_failed(exited(1), Heard::End, &["[::]:80", "[::]:443"]),
            "cannot start: worker 3 (pid 4711) exited with status 1 while starting (if the address was in use: srvwrap \
             holds [::]:80, [::]:443: listen on the descriptors in LISTEN_FD_0 and so on, do not bind them)",
        ),
        (
            boot_failed(exited(1), Heard::Words, &one),
            "cannot start: worker 3 (pid 4711) exited with status 1 while starting",
        ),
        (
            boot_failed(exited(1), Heard::Nothing, &[]),
            "cannot start: worker 3 (pid 4711) exited with status 1 while starting",
        ),
        (
            boot_failed(exited(0), Heard::Nothing, &one),
            "cannot start: worker 3 (pid 4711) exited with status 0 while starting (it must stay in the foreground; for \
             a program that is to end, use --ready exec --on-crash exit)",
        ),
    ]
}

pub(super) fn boots_without_advice() -> Vec<(Notice, &'static str)> {
    let one = ["[::]:8000"];
    vec![
        (
            boot_failed(Fault::Ended(Ending::Signaled(11)), Heard::Nothing, &one),
            "cannot start: worker 3 (pid 4711) was killed by signal 11 (SEGV) while starting",
        ),
        (
            boot_failed(not_executed(), Heard::Nothing, &one),
            "cannot start: worker 3: cannot execute ./server: Permission denied",
        ),
        (
            boot_failed(Fault::NotSpawned("cannot fork: Out of memory".into()), Heard::Nothing, &one),
            "cannot start: worker 3: cannot fork: Out of memory",
        ),
        (
            boot_failed(Fault::GaveUp("no licence".into()), Heard::Words, &one),
            "cannot start: worker 3 (pid 4711) said offline (no licence) while starting",
        ),
        (
            Notice::BootFailed {
                failure: serving(exited(0)),
                heard: Heard::Words,
                protocol: Protocol::Srvwrap,
                listeners: vec![],
            },
            "cannot start: worker 3 (pid 4711) exited with status 0 after 95s online",
        ),
        (
            deploy(DeployNews::Cut { fault: Fault::Rebound("/run/a.sock".into()), keeps: None }),
            "cannot start: /run/a.sock was shut down under its workers",
        ),
        (deploy(DeployNews::Aborted { by: CLIENT, keeps: None }), "start aborted by client of uid 1000"),
        (Notice::Booted { count: 1, after: Duration::from_millis(250) }, "workers online: 1, after 250ms"),
        (Notice::Booted { count: 4, after: Duration::from_millis(1234) }, "workers online: 4, after 1.2s"),
    ]
}
