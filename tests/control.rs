//! What can be asked over the control socket, and how it is answered: by curl and by sockets of our own.

use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::control::{Raw, curl, curl_command, get, post, response_of, socket};
use crate::harness::{Srvwrap, is_alive, require, send, srvwrap, wait_until};

/// Says what it has in its environment; comes online when the test says so, in every generation but the first.
const GATED: &str = r#"
    trap 'exit 0' TERM
    trap 'echo "slot $SRVWRAP_SLOT got USR2" >&2' USR2
    echo "release ${RELEASE-none} in $(pwd)" >&2
    echo "status release ${RELEASE-none}" >&3
    echo "what nobody knows" >&3
    [ $SRVWRAP_GENERATION = 1 ] || until [ -e go ]; do sleep 0.02; done
    echo online >&3
    while :; do sleep 0.02; done"#;

fn gated(arguments: &[&str]) -> Srvwrap {
    srvwrap(arguments.iter().copied().chain(["sh", "-c", GATED])).online()
}

/// As [`gated`], with the gate open.
fn serving(arguments: &[&str]) -> Srvwrap {
    let srvwrap = gated(arguments);
    srvwrap.touch("go");
    srvwrap
}

fn outcome(answer: &Value) -> (&str, u64, Option<u64>) {
    (
        answer["outcome"].as_str().unwrap(),
        answer["exit_code"].as_u64().unwrap(),
        answer["generation"].as_u64(),
    )
}

#[test]
fn status_tells_of_each_worker_and_listener_to_curl() {
    if !require::program("curl") {
        return;
    }
    let mut srvwrap = serving(&["-n", "2", "-p", "main=127.0.0.1:0", "-p", "unix:app.sock"]);
    let port = srvwrap.port();
    let response = get(&srvwrap, "/status");
    let status = response.json();
    assert_eq!((response.status, &status["schema"], &status["pid"]), (200, &json!(1), &json!(srvwrap.pid())));
    assert_eq!((&status["activity"], &status["generation"]), (&json!("serving"), &json!(1)));
    assert_eq!((&status["workers_wanted"], &status["workers_online"]), (&json!(2), &json!(2)));
    assert_eq!(status["program"], json!(["sh", "-c", GATED]));
    assert_eq!(status["directory"], json!(srvwrap.path()));
    assert_eq!((&status["deploy"], &status["waiting"]), (&Value::Null, &json!([])));
    let pids = srvwrap.worker_pids();
    for (slot, worker) in status["workers"].as_array().unwrap().iter().enumerate() {
        assert_eq!((&worker["slot"], &worker["pid"]), (&json!(slot), &json!(pids[&(slot as u32)])));
        assert_eq!((&worker["state"], &worker["said"]), (&json!("online"), &json!("release none")));
        assert_eq!(worker["ignored_lines"], json!(1));
        assert!(worker["rss_bytes"].as_u64() > Some(100_000) && worker["cpu_ms"].is_u64(), "{worker}");
    }
    let listeners = &status["listeners"];
    assert_eq!((&listeners[0]["name"], &listeners[0]["queued"]), (&json!("main"), &json!(0)));
    assert_eq!(listeners[0]["address"], json!(format!("127.0.0.1:{port}")));
    assert_eq!(listeners[1]["queued"], Value::Null);
    srvwrap.stop();
}

#[test]
fn a_deploy_changes_what_it_names_and_is_answered_when_it_is_done() {
    let mut srvwrap = serving(&[]);
    std::fs::create_dir(srvwrap.path().join("releases")).unwrap();
    std::fs::write(srvwrap.path().join("releases/go"), "").unwrap();
    let directory = srvwrap.path().join("releases");
    let body =
        json!({ "workers": 2, "directory": directory, "environment": { "RELEASE": "42", "OLD": null } });
    let answer = post(&srvwrap, "/deploy", &body.to_string());
    assert_eq!((answer.status, outcome(&answer.json())), (200, ("done", 0, Some(2))));
    assert!(answer.text("message").starts_with("deploy 2 done after "), "{answer:?}");
    srvwrap.wait_until_said(&format!("release 42 in {}", directory.display()), 2);
    let program = json!({ "program": ["sh", "-c", "echo online >&3; exec sleep 1000"], "environment": { "RELEASE": null } });
    assert_eq!(post(&srvwrap, "/deploy", &program.to_string()).status, 200);
    let status = get(&srvwrap, "/status").json();
    assert_eq!((&status["generation"], &status["program"][2]), (&json!(3), &program["program"][2]));
    assert_eq!((&status["workers_online"], &status["directory"]), (&json!(2), &json!(directory)));
    srvwrap.stop();
}

#[test]
fn history_tells_who_deployed_what_and_no_value_of_a_variable_is_told_anywhere() {
    let mut srvwrap = serving(&[]);
    let mut events = Raw::to(&srvwrap);
    events.follow();
    assert_eq!(post(&srvwrap, "/deploy", r#"{"environment": {"PASSWORD": "hunter2"}}"#).status, 200);
    assert_eq!(post(&srvwrap, "/deploy", r#"{"environment": {"PASSWORD": "swordfish"}}"#).status, 200);
    assert_eq!(post(&srvwrap, "/rollback", "").status, 200);
    let history = get(&srvwrap, "/history");
    let deploys = history.json()["deploys"].as_array().unwrap().clone();
    let by = |index: usize| deploys[index]["by"].as_str().unwrap().to_string();
    assert_eq!((deploys.len(), by(0)), (4, "boot".to_string()));
    assert!(by(1).contains(&format!("uid {}", nix::unistd::getuid())), "{history:?}");
    assert_eq!(deploys[2]["changed"], json!(["environment: ~PASSWORD"]));
    assert!(
        deploys.iter().all(|deploy| deploy["outcome"] == "done" && deploy["live"] == true),
        "{history:?}"
    );
    let mut told = history.body + &get(&srvwrap, "/status").body;
    assert_eq!(post(&srvwrap, "/stop", "").status, 200);
    while let Some(event) = events.event() {
        told += &event.to_string();
    }
    assert_eq!(srvwrap.exit_code(), 0);
    told += &srvwrap.log();
    assert!(told.contains("PASSWORD") && !told.contains("hunter2") && !told.contains("swordfish"), "{told}");
}

#[test]
fn a_rollback_brings_back_what_ran_before_and_says_where_there_is_nothing() {
    let mut srvwrap = serving(&[]);
    let nothing = post(&srvwrap, "/rollback", "{}");
    assert_eq!((nothing.status, outcome(&nothing.json())), (409, ("refused", 1, Some(1))));
    assert_eq!(post(&srvwrap, "/deploy", r#"{"environment": {"RELEASE": "42"}}"#).status, 200);
    srvwrap.wait_for("release 42 in ");
    assert_eq!(post(&srvwrap, "/rollback", "").status, 200);
    srvwrap.wait_for("release none in ");
    srvwrap.stop();
}

#[test]
fn a_deploy_that_fails_says_why_and_changes_nothing() {
    let srvwrap = serving(&["-n", "2"]);
    let before = get(&srvwrap, "/status").json();
    let failed = post(&srvwrap, "/deploy", r#"{"workers": 3, "program": ["sh", "-c", "exit 7"]}"#);
    assert_eq!((failed.status, outcome(&failed.json())), (422, ("failed", 1, Some(1))));
    assert!(failed.text("message").contains("exited with status 7 while starting"), "{failed:?}");
    let nowhere = post(&srvwrap, "/deploy", r#"{"directory": "/nowhere/at/all"}"#);
    assert_eq!(nowhere.status, 422);
    assert!(nowhere.text("message").contains("/nowhere/at/all"), "{nowhere:?}");
    let after = get(&srvwrap, "/status").json();
    for field in ["generation", "program", "directory", "workers_wanted", "workers_online"] {
        assert_eq!(after[field], before[field], "{field}");
    }
    srvwrap.stop();
}

#[test]
fn a_deploy_may_have_a_time_and_a_generation_that_it_is_meant_for() {
    let srvwrap = gated(&[]);
    let late = post(&srvwrap, "/deploy", r#"{"timeout_ms": 50}"#);
    assert_eq!((late.status, outcome(&late.json())), (422, ("timed-out", 4, Some(1))));
    let worker_late = post(&srvwrap, "/deploy", r#"{"online_timeout_ms": 50}"#);
    assert_eq!((worker_late.status, outcome(&worker_late.json())), (422, ("failed", 1, Some(1))));
    let other = post(&srvwrap, "/deploy", r#"{"if_generation": 2}"#);
    assert_eq!((other.status, outcome(&other.json())), (409, ("refused", 1, Some(1))));
    srvwrap.touch("go");
    assert_eq!(post(&srvwrap, "/deploy", r#"{"if_generation": 1, "surge": 1, "wait": false}"#).status, 200);
    srvwrap.stop();
}

#[test]
fn a_second_deploy_is_refused_and_an_abort_ends_the_first() {
    let srvwrap = gated(&["-n", "2"]);
    let mut first = Raw::to(&srvwrap);
    first.ask("/deploy", "");
    wait_until("the deploy is under way", || get(&srvwrap, "/status").json()["deploy"]["generation"] == 2);
    assert_eq!(get(&srvwrap, "/status").json()["activity"], "deploying");
    for (path, body) in [("/deploy", ""), ("/rollback", ""), ("/scale", "{\"by\": 1}")] {
        let second = post(&srvwrap, path, body);
        assert_eq!((second.status, outcome(&second.json())), (409, ("refused", 1, Some(1))), "{path}");
    }
    assert_eq!(post(&srvwrap, "/abort", "").status, 200);
    let aborted = first.response();
    assert_eq!((aborted.status, outcome(&aborted.json())), (422, ("aborted", 5, Some(1))));
    assert_eq!(post(&srvwrap, "/abort", "").status, 409);
    srvwrap.stop();
}

#[test]
fn scale_changes_the_count_to_or_by() {
    let srvwrap = serving(&[]);
    assert_eq!(post(&srvwrap, "/scale", "{\"to\": 3}").status, 200);
    assert_eq!(get(&srvwrap, "/status").json()["workers_online"], 3);
    assert_eq!(post(&srvwrap, "/scale", "{\"by\": -2}").status, 200);
    let status = get(&srvwrap, "/status").json();
    assert_eq!((&status["workers_wanted"], status["workers"].as_array().unwrap().len()), (&json!(1), 1));
    assert_eq!(post(&srvwrap, "/scale", "{\"by\": -1}").status, 409);
    srvwrap.stop();
}

#[test]
fn a_signal_reaches_every_worker_or_one() {
    let mut srvwrap = serving(&["-n", "2"]);
    assert_eq!(post(&srvwrap, "/signal", r#"{"signal": "USR2", "slot": 1}"#).status, 200);
    srvwrap.wait_for("slot 1 got USR2");
    assert!(!srvwrap.has_said("slot 0 got USR2"), "{}", srvwrap.log());
    assert_eq!(post(&srvwrap, "/signal", r#"{"signal": "sigusr2"}"#).status, 200);
    srvwrap.wait_for_all(&["slot 0 got USR2", "slot 1 got USR2"]);
    let unknown = post(&srvwrap, "/signal", r#"{"signal": "NOPE"}"#);
    assert_eq!((unknown.status, unknown.json()["exit_code"].as_u64()), (400, Some(2)));
    assert!(unknown.text("message").contains("NOPE"), "{unknown:?}");
    assert_eq!(post(&srvwrap, "/signal", r#"{"signal": "USR2", "slot": 5}"#).status, 422);
    srvwrap.stop();
}

/// The connection ends with srvwrap, so that who has asked sees the end.
#[test]
fn a_stop_is_answered_before_srvwrap_ends_and_followers_see_the_last_event() {
    let mut srvwrap = serving(&["-n", "2"]);
    let (mut chunked, mut plain, mut stop) = (Raw::to(&srvwrap), Raw::to(&srvwrap), Raw::to(&srvwrap));
    plain.follow();
    chunked.send("GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let head = chunked.response().head;
    assert!(head.contains("Transfer-Encoding: chunked") && head.contains("application/x-ndjson"), "{head}");
    let answer = stop.post("/stop", "");
    assert_eq!((answer.status, outcome(&answer.json()).0), (200, "done"));
    assert!(stop.is_closed());
    assert_eq!(srvwrap.exit_code(), 0);
    plain.event_named("stopping");
    plain.event_named("stopped");
    assert_eq!(plain.event(), None);
    let rest = chunked.rest();
    assert!(rest.contains("\"stopped\"") && rest.ends_with("\r\n0\r\n\r\n"), "{rest}");
    assert!(!socket(&srvwrap).exists());
}

/// Each of them gets the answer, and status and events are told until the end.
#[test]
fn while_srvwrap_stops_it_says_so() {
    const SLOW: &str =
        "trap 'echo told >&2; until [ -e go ]; do sleep 0.02; done; exit 0' TERM; echo online >&3
                        while :; do sleep 0.02; done";
    let mut srvwrap = srvwrap(["sh", "-c", SLOW]).online();
    let (mut first, mut second, mut events) = (Raw::to(&srvwrap), Raw::to(&srvwrap), Raw::to(&srvwrap));
    events.follow();
    assert_eq!(get(&srvwrap, "/readyz").status, 200);
    first.ask("/stop", r#"{"timeout_ms": 50000}"#);
    srvwrap.wait_for("told");
    let status = get(&srvwrap, "/status").json();
    assert_eq!(
        (&status["activity"], &status["workers"][0]["state"]),
        (&json!("stopping"), &json!("retiring"))
    );
    assert_eq!((get(&srvwrap, "/readyz").status, get(&srvwrap, "/livez").status), (503, 200));
    assert_eq!(post(&srvwrap, "/deploy", "").status, 409);
    events.event_named("stopping");
    second.ask("/stop", "");
    srvwrap.touch("go");
    assert_eq!((first.response().status, second.response().status), (200, 200));
    events.event_named("stopped");
    assert_eq!(srvwrap.exit_code(), 0);
}

#[test]
fn a_stop_at_once_kills() {
    let mut srvwrap =
        srvwrap(["sh", "-c", "trap '' TERM; echo online >&3; while :; do sleep 1; done"]).online();
    let answer = post(&srvwrap, "/stop", r#"{"now": true}"#);
    assert_eq!(answer.status, 200);
    assert!(answer.text("message").contains("1 worker was killed"), "{answer:?}");
    assert_eq!(srvwrap.exit_code(), 0);
}

#[test]
fn a_stop_during_a_deploy_answers_both() {
    let mut srvwrap = gated(&[]);
    let mut deploy = Raw::to(&srvwrap);
    deploy.ask("/deploy", "");
    wait_until("the deploy is under way", || get(&srvwrap, "/status").json()["activity"] == "deploying");
    assert_eq!(post(&srvwrap, "/stop", "").status, 200);
    assert_eq!(outcome(&deploy.response().json()).0, "aborted");
    assert_eq!(srvwrap.exit_code(), 0);
}

#[test]
fn a_client_that_is_killed_has_still_asked() {
    if !require::program("curl") {
        return;
    }
    let mut srvwrap = gated(&[]);
    let mut curl = curl_command(srvwrap.path(), "/deploy", &["-d", "{}"]).spawn().unwrap();
    srvwrap.wait_for("deploy 2 began");
    let mut raw = Raw::to(&srvwrap);
    assert_eq!(raw.post("/deploy", "").status, 409);
    drop(raw);
    curl.kill().unwrap();
    curl.wait().unwrap();
    srvwrap.touch("go");
    srvwrap.wait_for("deploy 2 done");
    assert_eq!(get(&srvwrap, "/status").json()["generation"], 2);
    srvwrap.stop();
}

/// It asks, and does not wait for the answer.
#[test]
fn who_writes_and_closes_has_asked_too() {
    let mut srvwrap = serving(&[]);
    Raw::to(&srvwrap).ask("/scale", "{\"to\": 2}");
    srvwrap.wait_for("scaled to 2 workers");
    srvwrap.stop();
}

#[test]
fn who_has_closed_half_gets_the_answer() {
    let srvwrap = gated(&[]);
    let mut raw = Raw::to(&srvwrap);
    raw.ask("/deploy", "");
    raw.end_writing();
    wait_until("the deploy is under way", || get(&srvwrap, "/status").json()["activity"] == "deploying");
    srvwrap.touch("go");
    let answer = raw.response();
    assert_eq!(outcome(&answer.json()), ("done", 0, Some(2)));
    srvwrap.stop();
}

#[test]
fn events_tell_each_step_of_a_deploy_with_counts() {
    let srvwrap = serving(&["-n", "2"]);
    let mut events = Raw::to(&srvwrap);
    events.follow();
    assert_eq!(post(&srvwrap, "/deploy", "").status, 200);
    let began = events.event().expect("it began");
    assert_eq!(
        (&began["event"], &began["generation"], &began["schema"]),
        (&json!("deploy-began"), &json!(2), &json!(1))
    );
    assert_eq!(began["counts"], json!({ "workers": 2, "starting": 2, "online": 2, "retiring": 0 }));
    let online = events.event_named("worker-online");
    assert!(online["pid"].as_i64().is_some_and(|pid| is_alive(pid as i32)), "{online}");
    let time = online["time"].as_str().unwrap();
    assert!(time.len() == 24 && time.ends_with('Z') && time.contains('T'), "{time}");
    let done = events.event_named("deploy-done");
    assert_eq!(done["counts"], json!({ "workers": 2, "starting": 0, "online": 2, "retiring": 0 }));
    srvwrap.stop();
}

#[test]
fn a_slot_that_waits_is_told_in_plain_words() {
    const ONCE: &str = "[ -e dead ] && exit 3; echo online >&3; while :; do sleep 0.02; done";
    let mut srvwrap = srvwrap(["sh", "-c", ONCE]).online();
    srvwrap.touch("dead");
    send(srvwrap.worker_pids()[&0], Signal::SIGKILL);
    wait_until("the slot waits", || {
        let status = get(&srvwrap, "/status").json();
        let waiting = &status["waiting"][0];
        let told =
            waiting["message"].as_str().is_some_and(|message| message.contains("exited with status 3"));
        told && waiting["failures"].as_u64() > Some(1) && waiting["retry_in_ms"].is_u64()
    });
    assert_eq!(get(&srvwrap, "/readyz").status, 503);
    srvwrap.stop();
}

#[test]
fn a_boot_can_be_watched_and_stopped() {
    let mut srvwrap =
        srvwrap(["sh", "-c", "echo up >&2; trap 'exit 0' TERM; while :; do sleep 0.02; done"]).start();
    srvwrap.wait_for("up");
    let status = get(&srvwrap, "/status").json();
    assert_eq!((&status["activity"], &status["generation"]), (&json!("booting"), &Value::Null));
    assert_eq!((&status["deploy"]["phase"], &status["deploy"]["by"]), (&json!("starting"), &json!("boot")));
    assert_eq!((get(&srvwrap, "/readyz").status, get(&srvwrap, "/livez").status), (503, 200));
    let deploy = post(&srvwrap, "/deploy", "");
    assert_eq!((deploy.status, outcome(&deploy.json())), (409, ("refused", 1, None)));
    assert_eq!(post(&srvwrap, "/stop", "").status, 200);
    assert_eq!(srvwrap.exit_code(), 0);
}

#[test]
fn the_health_address_serves_health_alone() {
    if !require::program("curl") {
        return;
    }
    let mut srvwrap = serving(&["--health", "127.0.0.1:0"]);
    let port = health_port(&mut srvwrap);
    let ask = |path: &str, more: &[&str]| {
        let mut command = Command::new("curl");
        command
            .args(["-sS", "-i", "--max-time", "60"])
            .args(more)
            .arg(format!("http://127.0.0.1:{port}{path}"));
        response_of(&command.output().expect("curl can be started").stdout)
    };
    assert_eq!(ask("/readyz", &[]).json(), json!({ "schema": 1, "ready": true }));
    assert_eq!(ask("/livez", &[]).json(), json!({ "schema": 1, "live": true }));
    for path in ["/status", "/events", "/history"] {
        assert_eq!(ask(path, &[]).status, 404, "{path}");
    }
    for path in ["/stop", "/deploy"] {
        assert_eq!(ask(path, &["-X", "POST"]).status, 404, "{path}");
    }
    assert_eq!(ask("/livez", &["-d", "{}"]).status, 413);
    assert_eq!(get(&srvwrap, "/status").status, 200);
    srvwrap.stop();
}

/// As it is told, with the port that was really bound.
fn health_port(srvwrap: &mut Srvwrap) -> u16 {
    const SAID: &str = "srvwrap: health routes on 127.0.0.1:";
    let log = srvwrap.log();
    let port = log.lines().find_map(|line| line.strip_prefix(SAID)?.parse().ok());
    port.unwrap_or_else(|| panic!("{log}"))
}

#[test]
fn what_is_remarked_is_an_event_as_all_that_is_said() {
    let mut srvwrap = serving(&["--pid-file", "srvwrap.pid"]);
    let mut following = Raw::to(&srvwrap);
    following.follow();
    srvwrap.signal(Signal::SIGUSR2);
    let told = following.event().unwrap();
    assert_eq!(told["event"], "remark");
    assert_eq!(told["message"], "USR2 ignored: this version cannot upgrade itself in place");
    assert_eq!(told["counts"]["online"], 1);
    std::fs::remove_file(srvwrap.path().join("srvwrap.pid")).unwrap();
    let told = following.event_named("remark");
    let sentence = told["message"].as_str().unwrap();
    assert!(sentence.starts_with("somebody has removed ") && sentence.ends_with("srvwrap.pid: made anew"));
    srvwrap.wait_for(sentence);
    srvwrap.stop();
}

#[test]
fn heads_and_other_methods_are_answered_as_http_has_it() {
    let srvwrap = serving(&[]);
    let head = curl(&srvwrap, "/status", &["-I"]);
    assert!(head.status == 200 && head.body.is_empty() && head.head.contains("Content-Length: "), "{head:?}");
    let wrong = curl(&srvwrap, "/deploy", &[]);
    assert_eq!(wrong.status, 405);
    assert!(wrong.head.contains("\r\nAllow: POST\r\n"), "{wrong:?}");
    let nowhere = curl(&srvwrap, "/nowhere", &[]);
    assert_eq!((nowhere.status, nowhere.json()["exit_code"].as_u64()), (404, Some(2)));
    let old = curl(&srvwrap, "/livez", &["--http1.0"]);
    assert!(old.status == 200 && old.head.contains("Connection: close"), "{old:?}");
    let chunked = curl(&srvwrap, "/scale", &["-H", "Transfer-Encoding: chunked", "-d", "{\"to\": 2}"]);
    assert_eq!(chunked.status, 200);
    assert_eq!(curl(&srvwrap, "/status?watch=1", &[]).status, 200);
    srvwrap.stop();
}
