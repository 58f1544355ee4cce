//! Servers that others have written, unmodified, each handed its sockets in the way that it knows.
//!
//! | server | is handed the socket by | says that it is ready by |
//! |---|---|---|
//! | gunicorn | `--bind fd://{fd}`; `LISTEN_FDS` | its application |
//! | uvicorn | `--fd {fd}` | its application |
//! | puma | `LISTEN_FDS` and a `-b` of the same address | its application |
//! | Go's go-systemd | `LISTEN_FDS` | nothing |
//! | Rust's listenfd | `LISTEN_FDS` | the notice fd |
//! | Starlet | Server::Starter | its application |
//! | nginx | `NGINX` | nothing |
//! | php-cgi | fd 0 | nothing |
//! | php-fpm | `FPM_SOCKETS`, from a line of shell | `READY=1` |
//! | Java | fd 0 | nothing |
//!
//! Two workers are replaced twice under load, and not one request is lost (but see uvicorn). The clients take a new
//! connection for each request: most of these servers cut idle connections at once when they stop, which loses requests
//! whoever supervises them.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use crate::harness::http::{Target, Trouble};
use crate::harness::load::{Failure, Load};
use crate::harness::{Starting, consumers, examples, require, srvwrap};

/// With two workers on a free port.
fn serving(words: &[&str]) -> Starting {
    srvwrap(["-n", "2", "-p", "127.0.0.1:0"].iter().chain(words)).env("PYTHONDONTWRITEBYTECODE", "1")
}

fn loses_nothing(starting: Starting) {
    assert_eq!(failures_in_deploys(starting), []);
}

fn failures_in_deploys(starting: Starting) -> Vec<Failure> {
    let mut srvwrap = starting.online();
    let load = Load::of_new_connections(&Target::Port(srvwrap.port()));
    let (report, _) = load.through_deploys(srvwrap, 2);
    report.failures
}

/// The notice fd is inherited by gunicorn's own workers, one of which loads this.
const PYTHON: &str = r#"
import os
body = f"{os.getpid()} {os.environ['SRVWRAP_SLOT']} {os.environ['SRVWRAP_GENERATION']}\n".encode()
length = str(len(body))
os.write(int(os.environ["NOTIFY_FD"]), b"online\n")

def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Length", length)])
    return [body]

async def asgi(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length.encode())]})
    await send({"type": "http.response.body", "body": body})
"#;

#[test]
fn gunicorn_on_a_descriptor_loses_nothing() {
    let Some(programs) = consumers::python_servers() else { return };
    let gunicorn = programs.join("gunicorn");
    let words = [gunicorn.to_str().expect("a path"), "--bind", "fd://{fd}", "app:wsgi"];
    loses_nothing(serving(&words).file("app.py", PYTHON));
}

#[test]
fn gunicorn_that_is_socket_activated_loses_nothing() {
    let Some(programs) = consumers::python_servers() else { return };
    let gunicorn = programs.join("gunicorn");
    let words = ["--protocol", "systemd", gunicorn.to_str().expect("a path"), "app:wsgi"];
    loses_nothing(serving(&words).file("app.py", PYTHON));
}

/// At its end uvicorn closes what it has accepted and not read from yet, whoever has started it: on a busy machine that
/// is a connection now and then.
#[test]
fn uvicorn_on_a_descriptor_loses_nothing_but_what_it_has_accepted_and_not_read() {
    let Some(programs) = consumers::python_servers() else { return };
    let uvicorn = programs.join("uvicorn");
    let words = [uvicorn.to_str().expect("a path"), "--lifespan", "off", "--fd", "{fd}", "app:asgi"];
    let failures = failures_in_deploys(serving(&words).file("app.py", PYTHON));
    assert!(failures.len() <= 4, "{failures:?}");
    assert!(failures.iter().all(|failure| failure.trouble == Trouble::Reset), "{failures:?}");
}

const RUBY: &str = r##"
body = "#{Process.pid} #{ENV['SRVWRAP_SLOT']} #{ENV['SRVWRAP_GENERATION']}\n"
IO.for_fd(Integer(ENV['NOTIFY_FD']), 'w', autoclose: false).syswrite("online\n")
run ->(_) { [200, { 'content-length' => body.length.to_s }, [body]] }
"##;

/// Puma takes a socket that it was handed for the one that its configuration names.
#[test]
fn puma_that_is_socket_activated_loses_nothing() {
    if !require::program("puma") {
        return;
    }
    let words = ["--protocol", "systemd", "puma", "-b", "tcp://127.0.0.1:{port}", "config.ru"];
    loses_nothing(serving(&words).file("config.ru", RUBY));
}

const GO: &str = r#"
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/coreos/go-systemd/activation"
)

func main() {
	listeners, err := activation.Listeners()
	if err != nil || len(listeners) != 1 {
		panic(fmt.Sprint(listeners, err))
	}
	answer := func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, os.Getpid(), os.Getenv("SRVWRAP_SLOT"), os.Getenv("SRVWRAP_GENERATION"))
	}
	server := &http.Server{Handler: http.HandlerFunc(answer)}
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM)
	finished := make(chan error)
	go func() {
		<-told
		finished <- server.Shutdown(context.Background())
	}()
	server.Serve(listeners[0])
	<-finished
}
"#;

#[test]
fn a_program_in_go_that_is_socket_activated_loses_nothing() {
    let Some(program) = consumers::go(GO) else { return };
    let program = program.to_str().expect("a path");
    loses_nothing(serving(&["--protocol", "systemd", "--ready", "after=500ms", program]));
}

const RUST: &str = r#"
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, FromRawFd};

fn main() {
    let listener = listenfd::ListenFd::from_env().take_tcp_listener(0).unwrap().expect("a listener");
    listener.set_nonblocking(true).unwrap();
    let told = |name: &str| std::env::var(name).unwrap();
    let number = told("NOTIFY_FD").parse().unwrap();
    let mut notice = unsafe { std::fs::File::from_raw_fd(number) };
    let body = format!("{} {} {}\n", std::process::id(), told("SRVWRAP_SLOT"), told("SRVWRAP_GENERATION"));
    notice.write_all(b"online\n").unwrap();
    let waited_for = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let mut both = [waited_for(listener.as_raw_fd()), waited_for(number)];
    while both[1].revents == 0 {
        unsafe { libc::poll(both.as_mut_ptr(), 2, -1) };
        while let Ok((stream, _)) = listener.accept() {
            answer(stream, &body);
        }
    }
}

fn answer(mut stream: TcpStream, body: &str) {
    stream.set_nonblocking(false).unwrap();
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(count) => request.extend(&buffer[..count]),
        }
    }
    let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    let _ = stream.write_all((head + body).as_bytes());
}
"#;

/// It does not handle TERM, and reads the line instead.
#[test]
fn a_program_in_rust_with_listenfd_loses_nothing() {
    let Some(program) = consumers::rust(RUST) else { return };
    let program = program.to_str().expect("a path");
    loses_nothing(serving(&["--protocol", "systemd", "--stop-signal", "none", program]));
}

const PERL: &str = r#"
use strict;
open(my $notice, '>&=', $ENV{NOTIFY_FD}) or die $!;
syswrite($notice, "online\n");
sub {
    my $body = "$$ $ENV{SRVWRAP_SLOT} $ENV{SRVWRAP_GENERATION}\n";
    [200, ['Content-Length' => length $body], [$body]];
};
"#;

#[test]
fn a_perl_server_that_knows_server_starter_loses_nothing() {
    if !require::program("plackup") || !consumers::perl(&["Starlet", "Server::Starter"]) {
        return;
    }
    let words =
        ["--protocol", "server-starter", "plackup", "-s", "Starlet", "--max-workers", "2", "app.psgi"];
    loses_nothing(serving(&words).file("app.psgi", PERL));
}

/// It dies of a client that is not of IPv4, whoever has bound the socket.
#[test]
fn a_port_of_every_address_is_doubted_under_server_starter() {
    let program = ["--protocol", "server-starter", "sh", "-c", "echo online >&3; exec sleep 1000"];
    for (address, doubted) in [("0", true), ("[::1]:0", true), ("0.0.0.0:0", false), ("unix:app.sock", false)]
    {
        let srvwrap = srvwrap(["-p", address].iter().chain(&program)).online();
        let log = srvwrap.stop();
        assert_eq!(log.contains(" is a socket of IPv6: a server that knows IPv4 only"), doubted, "{log}");
    }
}

/// The variable is meant for an upgrade of nginx itself, and its numbers for what `listen` names.
const NGINX: &str = r#"#!/bin/sh
cat >"$$.conf" <<END
daemon off;
worker_processes 1;
pid $$.pid;
error_log stderr;
events {}
http {
    access_log off;
    client_body_temp_path temporary-$$-1;
    proxy_temp_path temporary-$$-2;
    fastcgi_temp_path temporary-$$-3;
    uwsgi_temp_path temporary-$$-4;
    scgi_temp_path temporary-$$-5;
    server {
        listen 127.0.0.1:$PORT;
        return 200 "$$ $SRVWRAP_SLOT $SRVWRAP_GENERATION";
    }
}
END
NGINX="$LISTEN_FD;" exec nginx -p "$PWD" -e stderr -c "$$.conf"
"#;

/// QUIT is its word for an end without loss.
#[test]
fn nginx_on_an_inherited_socket_loses_nothing() {
    if !require::program("nginx") {
        return;
    }
    let words = ["--ready", "after=500ms", "--stop-signal", "QUIT", "./nginx.sh"];
    loses_nothing(serving(&words).file("nginx.sh", NGINX));
}

const JAVA: &str = r#"
import java.io.*;
import java.nio.ByteBuffer;
import java.nio.channels.*;

public class Server {
    static volatile boolean told = false;

    public static void main(String[] arguments) throws Exception {
        ServerSocketChannel listener = (ServerSocketChannel) System.inheritedChannel();
        listener.configureBlocking(false);
        Selector selector = Selector.open();
        listener.register(selector, SelectionKey.OP_ACCEPT);
        sun.misc.Signal.handle(new sun.misc.Signal("TERM"), signal -> { told = true; selector.wakeup(); });
        String body = ProcessHandle.current().pid() + " " + System.getenv("SRVWRAP_SLOT") + " " + System.getenv("SRVWRAP_GENERATION");
        String head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: " + body.length() + "\r\n\r\n";
        while (!told) {
            selector.select();
            selector.selectedKeys().clear();
            for (SocketChannel client; (client = listener.accept()) != null; client.close()) {
                BufferedReader request = new BufferedReader(new InputStreamReader(client.socket().getInputStream()));
                for (String line; (line = request.readLine()) != null && !line.isEmpty(); );
                client.write(ByteBuffer.wrap((head + body).getBytes()));
            }
        }
        System.exit(0);
    }
}
"#;

/// A program that is not compiled takes a second or two to get ready; connections wait for it.
#[test]
fn java_on_its_inherited_channel_loses_nothing() {
    if !require::program("java") {
        return;
    }
    let words = ["--protocol", "stdin", "--ready", "after=2s", "java", "Server.java"];
    loses_nothing(serving(&words).file("Server.java", JAVA));
}

const PHP: &str = r#"<?php echo getmypid(), ' ', getenv('SRVWRAP_SLOT'), ' ', getenv('SRVWRAP_GENERATION');"#;

#[test]
fn php_on_fd_0_loses_nothing() {
    let Some(python) = examples::python_itself().filter(|_| require::program("php-cgi")) else { return };
    let words = ["--protocol", "stdin", "--ready", "after=500ms", "php-cgi"];
    fastcgi_loses_nothing(&python, serving(&words));
}

/// `FPM_SOCKETS` is meant for an upgrade of php-fpm itself. Without `process_control_timeout` its QUIT waits for no
/// answer that is under way.
const PHP_FPM: &str = r#"cat >"$$.conf" <<END
[global]
pid = $PWD/$$.pid
error_log = /dev/stderr
process_control_timeout = 20
[www]
listen = 127.0.0.1:$PORT
pm = static
pm.max_children = 2
clear_env = no
END
FPM_SOCKETS="127.0.0.1:$PORT=$LISTEN_FD" exec "$0" --nodaemonize --allow-to-run-as-root --fpm-config "$$.conf"
"#;

/// QUIT is its word for an end without loss.
#[test]
fn php_fpm_on_an_inherited_socket_loses_nothing() {
    let (Some(fpm), Some(python)) = (consumers::php_fpm(), examples::python_itself()) else { return };
    let fpm = fpm.to_str().expect("a path");
    let words = ["--protocol", "systemd", "--stop-signal", "QUIT", "sh", "-c", PHP_FPM, fpm];
    fastcgi_loses_nothing(&python, serving(&words));
}

/// Its clients speak FastCGI too.
fn fastcgi_loses_nothing(python: &std::ffi::OsStr, starting: Starting) {
    let mut srvwrap = starting.file("answer.php", PHP).online();
    let mut clients = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fastcgi.py"))
        .arg(srvwrap.port().to_string())
        .arg(srvwrap.path().join("answer.php"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python can be started");
    let mut lines = BufReader::new(clients.stdout.take().expect("piped")).lines().map_while(Result::ok);
    let mut answered_by = |generation: u32| {
        let end = format!(" {generation}");
        for line in lines.by_ref() {
            assert!(line.starts_with("answer "), "{line}");
            if line.ends_with(&end) {
                return;
            }
        }
        panic!("the clients have ended");
    };
    answered_by(1);
    for generation in [2, 3] {
        srvwrap.signal(Signal::SIGHUP);
        srvwrap.wait_for(&format!("deploy {generation} done"));
        answered_by(generation);
    }
    drop(clients.stdin.take());
    for line in lines {
        assert!(line.starts_with("answer "), "{line}");
    }
    assert!(clients.wait().expect("our child").success());
    let log = srvwrap.stop();
    assert!(!log.contains("killed"), "{log}");
}
