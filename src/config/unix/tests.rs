//! Modes and owners, and what has none.

use super::*;
use crate::config::tests::{config, error};

#[test]
fn the_mode_and_owner_of_unix_sockets() {
    let unix = |line: &[&str]| config(&[&["-p", "unix:a"], line].concat()).unix;
    let own = UnixAccess { mode: 0o666, user: None, group: None };
    assert_eq!(unix(&[]), own);
    assert_eq!(config(&[]).unix, own);
    for (mode, meant) in [("660", 0o660), ("0600", 0o600), ("000", 0), ("777", 0o777)] {
        assert_eq!(unix(&["--unix-mode", mode]).mode, meant);
    }
    for mode in ["6", "66", "00666", "1777", "0o66", "668", "+66", "rw-"] {
        let error = error(&["-p", "unix:a", "--unix-mode", mode]);
        assert!(error.contains(": not the mode of a socket, 000 to 777; give "), "{error}");
    }
    for (owner, user, group) in
        [("www-data", Some("www-data"), None), ("33:adm", Some("33"), Some("adm")), (":44", None, Some("44"))]
    {
        let found = unix(&["--unix-owner", owner]);
        assert_eq!((found.user.as_deref(), found.group.as_deref()), (user, group), "{owner}");
    }
    for (owner, because) in
        [(":", "its group is missing"), ("a:", "its group is missing"), ("a:b:c", "not an owner")]
    {
        let error = error(&["-p", "unix:a", "--unix-owner", owner]);
        assert!(error.contains(because), "{owner}: {error}");
    }
}

#[test]
fn a_mode_or_owner_for_nothing_is_refused() {
    for line in [&[][..], &["-p", "80"], &["-p", "unix:@a"], &["-p", "fd:3"]] {
        for option in [["--unix-mode", "600"], ["--unix-owner", "root"]] {
            let error = error(&[line, &option].concat());
            assert!(error.contains("no unix socket of srvwrap's own has a path"), "{error}");
        }
    }
}
