//! What bodies mean, and the sentences that the wrong ones get.
#![expect(clippy::disallowed_types, reason = "what prop_oneof expands to")]

use super::*;

use proptest::prelude::*;

use crate::wire::control::client::body;

type Read = fn(&[u8]) -> Result<Order, Fault>;

fn fault(read: Read, body: &str) -> String {
    read(body.as_bytes()).expect_err(body)
}

#[test]
fn an_empty_body_asks_for_the_defaults() {
    for body in ["", "{}", " { }\r\n"] {
        let body = body.as_bytes();
        assert_eq!(deploy(body), Ok(Order::Deploy(Deploy::default())));
        assert_eq!(rollback(body), Ok(Order::Rollback(Deploy::default())));
        assert_eq!(abort(body), Ok(Order::Abort));
        assert_eq!(reopen(body), Ok(Order::Reopen));
        assert_eq!(stop(body), Ok(Order::Stop(Stop { timeout: None, now: false })));
    }
}

#[test]
fn each_field_reaches_its_place() {
    let body = r#"{"program": ["node", {"base64": "/w=="}], "directory": "/srv/app", "environment": {"B": "1", "A": null},
        "workers": 4, "timeout_ms": 1000, "online_timeout_ms": 2000, "bake_ms": 3000, "surge": 2, "wait": false,
        "if_generation": 7}"#;
    let not_utf8 = serde_json::from_str(r#"{"base64": "/w=="}"#).unwrap();
    let expected = Deploy {
        program: Some(vec!["node".into(), not_utf8]),
        directory: Some("/srv/app".into()),
        environment: vec![("B".into(), Some("1".into())), ("A".into(), None)],
        workers: Some(4),
        timeout: Some(Duration::from_secs(1)),
        online_timeout: Some(Duration::from_secs(2)),
        bake: Some(Duration::from_secs(3)),
        surge: Some(2),
        wait: false,
        if_generation: Some(7),
    };
    assert_eq!(deploy(body.as_bytes()), Ok(Order::Deploy(expected)));
    assert_eq!(scale(b"{\"to\":8}"), Ok(Order::Scale(Scale::To(8))));
    assert_eq!(scale(b"{\"by\":-1}"), Ok(Order::Scale(Scale::By(-1))));
    let signalled = Signal { signal: "USR2".to_string(), slot: Some(0) };
    assert_eq!(signal(b"{\"signal\":\"USR2\",\"slot\":0}"), Ok(Order::Signal(signalled)));
}

#[test]
fn a_body_of_blanks_is_not_an_empty_one() {
    assert!(fault(rollback, "\n").starts_with("the body is not a JSON object"));
}

/// JSON knows no other kind of number, and a schema calls each of them an integer.
#[test]
fn a_whole_number_may_be_written_with_a_point_or_an_exponent() {
    assert_eq!(scale(b"{\"to\": 8.0}"), Ok(Order::Scale(Scale::To(8))));
    assert_eq!(scale(b"{\"by\": -1e1}"), Ok(Order::Scale(Scale::By(-10))));
    let stopping = Stop { timeout: Some(Duration::from_millis(2500)), now: false };
    assert_eq!(stop(b"{\"timeout_ms\": 2.5e3}"), Ok(Order::Stop(stopping)));
    for body in ["{\"to\": 8.5}", "{\"to\": 1e300}", "{\"to\": 1e-1}", "{\"to\": -1.0}", "{\"to\": \"8\"}"] {
        assert!(scale(body.as_bytes()).is_err(), "{body}");
    }
}

#[test]
fn an_environment_may_be_an_array_of_pairs() {
    let body = br#"{"environment": [["A", "1"], [{"base64": "/w=="}, null], ["A", null]]}"#;
    let Ok(Order::Deploy(Deploy { environment, .. })) = deploy(body) else { panic!("it is an order") };
    assert_eq!(environment.len(), 3);
    assert_eq!(environment[2], ("A".into(), None));
}

/// Each body is refused with a sentence that begins so.
fn assert_told(cases: &[(Read, &str, &str)]) {
    for (read, body, sentence) in cases {
        let told = fault(*read, body);
        assert!(told.starts_with(sentence), "{body}: {told}");
    }
}

#[test]
fn a_wrong_field_is_named_with_what_it_must_be() {
    assert_told(&[
        (
            deploy as Read,
            "{\"timeout\": 1}",
            "unknown field \"timeout\": POST /deploy takes program, directory, ",
        ),
        (rollback, "{\"program\": [\"a\"]}", "unknown field \"program\": POST /rollback takes workers, "),
        (abort, "{\"now\": true}", "unknown field \"now\": POST /abort takes none"),
        (deploy, "{\"workers\": 0}", "workers must be a number from 1 to 65535, not 0"),
        (deploy, "{\"workers\": null}", "workers must be a number from 1 to 65535, not null"),
        (deploy, "{\"workers\": 1.5}", "workers must be a number from 1 to 65535, not 1.5"),
        (deploy, "{\"surge\": 0}", "surge must be a number from 1"),
        (
            deploy,
            "{\"online_timeout_ms\": 0}",
            "online_timeout_ms must be a whole number of milliseconds from 1 to",
        ),
        (
            deploy,
            "{\"bake_ms\": 31536000001}",
            "bake_ms must be a whole number of milliseconds from 0 to 31536000000",
        ),
        (deploy, "{\"wait\": \"no\"}", "wait must be true or false, not \"no\""),
        (deploy, "{\"program\": \"node\"}", "program must be an array of strings"),
        (deploy, "{\"program\": []}", "program must begin with the program; leave it out to keep"),
        (deploy, "{\"program\": [\"\", \"a\"]}", "program must begin with the program"),
        (deploy, "{\"program\": [\"a\\u0000b\"]}", "program must not have a NUL byte"),
        (deploy, "{\"directory\": \"app\"}", "directory must be absolute, not \"app\""),
        (deploy, "{\"directory\": \"\"}", "directory must be absolute"),
    ]);
}

#[test]
fn a_wrong_variable_is_named_and_so_is_a_field_of_no_deploy() {
    assert_told(&[
        (deploy, "{\"environment\": [\"A=1\"]}", "environment must be an object of strings"),
        (deploy, "{\"environment\": {\"A\": 1}}", "environment must be an object of strings"),
        (
            deploy,
            "{\"environment\": {\"A\": \"1\", \"A\": \"2\"}}",
            "environment must be an object of strings",
        ),
        (
            deploy,
            "{\"environment\": {\"\": \"1\"}}",
            "environment has a name that no variable can have: \"\"",
        ),
        (
            deploy,
            "{\"environment\": {\"A=B\": \"1\"}}",
            "environment has a name that no variable can have: \"A=B\"",
        ),
        (deploy, "{\"environment\": {\"A\": \"\\u0000\"}}", "environment must not have a NUL byte"),
        (
            deploy,
            "{\"environment\": {\"NOTIFY_FD\": \"3\"}}",
            "environment must not have NOTIFY_FD: srvwrap sets",
        ),
        (deploy, "{\"environment\": {\"LISTEN_FD_9\": null}}", "environment must not have LISTEN_FD_9"),
        (scale, "{}", "POST /scale takes either to or by"),
        (scale, "{\"to\": 1, \"by\": 1}", "POST /scale takes either to or by"),
        (scale, "{\"by\": 70000}", "by must be a number from -65535 to 65535"),
        (stop, "{\"now\": true, \"timeout_ms\": 1}", "POST /stop takes either timeout_ms or now"),
        (signal, "{}", "POST /signal needs a signal"),
        (signal, "{\"signal\": 12}", "signal must be the name of a signal or its number in quotes"),
        (signal, "{\"signal\": \"a b\"}", "signal must be the name of a signal"),
        (deploy, "{\"wait\": true, \"wait\": true}", "the body is not a JSON object: it has \"wait\" twice"),
        (deploy, "[]", "the body is not a JSON object"),
        (deploy, "{\"wait\": true", "the body is not a JSON object"),
        (deploy, "{} {}", "the body is not a JSON object"),
        (deploy, "\u{0}", "the body is not a JSON object"),
    ]);
}

#[test]
fn a_sentence_is_one_line_however_long_and_whatever_the_value_is() {
    for body in [
        format!("{{\"workers\": \"{}\"}}", "x".repeat(100_000)),
        format!("{{\"{}\": 1}}", "x\\n".repeat(100_000)),
        "{\"workers\": [\n1,\n2]}".to_string(),
        format!("{{\"workers\": {}}}", "[".repeat(100_000)),
        format!("{{\"program\": {}}}", "[".repeat(100_000)),
    ] {
        let told = fault(deploy, &body);
        assert!(told.len() < 300 && !told.contains('\n'), "{told}");
    }
}

#[test]
fn the_value_of_a_variable_is_in_no_sentence() {
    for body in [
        r#"{"environment": {"NOTIFY_FD": "secret"}}"#,
        r#"{"environment": {"A=": "secret"}}"#,
        r#"{"environment": {"A": ["secret"]}}"#,
        r#"{"environment": {"A": "secret\u0000"}}"#,
        r#"{"environment": "secret"}"#,
        r#"{"environment": {"A": "secret", "A": "secret"}}"#,
    ] {
        assert!(!fault(deploy, body).contains("secret"), "{body}");
    }
}

fn texts() -> impl Strategy<Value = Text> {
    let bytes = prop::collection::vec(1..=255_u8, 0..6);
    prop_oneof![
        "[a-zA-Z0-9/ü\"]{0,6}".prop_map(|text| Text::from(text.as_str())),
        bytes.prop_map(|bytes| {
            let json = format!("{{\"base64\":\"{}\"}}", crate::wire::control::base64::encode(&bytes));
            serde_json::from_str(&json).expect("it is a text")
        }),
    ]
}

fn durations() -> impl Strategy<Value = Option<Duration>> {
    prop::option::of((1..=LONGEST_MS).prop_map(Duration::from_millis))
}

prop_compose! {
    fn terms_of_deploys()(
        workers in prop::option::of(1..=65535_u32),
        (timeout, online_timeout, bake) in (durations(), durations(), durations()),
        surge in prop::option::of(1..=65535_u32),
        wait in any::<bool>(),
        if_generation in any::<Option<u32>>(),
    ) -> Deploy {
        Deploy { workers, timeout, online_timeout, bake, surge, wait, if_generation, ..Deploy::default() }
    }
}

fn names() -> impl Strategy<Value = Text> {
    texts().prop_filter("a name", |name| variable(name).is_ok())
}

prop_compose! {
    fn deploys()(
        terms in terms_of_deploys(),
        program in prop::option::of(prop::collection::vec(texts(), 1..4)),
        directory in prop::option::of("/[a-z/]{0,8}"),
        environment in prop::collection::vec((names(), prop::option::of(texts())), 0..4),
    ) -> Deploy {
        let program = program.filter(|words| !words[0].as_bytes().is_empty());
        Deploy { program, directory: directory.as_deref().map(Text::from), environment, ..terms }
    }
}

fn orders() -> impl Strategy<Value = (Read, Order)> {
    let stops = prop_oneof![
        durations().prop_map(|timeout| Stop { timeout, now: false }),
        Just(Stop { timeout: None, now: true }),
    ];
    prop_oneof![
        deploys().prop_map(|order| (deploy as Read, Order::Deploy(order))),
        terms_of_deploys().prop_map(|order| (rollback as Read, Order::Rollback(order))),
        Just((abort as Read, Order::Abort)),
        Just((reopen as Read, Order::Reopen)),
        (1..=65535_u32).prop_map(|to| (scale as Read, Order::Scale(Scale::To(to)))),
        (-65535..=65535_i32).prop_map(|by| (scale as Read, Order::Scale(Scale::By(by)))),
        stops.prop_map(|order| (stop as Read, Order::Stop(order))),
        ("[A-Z0-9+-]{1,16}", prop::option::of(0..65535_u32))
            .prop_map(|(signal, slot)| (self::signal as Read, Order::Signal(Signal { signal, slot }))),
    ]
}

proptest! {
    #[test]
    fn what_a_client_writes_is_what_the_server_reads((read, order) in orders()) {
        let written = body(&order);
        prop_assert_eq!(read(&written), Ok(order), "{}", String::from_utf8_lossy(&written));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        for read in [deploy as Read, rollback, abort, scale, stop, signal] {
            let _ = read(&bytes);
        }
    }

    #[test]
    fn arbitrary_json_never_panics(
        name in prop::sample::select(vec!["program", "environment", "workers", "to", "by", "signal", "bake_ms", "wait"]),
        value in "[\\[\\]{}\":,0-9a-z. +eE\\\\-]{0,20}",
    ) {
        let body = format!("{{\"{name}\": {value}}}");
        for read in [deploy as Read, rollback, abort, scale, stop, signal] {
            let _ = read(body.as_bytes());
        }
    }
}
