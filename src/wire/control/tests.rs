//! `protocol/openapi.json` says what the code does: its routes, its bodies and its answers are compared with it.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::http::{Form, Request};
use super::json::{read, write};
use super::message::{Answer, Counts, Deployed, Event, History, Outcome, Question};
use super::routes::{Door, Kind, ROUTES, question};
use super::status::{Deploying, Listener, LogFile, Logs, Status, Waiting, Worker};

fn document() -> Value {
    serde_json::from_str(include_str!("../../../protocol/openapi.json")).expect("it is JSON")
}

/// What is wrong with `value` by `schema`: as much of JSON Schema as the document uses, patterns apart.
fn faults(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    let schema = schema.as_object().expect("a schema is an object");
    let all = |schemas: &Value| -> Vec<bool> {
        let schemas = schemas.as_array().expect("it is an array").iter();
        schemas.map(|schema| self::faults(document, schema, value).is_empty()).collect()
    };
    for (keyword, rule) in schema {
        let holds = match keyword.as_str() {
            "$ref" => {
                let pointer = rule.as_str().expect("it is a path").trim_start_matches('#');
                let target = document.pointer(pointer).unwrap_or_else(|| panic!("there is no {pointer}"));
                self::faults(document, target, value).is_empty()
            }
            "oneOf" => all(rule).iter().filter(|fits| **fits).count() == 1,
            "type" => match rule.as_array() {
                Some(types) => types.iter().any(|one| has_type(one, value)),
                None => has_type(rule, value),
            },
            "enum" => rule.as_array().is_some_and(|values| values.contains(value)),
            "const" => rule == value,
            "minimum" => value.as_i64().is_none_or(|number| number >= rule.as_i64().expect("a number")),
            "maximum" => value.as_i64().is_none_or(|number| number <= rule.as_i64().expect("a number")),
            "minItems" => {
                value.as_array().is_none_or(|items| items.len() as u64 >= rule.as_u64().expect("a number"))
            }
            "maxItems" => {
                value.as_array().is_none_or(|items| items.len() as u64 <= rule.as_u64().expect("a number"))
            }
            "minLength" => {
                value.as_str().is_none_or(|text| text.len() as u64 >= rule.as_u64().expect("a number"))
            }
            "required" => value.as_object().is_none_or(|object| {
                let names = rule.as_array().expect("an array").iter().filter_map(Value::as_str);
                names.into_iter().all(|name| object.contains_key(name))
            }),
            "properties" => value.as_object().is_none_or(|object| {
                object.iter().all(|(name, value)| {
                    rule.get(name).is_none_or(|schema| self::faults(document, schema, value).is_empty())
                })
            }),
            "additionalProperties" => value.as_object().is_none_or(|object| {
                let known =
                    |name: &String| schema.get("properties").is_some_and(|known| known.get(name).is_some());
                let mut others = object.iter().filter(|(name, _)| !known(name));
                others.all(|(_, value)| rule.is_object() && self::faults(document, rule, value).is_empty())
            }),
            "items" => value.as_array().is_none_or(|items| {
                let before = schema.get("prefixItems").and_then(Value::as_array).map_or(0, Vec::len);
                items.iter().skip(before).all(|item| self::faults(document, rule, item).is_empty())
            }),
            "prefixItems" => value.as_array().is_none_or(|items| {
                let pairs = rule.as_array().expect("an array").iter().zip(items);
                pairs.into_iter().all(|(schema, item)| self::faults(document, schema, item).is_empty())
            }),
            "description" | "default" | "format" | "pattern" | "propertyNames" | "not" | "maxLength" => true,
            other => panic!("this test does not know {other}"),
        };
        if !holds {
            faults.push(format!("{keyword} of {rule} does not hold for {value}"));
        }
    }
    faults
}

fn has_type(name: &Value, value: &Value) -> bool {
    match name.as_str().expect("it is a name") {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "null" => value.is_null(),
        other => panic!("{other} is no type"),
    }
}

fn schema<'d>(document: &'d Value, name: &str) -> &'d Value {
    &document["components"]["schemas"][name]
}

fn names(object: &Value) -> BTreeSet<String> {
    object.as_object().expect("it is an object").keys().cloned().collect()
}

/// That the message fits its schema, that it has every field of it and no other, and that it reads back.
fn assert_described<T>(document: &Value, name: &str, message: &T)
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let value: Value = serde_json::from_slice(&write(message)).expect("it is JSON");
    let schema = schema(document, name);
    assert_eq!(faults(document, schema, &value), [""; 0], "{name}");
    let properties = names(&schema["properties"]);
    assert_eq!(names(&value), properties, "{name}");
    let mut required: BTreeSet<String> =
        schema["required"].as_array().expect("an array").iter().map(text).collect();
    // The one that few answers have.
    if name == "Answer" {
        assert!(required.insert("stderr".to_string()));
    }
    assert_eq!(required, properties, "{name}");
}

fn text(value: &Value) -> String {
    value.as_str().expect("it is a text").to_string()
}

fn status() -> Status {
    Status {
        version: "1.2.3".to_string(),
        pid: 1,
        uptime: Duration::from_millis(5),
        activity: "deploying".to_string(),
        generation: Some(7),
        workers_wanted: 2,
        workers_online: 1,
        program: vec!["node".into(), serde_json::from_str("{\"base64\":\"/w==\"}").expect("it is a text")],
        directory: "/srv".into(),
        workers: vec![Worker {
            slot: 1,
            pid: 4711,
            generation: 7,
            state: "online".to_string(),
            wanted: true,
            uptime: Duration::from_secs(1),
            restarts: 3,
            failures: 2,
            last_failure: Some("worker 1 (pid 4700) exited with status 1".to_string()),
            failed_ago: Some(Duration::from_secs(9)),
            rss_bytes: Some(1 << 40),
            cpu: Some(Duration::from_millis(70)),
            said: "busy".to_string(),
            ignored: 5,
        }],
        waiting: vec![Waiting {
            slot: 0,
            retry_in: Duration::from_secs(2),
            failures: 4,
            message: "died".to_string(),
        }],
        deploy: Some(Deploying {
            generation: 8,
            phase: "starting".to_string(),
            by: "HUP".to_string(),
            online: 0,
            workers: 2,
            leaving: 0,
            elapsed: Duration::from_millis(30),
        }),
        listeners: vec![Listener {
            name: None,
            address: "127.0.0.1:80".to_string(),
            queued: Some(0),
            backlog: Some(4096),
        }],
        logs: Logs {
            stdout: "/srv/out-{slot}.log".into(),
            stderr: "-".into(),
            notices: "/dev/null".into(),
            format: "prefix".to_string(),
            files: vec![LogFile {
                path: "/srv/out-0.log".into(),
                dropped_lines: 3,
                dropped_bytes: 300,
                trouble: Some("no space left on device".to_string()),
            }],
        },
    }
}

fn deployed() -> Deployed {
    Deployed {
        generation: 7,
        time: "2026-01-02T03:04:05.006Z".to_string(),
        by: "boot".to_string(),
        changed: vec!["program".to_string()],
        outcome: Some(Outcome::TimedOut),
        live: true,
        message: "deploy 7 is live".to_string(),
        took: Duration::from_millis(1),
    }
}

fn event() -> Event {
    Event {
        event: "worker-online".to_string(),
        time: "2026-01-02T03:04:05.006Z".to_string(),
        message: "worker 0 (pid 5) online after 1s".to_string(),
        counts: Counts { workers: 2, starting: 1, online: 1, retiring: 0 },
        fields: serde_json::Map::new(),
    }
}

#[test]
fn the_document_has_the_routes_that_there_are() {
    let described: BTreeSet<(String, String)> = document()["paths"]
        .as_object()
        .expect("it is an object")
        .iter()
        .flat_map(|(path, methods)| names(methods).into_iter().map(move |method| (path.clone(), method)))
        .collect();
    let method = |kind: &Kind| match kind {
        Kind::Question(_) => "get",
        Kind::Order(_) => "post",
    };
    let there = ROUTES.iter().map(|route| (route.path.to_string(), method(&route.kind).to_string()));
    assert_eq!(described, there.collect());
}

#[test]
fn every_answer_has_the_fields_that_the_document_says() {
    let document = document();
    for outcome in [Outcome::Done, Outcome::Failed, Outcome::Refused, Outcome::Aborted, Outcome::TimedOut] {
        let message = "done".to_string();
        let stderr = vec!["no database".to_string()];
        let answer = Answer { outcome, exit_code: outcome.exit_code(), message, generation: Some(7), stderr };
        assert_described(&document, "Answer", &answer);
        assert_described(&document, "Answer", &Answer { generation: None, ..answer });
    }
    assert_described(&document, "Status", &status());
    let without = Status { generation: None, deploy: None, workers: vec![], listeners: vec![], ..status() };
    assert_described(&document, "Status", &without);
    assert_described(&document, "History", &History { deploys: vec![deployed()] });
    let under_way = Deployed { outcome: None, message: String::new(), ..deployed() };
    assert_described(&document, "History", &History { deploys: vec![under_way] });
    assert_described(&document, "Event", &event());
    let parts = [
        ("Worker", json!(&status().workers[0])),
        ("Waiting", json!(&status().waiting[0])),
        ("Deploying", json!(&status().deploy)),
        ("Listener", json!(&status().listeners[0])),
        ("Logs", json!(&status().logs)),
        ("LogFile", json!(&status().logs.files[0])),
        ("Deployed", json!(deployed())),
        ("Counts", json!(event().counts)),
    ];
    for (name, part) in parts {
        assert_eq!(names(&part), names(&schema(&document, name)["properties"]), "{name}");
        assert_eq!(faults(&document, schema(&document, name), &part), [""; 0], "{name}");
    }
}

#[test]
fn what_is_written_is_read_and_what_is_not_known_is_ignored() {
    let mut status = status();
    assert_eq!(read(&write(&status)), Ok(status.clone()));
    status.workers[0] = Worker {
        rss_bytes: None,
        cpu: None,
        last_failure: None,
        failed_ago: None,
        ..status.workers[0].clone()
    };
    assert_eq!(read(&write(&status)), Ok(status));
    let history = History { deploys: vec![deployed()] };
    assert_eq!(read(&write(&history)), Ok(history));
    let answer =
        br#"{"schema":1,"outcome":"timed-out","exit_code":4,"message":"m","generation":null,"new":{}}"#;
    let read_back: Answer = read(answer).expect("it is an answer");
    assert_eq!((read_back.outcome, read_back.generation), (Outcome::TimedOut, None));
    assert!(read::<Answer>(b"{\"schema\":1}").is_err());
    let mut with_fields = event();
    with_fields.fields.insert("slot".to_string(), json!(3));
    assert_eq!(Event::read(&write(&with_fields)), Ok(with_fields));
}

/// How a body is answered by the routes.
fn asked(path: &str, body: &Value) -> Result<Question, String> {
    let form = Form { keep: true, chunks: true, head_only: false };
    let (method, path) = ("POST".to_string(), path.to_string());
    let body = serde_json::to_vec(body).expect("it is JSON");
    question(Door::Control, &Request { method, path, body, form }).map_err(|refusal| refusal.message)
}

#[test]
fn every_example_of_a_body_is_understood() {
    let document = document();
    let mut count = 0;
    for (path, methods) in document["paths"].as_object().expect("it is an object") {
        let Some(content) = methods.pointer("/post/requestBody/content/application~1json") else { continue };
        for (name, example) in content["examples"].as_object().expect("each order has examples") {
            let body = &example["value"];
            assert_eq!(faults(&document, &content["schema"], body), [""; 0], "{path} {name}");
            asked(path, body).unwrap_or_else(|message| panic!("{path} {name}: {message}"));
            count += 1;
        }
    }
    assert!(count >= 12, "only {count} examples");
}

/// Each is wrong by the document, and to the routes.
#[test]
fn what_the_document_does_not_allow_is_refused() {
    let document = document();
    for (path, name, body) in [
        ("/deploy", "Deploy", json!({ "timeout": 1 })),
        ("/deploy", "Deploy", json!({ "workers": 0 })),
        ("/deploy", "Deploy", json!({ "workers": 65536 })),
        ("/deploy", "Deploy", json!({ "workers": null })),
        ("/deploy", "Deploy", json!({ "surge": 0 })),
        ("/deploy", "Deploy", json!({ "timeout_ms": 0 })),
        ("/deploy", "Deploy", json!({ "bake_ms": 31536000001_u64 })),
        ("/deploy", "Deploy", json!({ "program": [] })),
        ("/deploy", "Deploy", json!({ "program": [""] })),
        ("/deploy", "Deploy", json!({ "program": [1] })),
        ("/deploy", "Deploy", json!({ "environment": { "A": 1 } })),
        ("/deploy", "Deploy", json!({ "environment": [["A"]] })),
        ("/deploy", "Deploy", json!({ "environment": [["A", "1", "2"]] })),
        ("/rollback", "Rollback", json!({ "program": ["a"] })),
        ("/abort", "Abort", json!({ "now": true })),
        ("/scale", "Scale", json!({})),
        ("/scale", "Scale", json!({ "to": 1, "by": 1 })),
        ("/scale", "Scale", json!({ "by": 65536 })),
        ("/stop", "Stop", json!({ "now": true, "timeout_ms": 1 })),
        ("/stop", "Stop", json!({ "now": 1 })),
        ("/signal", "Signal", json!({})),
        ("/signal", "Signal", json!({ "signal": "" })),
        ("/signal", "Signal", json!({ "signal": "TERM", "slot": 65535 })),
    ] {
        assert!(!faults(&document, schema(&document, name), &body).is_empty(), "the document allows {body}");
        assert!(asked(path, &body).is_err(), "{path} takes {body}");
    }
}

/// The pattern of names that no variable may have, against the code's own list.
#[test]
fn the_document_names_the_variables_that_are_reserved() {
    let document = document();
    let pointer = "/components/schemas/Deploy/properties/environment/oneOf/0/propertyNames/not/pattern";
    let pattern = text(document.pointer(pointer).expect("it is there"));
    let names = pattern.trim_start_matches("^(").trim_end_matches(")$").split('|');
    let mut count = 0;
    for name in names {
        let name = name.replace(".*", "0");
        assert!(crate::environment::is_reserved(name.as_ref()), "{name}");
        count += 1;
    }
    assert_eq!(count, crate::environment::RESERVED_COUNT);
}

/// Each name that the pattern of a signal has, against the code's own list.
#[test]
fn the_document_names_the_signals_that_there_are() {
    let pattern = text(&schema(&document(), "Signal")["properties"]["signal"]["pattern"]);
    let names = pattern.trim_start_matches("^(?:(?:SIG)?(?:").split(')').next().expect("they end");
    let names: Vec<i32> = names.split('|').filter_map(crate::signal_names::signal_number).collect();
    assert_eq!(names, (1..=31).collect::<Vec<i32>>());
    for number in ["0", "65"] {
        assert_eq!(crate::signal_names::signal_number(number), None);
    }
}

#[test]
fn the_rules_name_every_route() {
    let rules = include_str!("../../../protocol/control.md");
    for route in &ROUTES {
        assert!(rules.contains(&format!("`{} {}`", route.kind.method(), route.path)), "{}", route.path);
    }
}
