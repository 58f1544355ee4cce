//! Where descriptors lie in every protocol, what tells of them, and which words of an argument are filled.

use super::*;

const PROTOCOLS: [Protocol; 5] =
    [Protocol::Srvwrap, Protocol::Systemd, Protocol::ServerStarter, Protocol::Einhorn, Protocol::Stdin];

fn tcp(name: Option<&'static str>, address: &str) -> Passing<'static> {
    Passing { name, place: Place::Tcp(address.parse().expect("an address")) }
}

fn unix(path: &'static [u8]) -> Passing<'static> {
    Passing { name: None, place: Place::Unix(OsStr::from_bytes(path)) }
}

/// A unix socket first, so that the first listener is not the first one with a port.
fn three() -> [Passing<'static>; 3] {
    [unix(b"/run/\xff.sock"), tcp(Some("admin"), "127.0.0.1:80"), tcp(None, "[::]:8080")]
}

fn told(handover: Handover<'_>) -> Vec<String> {
    let all = handover.variables(2, 7, 4711);
    all.iter().map(|(name, value)| format!("{}={}", name.display(), value.display())).collect()
}

#[test]
fn every_descriptor_lies_where_its_number_says() {
    let three = three();
    for protocol in PROTOCOLS {
        for count in [0, 1, 3] {
            let handover = Handover { protocol, listeners: &three[..count] };
            if handover.check(&[]).is_err() {
                assert_eq!((protocol, count == 1), (Protocol::Stdin, false));
                continue;
            }
            let Arranged { stdin, from_3 } = handover.arranged(100, 0..count);
            let at = |number: usize| if number == 0 { stdin } else { from_3.get(number - 3).copied() };
            assert_eq!(at(handover.notice()), Some(100), "{protocol:?} {count}");
            for index in 0..count {
                assert_eq!(at(handover.listener(index)), Some(index), "{protocol:?} {count}");
            }
            assert_eq!(usize::from(stdin.is_some()) + from_3.len(), count + 1);
        }
    }
}

#[test]
fn the_numbers_are_those_that_each_protocol_promises() {
    let three = three();
    let numbers = |protocol, count| {
        let handover = Handover { protocol, listeners: &three[..count] };
        (handover.notice(), (0..count).map(|index| handover.listener(index)).collect::<Vec<_>>())
    };
    for protocol in [Protocol::Srvwrap, Protocol::ServerStarter, Protocol::Einhorn] {
        assert_eq!(numbers(protocol, 3), (3, vec![4, 5, 6]));
        assert_eq!(numbers(protocol, 0), (3, vec![]));
    }
    assert_eq!(numbers(Protocol::Systemd, 0), (3, vec![]));
    assert_eq!(numbers(Protocol::Systemd, 1), (4, vec![3]));
    assert_eq!(numbers(Protocol::Systemd, 3), (6, vec![3, 4, 5]));
    assert_eq!(numbers(Protocol::Stdin, 1), (3, vec![0]));
}

#[test]
fn each_protocol_tells_what_its_programs_read() {
    let three = three();
    let of = |protocol| told(Handover { protocol, listeners: &three });
    assert_eq!(of(Protocol::Srvwrap), [""; 0]);
    assert_eq!(of(Protocol::Systemd), ["LISTEN_FDS=3", "LISTEN_FDNAMES=unknown:admin:unknown"]);
    assert_eq!(
        of(Protocol::ServerStarter),
        ["SERVER_STARTER_PORT=/run/\u{fffd}.sock=4;127.0.0.1:80=5;8080=6", "SERVER_STARTER_GENERATION=7"]
    );
    assert_eq!(
        of(Protocol::Einhorn),
        [
            "EINHORN_FD_0=4",
            "EINHORN_FD_1=5",
            "EINHORN_FD_2=6",
            "EINHORN_FD_COUNT=3",
            "EINHORN_FDS=4 5 6",
            "EINHORN_CHILD_INDEX=2",
            "EINHORN_MASTER_PID=4711",
            "EINHORN_SOCK_FD=3"
        ]
    );
    let pid_in = |protocol, count| Handover { protocol, listeners: &three[..count] }.pid_variable();
    assert_eq!(PROTOCOLS.map(|protocol| pid_in(protocol, 1)), [None, Some("LISTEN_PID"), None, None, None]);
    assert_eq!(pid_in(Protocol::Systemd, 0), None);
}

#[test]
fn without_listeners_a_program_is_not_told_that_it_is_socket_activated() {
    let of = |protocol| told(Handover { protocol, listeners: &[] });
    assert_eq!(of(Protocol::Systemd), [""; 0]);
    assert_eq!(of(Protocol::ServerStarter), ["SERVER_STARTER_PORT=", "SERVER_STARTER_GENERATION=7"]);
    assert_eq!(of(Protocol::Einhorn)[..2], ["EINHORN_FD_COUNT=0", "EINHORN_FDS="]);
}

#[test]
fn an_address_is_named_as_server_starter_names_it() {
    for (address, named) in [
        ("0.0.0.0:80", "80=4"),
        ("[::]:80", "80=4"),
        ("127.0.0.1:80", "127.0.0.1:80=4"),
        ("[::1]:80", "[::1]:80=4"),
        ("[fe80::1%2]:80", "[fe80::1%2]:80=4"),
    ] {
        let listeners = [tcp(None, address)];
        let handover = Handover { protocol: Protocol::ServerStarter, listeners: &listeners };
        assert_eq!(told(handover)[0], format!("SERVER_STARTER_PORT={named}"));
    }
}

fn refused(protocol: Protocol, listeners: &[Passing<'_>], argument: &str) -> String {
    let argv = ["program".into(), argument.into()];
    Handover { protocol, listeners }.check(&argv).expect_err("it is refused").to_string()
}

#[test]
fn what_cannot_be_handed_over_is_refused_by_its_name() {
    let three = three();
    let (none, unix_only) = (&three[..0], &three[..1]);
    for (protocol, listeners, argument, words) in [
        (Protocol::Stdin, none, "", "--protocol stdin: there is no socket to hand over; give one by -p"),
        (
            Protocol::Stdin,
            &three[..],
            "",
            "--protocol stdin: it hands over one socket, and there are 3; give only one",
        ),
        (
            Protocol::Srvwrap,
            none,
            "fd://{fd}",
            "argument {fd}: there is no socket; give one by -p (or {{fd}}, where the text itself is meant)",
        ),
        (
            Protocol::Systemd,
            unix_only,
            "--port={port}",
            "argument {port}: no socket has a port; give one, as in -p 8000 (or {{port}}, where the text itself is meant)",
        ),
        (
            Protocol::Srvwrap,
            &three,
            "{fd:http}",
            "argument {fd:http}: no socket has this name; give one, as in -p http=8000 (or {{fd:http}}, where the text itself is meant)",
        ),
    ] {
        assert_eq!(refused(protocol, listeners, argument), words);
    }
    for (path, shown) in [(&b"/a=b"[..], "/a=b;"), (b"/a;b", "\"/a;b\";")] {
        let words = refused(Protocol::ServerStarter, &[unix(path)], "");
        let expected = format!("--protocol server-starter: it cannot name {shown}");
        assert!(words.starts_with(&expected), "{words}");
    }
}

#[test]
fn a_socket_of_ipv6_is_doubtful_where_programs_may_know_ipv4_only() {
    let all = [unix(b"/a"), tcp(None, "127.0.0.1:80"), tcp(None, "[::]:8080")];
    let doubt = |protocol, listeners| Handover { protocol, listeners }.doubt();
    let told = doubt(Protocol::ServerStarter, &all).expect("it may not work");
    assert!(told.starts_with("[::]:8080 is ") && told.ends_with(", as in -p 0.0.0.0:8080"), "{told}");
    assert_eq!(doubt(Protocol::ServerStarter, &all[..2]), None);
    assert_eq!(doubt(Protocol::Srvwrap, &all), None);
}

#[test]
fn words_are_filled_anywhere_in_an_argument_and_not_in_the_programs_name() {
    let three = three();
    let handover = Handover { protocol: Protocol::Srvwrap, listeners: &three };
    let argv =
        ["./{fd}", "{fd}", "fd://{fd}:{port}/", "{fd:admin}{fd:admin}", "{{fd}}", "{{fd:admin}} ${{port}}"]
            .map(OsString::from);
    let filled = handover.words(&argv).expect("all of it is there");
    assert_eq!(filled, ["./{fd}", "4", "fd://4:80/", "55", "{fd}", "{fd:admin} ${port}"].map(OsString::from));
    assert_eq!(handover.words(&[]), Ok(Vec::new()));
    let of =
        |protocol| Handover { protocol, listeners: &three[1..2] }.words(&argv[..2]).expect("it is there");
    assert_eq!(of(Protocol::Systemd)[1], "3");
    assert_eq!(of(Protocol::Stdin)[1], "0");
}

/// A name that was handed in may hold what an operator cannot type in front of `=`.
#[test]
fn a_socket_is_found_by_the_name_that_it_came_with_and_by_that_of_its_variable() {
    let named = |name| Passing { name: Some(name), ..tcp(None, "127.0.0.1:80") };
    let listeners = [named("web.socket"), named("web_socket"), named("Admin API"), named("7")];
    let handover = Handover { protocol: Protocol::Srvwrap, listeners: &listeners };
    for (argument, filled) in [
        ("{fd:web.socket}", "4"),
        ("{fd:web_socket}", "5"),
        ("{fd:WEB_SOCKET}", "4"),
        ("{fd:Admin API}", "6"),
        ("{fd:admin_api}", "6"),
        ("{fd:ADMIN_API}", "6"),
        ("{fd:7}", "7"),
        ("{{fd:web.socket}}", "{fd:web.socket}"),
        ("{fd:Web.Socket}", "{fd:Web.Socket}"),
        ("{fd:other.socket}", "{fd:other.socket}"),
    ] {
        let words = handover.words(&["x".into(), argument.into()]).expect("it is there");
        assert_eq!(words[1], filled, "{argument}");
    }
    let words = "argument {fd:web}: no socket has this name";
    assert!(refused(Protocol::Srvwrap, &listeners, "{fd:web}").starts_with(words));
}

/// Without any socket, so that one that was taken for ours would be refused.
#[test]
fn what_others_write_in_braces_is_left_alone() {
    let handover = Handover { protocol: Protocol::Srvwrap, listeners: &[] };
    for text in [
        "{}",
        "{",
        "}{",
        "{fd",
        "{fd:",
        "{fd:}",
        "{fd:3}",
        "{fd:02}",
        "{fd:A}",
        "{fd:a-b}",
        "{port:d}",
        "{port }",
        "{FD}",
        "{fds}",
        r#"{"fd":3,"port":{"fd":4}}"#,
        "exec {fd}>log; cat {fd}<in",
        "${fd} ${port} ${fd:-3} ${fd:a}",
        "{{ port }}",
    ] {
        let argv = ["x", text].map(OsString::from);
        assert_eq!(handover.words(&argv), Ok(argv.to_vec()), "{text}");
    }
    let bytes = [OsString::new(), OsString::from_vec(b"\xff{\xfe}{fd:\xfd}".to_vec())];
    assert_eq!(handover.words(&bytes), Ok(bytes.to_vec()));
}

#[test]
fn bytes_that_are_no_text_stay_beside_a_word_that_is_filled() {
    let listeners = [tcp(None, "127.0.0.1:80")];
    let handover = Handover { protocol: Protocol::Srvwrap, listeners: &listeners };
    let argv = [OsString::new(), OsString::from_vec(b"\xff{fd}\xfe{{{fd}}}".to_vec())];
    let filled = handover.words(&argv).expect("it is there");
    assert_eq!(filled[1].as_bytes(), b"\xff4\xfe{{fd}}");
}
