//! What variables hand over, and to whom.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use super::*;
use crate::config::tests::surroundings;

/// The pid that srvwrap has in `surroundings`.
const OURS: &str = "100";

fn with(variables: &[(&str, &str)]) -> Surroundings {
    let environment = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
    Surroundings { environment, ..surroundings() }
}

fn shown(listeners: &[Listener]) -> Vec<String> {
    let show = |listener: &Listener| match &listener.name {
        Some(name) => format!("{name}={}", listener.address),
        None => listener.address.to_string(),
    };
    listeners.iter().map(show).collect()
}

/// Where nothing is given: the variable, and what it hands over.
fn taken(variables: &[(&str, &str)]) -> (Option<&'static str>, Vec<String>) {
    let (listeners, handed_in) = listeners(Vec::new(), &with(variables)).expect("it makes sense");
    assert_eq!(handed_in.unused, []);
    (handed_in.variable, shown(&listeners))
}

fn refused(variables: &[(&str, &str)]) -> String {
    listeners(Vec::new(), &with(variables)).expect_err("it makes no sense").to_string()
}

fn given(addresses: &[i32]) -> Vec<Listener> {
    addresses.iter().map(|fd| Listener { name: None, address: Address::Fd(*fd) }).collect()
}

#[test]
fn systemds_count_for_the_process_that_they_are_addressed_to() {
    let fds = ("LISTEN_FDS", "2");
    assert_eq!(taken(&[fds, ("LISTEN_PID", OURS)]), (Some("LISTEN_FDS"), vec!["fd:3".into(), "fd:4".into()]));
    for pid in ["101", "1000", "-100", "", "x"] {
        assert_eq!(taken(&[fds, ("LISTEN_PID", pid)]), (None, vec![]), "{pid}");
    }
    assert_eq!(taken(&[fds]), (None, vec![]));
    assert_eq!(taken(&[("LISTEN_PID", OURS)]), (None, vec![]));
    assert_eq!(taken(&[("LISTEN_FDS", "0"), ("LISTEN_PID", OURS)]), (None, vec![]));
    // Not even a wrong one is anybody's business who is not meant.
    assert_eq!(taken(&[("LISTEN_FDS", "many"), ("LISTEN_PID", "1")]), (None, vec![]));
}

#[test]
fn their_names_are_kept_as_they_are() {
    let named =
        |count, names| taken(&[("LISTEN_PID", OURS), ("LISTEN_FDS", count), ("LISTEN_FDNAMES", names)]).1;
    assert_eq!(named("2", "web:Admin-API.socket"), ["web=fd:3", "Admin-API.socket=fd:4"]);
    assert_eq!(named("3", "web:web:unknown"), ["web=fd:3", "web=fd:4", "unknown=fd:5"]);
    assert_eq!(named("3", "web"), ["web=fd:3", "fd:4", "fd:5"]);
    assert_eq!(named("2", ":b"), ["fd:3", "b=fd:4"]);
    assert_eq!(named("1", "a b~!"), ["a b~!=fd:3"]);
}

#[test]
fn a_count_that_makes_no_sense_is_refused() {
    let remedy = "unset it, or say by -p where to listen";
    for (count, names, because) in [
        ("many", "", "not a number of sockets"),
        ("-1", "", "not a number of sockets"),
        ("+1", "", "not a number of sockets"),
        ("99999999999999999999", "", "not a number of sockets"),
        ("65536", "", "too many sockets"),
        ("2000000000", "", "too many sockets"),
        ("0", "a", "LISTEN_FDNAMES has 1 names"),
        ("1", "a:b", "LISTEN_FDNAMES has 2 names"),
    ] {
        let variables = [("LISTEN_PID", OURS), ("LISTEN_FDS", count), ("LISTEN_FDNAMES", names)];
        assert_eq!(refused(&variables), format!("LISTEN_FDS={count}: {because}; {remedy}"));
    }
    let long = "x".repeat(256);
    for (name, shown) in [("h\u{e9}", r"h\xc3\xa9"), ("b\tc", r"b\tc"), (long.as_str(), long.as_str())] {
        let names = format!("a:{name}");
        let error = refused(&[("LISTEN_PID", OURS), ("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", &names)]);
        let because = "is not 1 to 255 printable letters of ASCII; give the socket another one";
        assert!(
            error.ends_with(&format!(": name 2, {shown}, {because}")) && !error.contains('\t'),
            "{error}"
        );
    }
    let bytes = OsString::from_vec(b"\xff".to_vec());
    let environment = vec![("LISTEN_PID".into(), OURS.into()), ("LISTEN_FDS".into(), bytes)];
    assert!(listeners(Vec::new(), &Surroundings { environment, ..surroundings() }).is_err());
}

#[test]
fn those_of_our_own_way_are_found_with_their_names_in_lower_case() {
    assert_eq!(taken(&[("LISTEN_FD", "7")]), (Some("LISTEN_FD"), vec!["fd:7".into()]));
    let ours = [
        ("LISTEN_FD_ADMIN", "5"),
        ("LISTEN_FD_0", "4"),
        ("LISTEN_FD", "4"),
        ("LISTEN_FD_2", "6"),
        ("LISTEN_FD_1", "5"),
        ("LISTEN_FD_3", ""),
        ("LISTEN_FDNAMES", "not:ours"),
    ];
    assert_eq!(taken(&ours).1, ["fd:4", "admin=fd:5", "fd:6"]);
    assert_eq!(taken(&[("LISTEN_FD", "4"), ("LISTEN_FD_0", "4"), ("LISTEN_FD_1", "4")]).1, ["fd:4"]);
    assert_eq!(taken(&[("LISTEN_FD", "0")]).1, ["fd:0"]);
    assert_eq!(taken(&[("LISTEN_FD", "")]), (None, vec![]));
    assert_eq!(taken(&[("LISTEN_FD_0", "4")]), (None, vec![]));
}

/// Its socket would be held by nobody, and nobody would know.
#[test]
fn one_that_is_behind_a_gap_is_refused() {
    let remedy = "unset it, or say by -p where to listen";
    let (alone, first) = (("LISTEN_FD", "4"), ("LISTEN_FD_0", "4"));
    for (variables, error) in [
        (&[("LISTEN_FD_1", "5")][..], "LISTEN_FD_1=5: there is no LISTEN_FD_0"),
        (&[alone, ("LISTEN_FD_1", "5")], "LISTEN_FD_1=5: there is no LISTEN_FD_0"),
        (&[alone, first, ("LISTEN_FD_2", "6")], "LISTEN_FD_2=6: there is no LISTEN_FD_1"),
        (
            &[alone, first, ("LISTEN_FD_1", ""), ("LISTEN_FD_7", "6")],
            "LISTEN_FD_7=6: there is no LISTEN_FD_1",
        ),
    ] {
        assert_eq!(refused(variables), format!("{error}; {remedy}"));
    }
    assert_eq!(taken(&[alone, first, ("LISTEN_FD_WEB", "4"), ("LISTEN_FD_7", "")]).1, ["web=fd:4"]);
}

#[test]
fn a_notice_descriptor_is_known_by_its_number() {
    let known = |text| listeners(Vec::new(), &with(&[("NOTIFY_FD", text)])).unwrap().1.notice_fd;
    assert_eq!(known("3"), Some(3));
    for other in ["", "x", "3 ", "99999999999"] {
        assert_eq!(known(other), None, "{other:?}");
    }
    assert_eq!(listeners(given(&[9]), &with(&[("NOTIFY_FD", "3")])).unwrap().1.notice_fd, Some(3));
}

/// naught sets `LISTEN_FD` alone, and passes on what it was started with.
#[test]
fn what_is_left_over_from_another_parent_is_not_taken() {
    let old = [("LISTEN_FD_0", "4"), ("LISTEN_FD_1", "5"), ("LISTEN_FD_WEB", "4")];
    let new = [("LISTEN_FD", "3")];
    assert_eq!(taken(&[old.as_slice(), &new].concat()).1, ["fd:3"]);
    let systemd = [("LISTEN_FDS", "1"), ("LISTEN_PID", OURS)];
    let all = [old.as_slice(), &[("LISTEN_FD", "4")], &systemd].concat();
    assert_eq!(taken(&all), (Some("LISTEN_FDS"), vec!["fd:3".into()]));
}

#[test]
fn a_number_that_cannot_be_a_sockets_is_refused() {
    for (variables, error) in [
        (&[("LISTEN_FD", "web")][..], "LISTEN_FD=web: not the number of a descriptor"),
        (&[("LISTEN_FD", "2")], "LISTEN_FD=2: 1 and 2 are srvwrap's stdout and stderr"),
        (
            &[("LISTEN_FD", "3"), ("LISTEN_FD_0", "3"), ("LISTEN_FD_1", "x")],
            "LISTEN_FD_1=x: not the number of a descriptor",
        ),
    ] {
        assert_eq!(refused(variables), format!("{error}; unset it, or say by -p where to listen"));
    }
}

#[test]
fn where_an_address_is_given_nothing_else_is_used_and_nothing_else_can_be_wrong() {
    let systemd = with(&[("LISTEN_FDS", "3"), ("LISTEN_PID", OURS), ("LISTEN_FDNAMES", "a:b:c")]);
    let (used, handed_in) = listeners(given(&[4, 9]), &systemd).unwrap();
    assert_eq!(shown(&used), ["b=fd:4", "fd:9"], "the name that it came with is its own");
    assert_eq!(
        (handed_in.variable, shown(&handed_in.unused)),
        (None, vec!["a=fd:3".into(), "c=fd:5".into()])
    );

    let named = vec![Listener { name: Some("mine".into()), address: Address::Fd(3) }];
    assert_eq!(shown(&listeners(named, &systemd).unwrap().0), ["mine=fd:3"]);

    let wrong = with(&[("LISTEN_FD", "x"), ("LISTEN_FDS", "x"), ("LISTEN_PID", OURS)]);
    let (used, handed_in) = listeners(given(&[3]), &wrong).unwrap();
    assert_eq!((shown(&used), shown(&handed_in.unused)), (vec!["fd:3".into()], vec![]));
}

#[test]
fn a_srvwrap_above_us_is_noticed() {
    assert!(listeners(Vec::new(), &with(&[("SRVWRAP_PID", "1")])).unwrap().1.by_srvwrap);
    assert!(!listeners(Vec::new(), &with(&[])).unwrap().1.by_srvwrap);
}
