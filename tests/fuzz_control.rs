//! Sends the control socket what `protocol/openapi.json` allows, and what it does not, by the hundred.
//!
//! ```text
//!   schema of a route ──> right()  ──> a request that the document allows ──> done, or not, as the document lists it
//!                    └──> wrongs() ──> requests that it does not allow    ──> 400, and nothing is done
//! ```
//!
//! Seeds are fixed, so that what fails fails again. `tests/fuzz_control.py` does the same at length, with a fuzzer that
//! knows all of JSON Schema. What this module does not do: send what is no HTTP (`control_limits.rs`).

use std::fs;

use nix::sys::resource::{Resource, setrlimit};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Map, Value, json};

use crate::harness::control::{Raw, Response};
use crate::harness::{Srvwrap, before_exec, is_alive, srvwrap, wait_until};

const SERVING: [&str; 3] = ["/bin/sh", "-c", "echo online >&3; exec sleep 1000"];
/// So many right requests for each order.
const RIGHT_ONES: usize = 40;
/// So many right bodies that are made wrong in every way, for each order.
const BASES: usize = 6;

/// With few descriptors, so that 65535 workers are a failure, and not the end of the machine.
fn serving() -> Srvwrap {
    let options = ["--stop-timeout", "1s", "-n", "2"];
    let starting = srvwrap(options.into_iter().chain(SERVING));
    let few = || Ok(setrlimit(Resource::RLIMIT_NOFILE, 256, 256)?);
    starting.with(|command| before_exec(command, few)).online()
}

struct Document(Value);

impl Document {
    fn read() -> Document {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/protocol/openapi.json");
        Document(serde_json::from_slice(&fs::read(path).unwrap()).unwrap())
    }

    /// Path, method and operation.
    fn operations(&self) -> impl Iterator<Item = (&str, &str, &Value)> {
        let paths = self.0["paths"].as_object().unwrap().iter();
        paths.flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap().iter();
            methods.map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
        })
    }

    /// The orders: path, and the schema of the body.
    fn orders(&self) -> Vec<(&str, &Value)> {
        let orders = self.operations().filter(|(_, method, _)| *method == "post");
        orders
            .map(|(path, _, one)| (path, &one["requestBody"]["content"]["application/json"]["schema"]))
            .collect()
    }

    /// Itself, or what it refers to.
    fn resolved<'d>(&'d self, schema: &'d Value) -> &'d Value {
        match schema["$ref"].as_str() {
            Some(pointer) => self.0.pointer(pointer.trim_start_matches('#')).unwrap(),
            None => schema,
        }
    }

    /// Whether the document lists the status for this operation, and the body is what it says.
    fn assert_listed(&self, operation: &Value, response: &Response, asked: &str) {
        let responses = &operation["responses"];
        let status = response.status.to_string();
        let listed = match responses.get(&status) {
            Some(listed) => self.resolved(listed),
            None => {
                let others = self.resolved(&responses["default"]);
                let named = others["description"].as_str().unwrap().contains(&status);
                assert!(named, "the document does not list {status}: {asked}: {response:?}");
                others
            }
        };
        let (kind, content) = listed["content"].as_object().unwrap().iter().next().unwrap();
        let told = response.head.contains(&format!("\r\nContent-Type: {kind}\r\n"));
        assert!(told, "it is no {kind}: {asked}: {response:?}");
        self.assert_fits(&content["schema"], &response.json(), asked);
    }

    /// Types and required fields, all the way down.
    fn assert_fits(&self, schema: &Value, value: &Value, asked: &str) {
        let schema = self.resolved(schema);
        let one_of: Vec<&Value> = schema["oneOf"].as_array().into_iter().flatten().collect();
        let has_type = |schema: &Value| has_type(&self.resolved(schema)["type"], value);
        if !one_of.is_empty() {
            let fitting = one_of.iter().find(|one| has_type(one));
            let fitting = fitting.unwrap_or_else(|| panic!("{asked}: {value} is none of {schema}"));
            return self.assert_fits(fitting, value, asked);
        }
        assert!(has_type(schema), "{asked}: {value} is no {}", schema["type"]);
        for name in schema["required"].as_array().into_iter().flatten() {
            assert!(value.get(name.as_str().unwrap()).is_some(), "{asked}: there is no {name} in {value}");
        }
        for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
            if let Some(value) = value.get(name) {
                self.assert_fits(schema, value, asked);
            }
        }
        for item in value.as_array().into_iter().flatten() {
            self.assert_fits(&schema["items"], item, asked);
        }
    }
}

fn has_type(name: &Value, value: &Value) -> bool {
    match name {
        Value::Array(names) => names.iter().any(|name| has_type(name, value)),
        Value::String(name) => match name.as_str() {
            "integer" => value.is_i64() || value.is_u64(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            "null" => value.is_null(),
            other => panic!("{other} is no type"),
        },
        _ => true,
    }
}

/// Makes values by schemas; the same ones from the same seed.
struct Generator<'d> {
    document: &'d Document,
    runner: TestRunner,
}

impl<'d> Generator<'d> {
    fn new(document: &'d Document, seed: u8) -> Generator<'d> {
        let random = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
        Generator { document, runner: TestRunner::new_with_rng(Config::default(), random) }
    }

    fn one<S: Strategy>(&mut self, strategy: S) -> S::Value {
        strategy.new_tree(&mut self.runner).unwrap().current()
    }

    fn below(&mut self, count: usize) -> usize {
        self.one(0..count)
    }

    /// What the schema allows.
    fn right(&mut self, schema: &'d Value) -> Value {
        let schema = self.document.resolved(schema);
        if let Some(one_of) = schema["oneOf"].as_array() {
            let index = self.below(one_of.len());
            return self.right(&one_of[index]);
        }
        if let Some(value) = schema.get("const") {
            return value.clone();
        }
        match schema["type"].as_str().unwrap() {
            "object" => self.object(schema),
            "array" => self.array(schema),
            "string" => self.text(schema["pattern"].as_str().unwrap()).into(),
            "integer" => self.number(schema).into(),
            "boolean" => self.one(proptest::bool::ANY).into(),
            "null" => Value::Null,
            other => panic!("this test knows no {other}"),
        }
    }

    fn object(&mut self, schema: &'d Value) -> Value {
        let mut object = Map::new();
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
            if !required.contains(&name.as_str().into()) && self.below(3) > 0 {
                continue;
            }
            let value = match name.as_str() {
                // Nothing that a bake of a year would teach.
                "bake_ms" => self.one(0..30_i64).into(),
                // Bytes that fit everywhere: no NUL and no =, and as a directory absolute.
                "base64" => ["Lw==", "L/9h", "L3RtcA=="][self.below(3)].into(),
                _ => self.right(schema),
            };
            object.insert(name.clone(), value);
        }
        if schema["additionalProperties"].is_object() {
            for _ in 0..self.below(4) {
                let name = self.text(schema["propertyNames"]["pattern"].as_str().unwrap());
                object.insert(name, self.right(&schema["additionalProperties"]));
            }
        }
        object.into()
    }

    fn array(&mut self, schema: &'d Value) -> Value {
        let first = schema["prefixItems"].as_array().map_or(&[][..], Vec::as_slice);
        let mut items: Vec<Value> = first.iter().map(|schema| self.right(schema)).collect();
        if schema["items"].is_object() {
            items.extend((0..self.below(4)).map(|_| self.right(&schema["items"])));
        }
        items.into()
    }

    fn text(&mut self, pattern: &str) -> String {
        let pattern = pattern.trim_start_matches('^').trim_end_matches('$');
        self.one(proptest::string::string_regex(pattern).unwrap())
    }

    /// Mostly a small one, now and then an end of the range.
    fn number(&mut self, schema: &Value) -> i64 {
        let (least, most) = (schema["minimum"].as_i64().unwrap(), schema["maximum"].as_i64().unwrap());
        match self.below(10) {
            0 => least,
            1 => most,
            _ => self.one(least.max(-4)..=4.max(least)),
        }
    }

    /// Bodies that the schema does not allow, each for one reason.
    fn wrongs(&mut self, schema: &'d Value) -> Vec<String> {
        let schema = self.document.resolved(schema);
        let right = self.right(schema);
        let changed = |name: &str, value: &Value| {
            let mut body = right.as_object().unwrap().clone();
            body.insert(name.to_string(), value.clone());
            Value::from(body).to_string()
        };
        let mut wrongs: Vec<String> =
            ["[]", "[[]]", "null", "0", "\"deploy\"", "{", "{]", "{\"a\"}", "\u{feff}{}"]
                .map(str::to_string)
                .into();
        wrongs.push(format!("{right}{right}"));
        let text = right.to_string();
        wrongs.push(text[..text.len() - 1].to_string());
        wrongs.push(changed(&self.text("[a-z]{20}"), &json!(1)));
        let alternatives =
            schema["oneOf"].as_array().map_or_else(|| vec![schema], |all| all.iter().collect());
        for (name, schema) in alternatives.iter().flat_map(|one| one["properties"].as_object()).flatten() {
            wrongs.extend(self.wrong_values(schema).iter().map(|value| changed(name, value)));
            let value = self.right(schema);
            wrongs.push(format!("{{\"{name}\":{value},\"{name}\":{value}}}"));
        }
        wrongs
    }

    fn wrong_values(&self, schema: &Value) -> Vec<Value> {
        let schema = self.document.resolved(schema);
        // An environment may be an object, but not of arrays.
        let mut values = vec![json!({ "wrong": [] }), json!(-1.5), json!([[[]]])];
        match schema["type"].as_str() {
            Some("integer") => {
                let (least, most) =
                    (schema["minimum"].as_i64().unwrap(), schema["maximum"].as_i64().unwrap());
                values.extend([
                    json!(least - 1),
                    json!(most + 1),
                    json!("1"),
                    json!(true),
                    json!(1e30),
                    json!(null),
                ]);
            }
            Some("boolean") => values.extend([json!(0), json!("true"), json!(null)]),
            Some("string" | "array") => values.extend([json!(""), json!("\0"), json!([]), json!(null)]),
            Some(_) | None => values.extend([json!("\0"), json!(null), json!({ "base64": 1 })]),
        }
        values
    }
}

/// One connection for many requests; the workers as they were.
fn ask(raw: &mut Raw, path: &str, body: &str) -> (Response, String) {
    (raw.post(path, body), format!("POST {path} {body}"))
}

#[test]
fn what_the_document_does_not_allow_is_refused_and_changes_nothing() {
    let document = Document::read();
    let mut generator = Generator::new(&document, 1);
    let srvwrap = serving();
    let (workers, mut raw) = (srvwrap.children(), Raw::to(&srvwrap));
    let mut count = 0;
    for (path, method, operation) in document.operations() {
        for wrong in ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "get", "DEPLOY"] {
            if wrong.eq_ignore_ascii_case(method) && wrong != "get" || (wrong, method) == ("HEAD", "get") {
                continue;
            }
            let mut other = Raw::to(&srvwrap);
            other.send(format!("{wrong} {path} HTTP/1.0\r\n\r\n"));
            let response = other.response();
            assert_eq!(response.status, 405, "{wrong} {path}: {response:?}");
            assert!(
                response.head.to_ascii_lowercase().contains(&format!("\r\nallow: {method}")),
                "{response:?}"
            );
            if wrong != "HEAD" {
                document.assert_listed(operation, &response, path);
            }
            count += 1;
        }
    }
    for (path, schema) in document.orders() {
        let operation = &document.0["paths"][path]["post"];
        for body in (0..BASES).flat_map(|_| generator.wrongs(schema)).collect::<Vec<_>>() {
            let (response, asked) = ask(&mut raw, path, &body);
            assert_eq!(response.status, 400, "{asked}: {response:?}");
            document.assert_listed(operation, &response, &asked);
            let told = response.json();
            assert_eq!((&told["outcome"], &told["exit_code"]), (&json!("refused"), &json!(2)), "{asked}");
            count += 1;
        }
    }
    assert!(count > 500, "only {count} requests");
    assert_eq!(raw.get("/livez").status, 200);
    assert_eq!(srvwrap.children(), workers, "a worker was touched");
    assert_eq!(raw.get("/history").json()["deploys"].as_array().unwrap().len(), 1);
    srvwrap.stop();
}

#[test]
fn what_the_document_allows_is_answered_as_it_says() {
    let document = Document::read();
    let mut generator = Generator::new(&document, 2);
    let mut srvwrap = serving();
    let mut raw = Raw::to(&srvwrap);
    let orders: Vec<(&str, &Value)> =
        document.orders().into_iter().filter(|(path, _)| *path != "/stop").collect();
    // The routes in turn, since one changes what the next one finds.
    for (path, schema) in std::iter::repeat_n(orders, RIGHT_ONES).flatten() {
        let body = generator.right(schema).to_string();
        let (response, asked) = ask(&mut raw, path, &body);
        assert!([200, 409, 422].contains(&response.status), "{asked}: {response:?}");
        document.assert_listed(&document.0["paths"][path]["post"], &response, &asked);
        for path in ["/status", "/history", "/livez", "/readyz"] {
            let response = raw.get(path);
            document.assert_listed(
                &document.0["paths"][path]["get"],
                &response,
                &format!("{path} after {asked}"),
            );
        }
    }
    let mut follower = Raw::to(&srvwrap);
    follower.follow();
    let body = json!({ "program": SERVING, "directory": "/", "workers": 2 }).to_string();
    let answer = raw.post("/deploy", &body);
    assert_eq!(answer.status, 200, "{answer:?}");
    let event = follower.event_named("deploy-done");
    document.assert_fits(&document.0["components"]["schemas"]["Event"], &event, "GET /events");
    let workers = raw.get("/status").json()["workers"].clone();
    let pids: Vec<i32> =
        workers.as_array().unwrap().iter().map(|worker| worker["pid"].as_i64().unwrap() as i32).collect();
    assert!(pids.len() == 2 && pids.iter().all(|pid| is_alive(*pid)), "{workers}");
    wait_until("nobody lives but the workers", || srvwrap.children() == pids.iter().copied().collect());
    assert!(!srvwrap.has_said("panicked") && !srvwrap.has_said("fault of srvwrap"), "{}", srvwrap.log());
    srvwrap.stop();
}

#[test]
fn every_stop_that_the_document_allows_stops_srvwrap() {
    let document = Document::read();
    let mut generator = Generator::new(&document, 3);
    for _ in 0..6 {
        let mut srvwrap = serving();
        let body = generator.right(&document.0["components"]["schemas"]["Stop"]).to_string();
        let (response, asked) = ask(&mut Raw::to(&srvwrap), "/stop", &body);
        assert_eq!(response.status, 200, "{asked}: {response:?}");
        document.assert_listed(&document.0["paths"]["/stop"]["post"], &response, &asked);
        let code = srvwrap.exit_code();
        assert!(code == 0 || body.contains("\"now\":true"), "{asked}: {code}");
    }
}

/// The rest of the orders would be answered after minutes, if ever: workers had taken every descriptor, and each of
/// those that could not be made was tried all the same.
#[test]
fn more_workers_than_there_is_room_for_fail_soon_and_srvwrap_answers_meanwhile() {
    let srvwrap = serving();
    let orders = [
        ("/scale", r#"{"to": 65535}"#),
        ("/deploy", r#"{"workers": 65535}"#),
        ("/deploy", r#"{"workers": 65535, "surge": 65535}"#),
    ];
    for (path, body) in orders {
        let before = srvwrap.children().len();
        let mut order = Raw::to(&srvwrap);
        order.ask(path, body);
        let mut other = Raw::to(&srvwrap);
        assert_eq!(other.get("/livez").status, 200);
        let answer = order.response();
        assert_eq!(answer.status, 422, "{answer:?}");
        assert!(answer.text("message").contains("too many open files"), "{answer:?}");
        // Where slots were taken over one by one they are not the same.
        wait_until("there are as many workers as before", || srvwrap.children().len() == before);
    }
    srvwrap.stop();
}
