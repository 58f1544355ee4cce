//! Which variables may be set, and that an error keeps their values to itself.

use std::ffi::OsString;

use crate::cli::{self, Command, UsageError};
use crate::config::tests::surroundings;
use crate::config::{Call, Config};

fn run(line: &[&str]) -> Result<Config, UsageError> {
    let words: Vec<OsString> = line.iter().chain(&["x"]).map(OsString::from).collect();
    match cli::parse(&words)? {
        Command::Typed(typed) => Config::from_typed(&typed, &surroundings()),
        command @ (Command::Help(_) | Command::Version) => panic!("{line:?} gives {command:?}"),
    }
}

fn error(line: &[&str]) -> String {
    run(line).expect_err("a line that is refused").to_string()
}

fn deploy_error(line: &[&str]) -> String {
    let words: Vec<OsString> = ["deploy"].iter().chain(line).map(OsString::from).collect();
    match cli::parse(&words) {
        Ok(Command::Typed(typed)) => {
            Call::from_typed(*typed, &surroundings()).expect_err("a line that is refused").to_string()
        }
        parsed => panic!("{line:?} gives {parsed:?}"),
    }
}

#[test]
fn variables_keep_their_order_and_all_behind_the_first_equals_sign() {
    let environment =
        run(&["--env", "B=2=3", "--env=A=", "--env", "PORT=80"]).expect("a right line").environment;
    let expected = [("B", "2=3"), ("A", ""), ("PORT", "80")];
    assert_eq!(environment, expected.map(|(name, value)| (OsString::from(name), OsString::from(value))));
}

#[test]
fn a_variable_that_would_not_reach_a_worker_is_refused() {
    for (variable, shown) in [
        ("NOTIFY_FD=1", "NOTIFY_FD"),
        ("LISTEN_FD_HTTP=secret", "LISTEN_FD_HTTP"),
        ("LISTEN_PID=1", "LISTEN_PID"),
        ("SRVWRAP_SLOT=1", "SRVWRAP_SLOT"),
    ] {
        let problem =
            format!("--env {shown}: this variable is set by srvwrap, or kept from the workers; leave it out");
        assert_eq!(error(&["--env", variable]), problem);
        assert_eq!(deploy_error(&["--env", variable]), problem);
    }
    assert_eq!(error(&["--env", "PWD=/"]), "--env PWD: it is the directory of the workers; give --cwd");
    assert_eq!(
        error(&["--env", "PORT=80", "-p", "0"]),
        "--env PORT: workers get the port of the first socket in it; leave it or -p out"
    );
    assert_eq!(
        deploy_error(&["--unset", "NOTIFY_FD"]),
        "--unset NOTIFY_FD: this variable is set by srvwrap, or kept from the workers; leave it out"
    );
}

#[test]
fn what_is_no_variable_is_told_what_one_is() {
    assert_eq!(error(&["--env", "A"]), "--env A: its value is missing; give NAME=VALUE");
    assert_eq!(error(&["--env", "=secret"]), "--env \"\": its name is missing; give NAME=VALUE");
    assert_eq!(error(&["--env", "A=secret", "--env", "A=b"]), "--env A: given twice; give it once");
    assert_eq!(
        deploy_error(&["--unset", "A=b"]),
        "--unset A=b: a name holds no =; give the name of a variable"
    );
    assert_eq!(
        deploy_error(&["--env", "A=secret", "--unset", "A"]),
        "--unset A: --env sets it; give only one of them"
    );
}
