//! Servers of Ruby and Perl that others have written, with the files of `clients/`: replaced again and again under
//! load, of kept connections too, and not one request is lost.
//!
//! ```text
//!   4 clients   { keep-alive, a connection per request } x 2
//!       │ GET
//!   srvwrap     five deploys, and a stop
//! ```
//!
//! What these servers do with a listener on their own is in `consumers.rs`, without a client file and without
//! connections that are kept.

use std::path::PathBuf;

use crate::harness::http::Target;
use crate::harness::load::Load;
use crate::harness::{Starting, consumers, examples, require, srvwrap};

const DEPLOYS: u32 = 5;

/// The words, in a directory that holds the client file.
fn serving(words: &[&str], client: &str) -> Starting {
    let file = examples::client(client);
    let text = std::fs::read_to_string(&file).expect("it is there");
    let name = PathBuf::from(file.file_name().expect("a file"));
    srvwrap(["-n", "2", "-p", "127.0.0.1:0"].iter().chain(words))
        .file(name.to_str().expect("a name of ours"), &text)
}

fn loses_nothing(starting: Starting) {
    let mut srvwrap = starting.online();
    let load = Load::begin(&[Target::Port(srvwrap.port())]);
    let (report, _) = load.through_deploys(srvwrap, DEPLOYS);
    assert_eq!(report.failures, [], "of {} requests", report.answers);
}

/// Its master loads the application and forks. QUIT is its word for an end without loss; it keeps no connection, and
/// says so in each answer.
const UNICORN: &str = "
require_relative 'srvwrap'

worker_processes 2
preload_app true
after_fork { |_server, _worker| Srvwrap.online }
";

const RACK: &str = r##"
body = "#{Process.pid} #{ENV['SRVWRAP_SLOT']} #{ENV['SRVWRAP_GENERATION']}\n"
run(lambda do |env|
  sleep 0.3 if env['PATH_INFO'] == '/slow'
  [200, { 'content-length' => body.length.to_s }, [body]]
end)
"##;

#[test]
fn unicorn_with_the_ruby_client_loses_nothing() {
    if !require::program("unicorn") {
        return;
    }
    let words = ["--protocol", "systemd", "--stop-signal", "QUIT"];
    let program = ["unicorn", "-c", "unicorn.rb", "-l", "127.0.0.1:{port}", "config.ru"];
    let starting = serving(&[&words[..], &program].concat(), "ruby/srvwrap.rb");
    loses_nothing(starting.file("unicorn.rb", UNICORN).file("config.ru", RACK));
}

/// Its own server, with what it has for an end: a last answer for each connection, and no more of them.
const MOJOLICIOUS: &str = r#"
use Mojolicious::Lite -signatures;
use lib '.';
use Srvwrap;

app->hook(before_server_start => sub ($server, $app) {
    my $notice = Srvwrap::on_shutdown(sub {
        $server->max_requests(1);
        Mojo::IOLoop->stop_gracefully;
    });
    Mojo::IOLoop->singleton->reactor->io($notice => sub { })->watch($notice, 1, 0) if $notice;
    Srvwrap::online();
});

my $body = "$$ $ENV{SRVWRAP_SLOT} $ENV{SRVWRAP_GENERATION}\n";
get '/' => sub ($c) { $c->render(text => $body) };
get '/slow' => sub ($c) {
    $c->render_later;
    Mojo::IOLoop->timer(0.3 => sub { $c->render(text => $body) });
};

app->start;
"#;

#[test]
fn mojolicious_with_the_perl_client_loses_nothing() {
    if !require::program("perl") || !consumers::perl(&["Mojolicious"]) {
        return;
    }
    let words = ["perl", "app.pl", "daemon", "-l", "http://127.0.0.1?fd={fd}"];
    loses_nothing(serving(&words, "perl/Srvwrap.pm").file("app.pl", MOJOLICIOUS));
}
