//! An application of axum, with the half second in which clients let go of their connections.

// A program of its own has its copy beside it: `mod srvwrap;`.
#[path = "../../../clients/rust/srvwrap.rs"]
mod srvwrap;

use std::env;
use std::future::{pending, ready, Ready};
use std::io::Result;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use axum::http::{header::CONNECTION, HeaderValue};
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::get;
use axum::serve::Listener;
use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let (tell, told) = watch::channel(false);
    thread::spawn(srvwrap::on_shutdown(move || {
        tell.send_replace(true);
    })?);
    let listener = std::net::TcpListener::from(srvwrap::listeners()?.remove(0));
    listener.set_nonblocking(true)?;
    let listener = UntilTold { listener: TcpListener::from_std(listener)?, told: told.clone() };
    srvwrap::online()?;
    axum::serve(listener, application().layer(map_response(close_once(told.clone()))))
        .with_graceful_shutdown(after_the_drain(told))
        .await
}

fn application() -> Router {
    let told = |name: &str| env::var(name).unwrap_or_default();
    let body = format!("{} {} {}\n", std::process::id(), told("SRVWRAP_SLOT"), told("SRVWRAP_GENERATION"));
    let slow = body.clone();
    Router::new().route("/", get(|| ready(body))).route(
        "/slow",
        get(|| async {
            sleep(Duration::from_millis(300)).await;
            slow
        }),
    )
}

/// axum would cut a connection that it has accepted and not read from when it is told.
struct UntilTold {
    listener: TcpListener,
    told: watch::Receiver<bool>,
}

impl Listener for UntilTold {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        tokio::select! {
            biased;
            () = until(&mut self.told) => pending().await,
            accepted = Listener::accept(&mut self.listener) => accepted,
        }
    }

    fn local_addr(&self) -> Result<SocketAddr> {
        self.listener.local_addr()
    }
}

fn close_once(told: watch::Receiver<bool>) -> impl Fn(Response) -> Ready<Response> + Clone {
    move |mut response| {
        if *told.borrow() {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        ready(response)
    }
}

async fn after_the_drain(mut told: watch::Receiver<bool>) {
    until(&mut told).await;
    sleep(Duration::from_millis(500)).await;
}

async fn until(told: &mut watch::Receiver<bool>) {
    let _ = told.wait_for(|told| *told).await;
}
