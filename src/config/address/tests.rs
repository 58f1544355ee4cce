//! Addresses of what others have made, and of what is in no file system.

use super::*;
use crate::config::tests::{address, config, error};

fn listeners(line: &[&str]) -> Vec<(Option<String>, String)> {
    let listeners = config(line).listeners.into_iter();
    listeners.map(|listener| (listener.name, listener.address.to_string())).collect()
}

#[test]
fn a_descriptor_is_taken_by_its_number_and_once() {
    assert_eq!(address("fd:3"), Address::Fd(3));
    assert_eq!(listeners(&["-p", "web=fd:0"]), [(Some("web".into()), "fd:0".into())]);
    assert_eq!(
        error(&["-p", "fd:3", "-p", "a=fd:03"]),
        "-p a=fd:03: -p fd:3 listens there already; give only one of them"
    );
    assert_eq!(
        error(&["-p", "fd:0", "--stdin", "inherit"]),
        "--stdin inherit: srvwrap's own is a listening socket; leave it out"
    );
}

#[test]
fn an_abstract_name_has_107_bytes_at_most() {
    assert_eq!(address("unix:@a=b/c"), Address::Abstract(b"a=b/c".to_vec()));
    assert_eq!(address("unix:./@app"), Address::Unix("/srv/./@app".into()), "a path can begin so too");
    let longest = format!("unix:@{}", "a".repeat(107));
    assert_eq!(address(&longest).to_string(), longest);
    let error = error(&["-p", &format!("{longest}a")]);
    assert!(error.ends_with("an abstract name has at most 107 bytes, and this one 108; give a shorter one"));
}

#[test]
fn sockets_of_launchd_come_last_each_by_its_name() {
    let line = ["--launchd-socket", "Web-1", "-p", "80", "--launchd-socket", "b"];
    let names: Vec<String> = listeners(&line).into_iter().map(|(_, address)| address).collect();
    assert_eq!(names, ["80", "launchd:Web-1", "launchd:b"]);
    let twice = ["--launchd-socket", "a", "--launchd-socket", "a"];
    assert_eq!(error(&twice), "--launchd-socket a: given twice; give it once");
    for wrong in ["a:b", "a b"] {
        assert!(error(&["--launchd-socket", wrong]).contains(": not a name; give "), "{wrong}");
    }
}
