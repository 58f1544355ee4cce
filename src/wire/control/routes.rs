//! What can be asked for, and where: the one table of routes.
//!
//! ```text
//!   Request { method, path, body } ──> question() ──> Question, or the Refusal that says what to change
//! ```
//!
//! A closed list: no word of a client names a file, a program or a function. What it does not do: answer.

use super::http::{Refusal, Request};
use super::message::{Order, Question};
use super::request;

/// One thing that can be asked for.
pub(crate) struct Route {
    pub(crate) path: &'static str,
    pub(crate) kind: Kind,
}

pub(crate) enum Kind {
    /// Tells something; by GET or HEAD. Its body, should it have one, is not looked at.
    Question(Question),
    /// Changes something; by POST. Reads the body.
    Order(fn(&[u8]) -> Result<Order, String>),
}

pub(crate) static ROUTES: [Route; 12] = [
    Route { path: "/status", kind: Kind::Question(Question::Status) },
    Route { path: "/events", kind: Kind::Question(Question::Events) },
    Route { path: "/history", kind: Kind::Question(Question::History) },
    Route { path: LIVEZ, kind: Kind::Question(Question::Livez) },
    Route { path: READYZ, kind: Kind::Question(Question::Readyz) },
    Route { path: "/deploy", kind: Kind::Order(request::deploy) },
    Route { path: "/rollback", kind: Kind::Order(request::rollback) },
    Route { path: "/abort", kind: Kind::Order(request::abort) },
    Route { path: "/scale", kind: Kind::Order(request::scale) },
    Route { path: "/stop", kind: Kind::Order(request::stop) },
    Route { path: "/signal", kind: Kind::Order(request::signal) },
    Route { path: "/reopen", kind: Kind::Order(request::reopen) },
];

const LIVEZ: &str = "/livez";
const READYZ: &str = "/readyz";

/// Where these routes are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// All of them: to the owner and root.
    Control,
    /// To anybody, `/livez` and `/readyz`.
    Health,
}

/// What a request asks for.
pub(crate) fn question(door: Door, request: &Request) -> Result<Question, Refusal> {
    let open = |route: &&Route| door == Door::Control || [LIVEZ, READYZ].contains(&route.path);
    let Some(route) = ROUTES.iter().filter(open).find(|route| route.path == request.path) else {
        let paths: Vec<&str> = ROUTES.iter().filter(open).map(|route| route.path).collect();
        return Err(Refusal::new(404, format!("there is nothing here, but at {}", paths.join(", "))));
    };
    match (&route.kind, request.method.as_str()) {
        (Kind::Question(question), "GET" | "HEAD") => Ok(question.clone()),
        (Kind::Order(read), "POST") => {
            read(&request.body).map(Question::Order).map_err(|why| Refusal::new(400, why))
        }
        (Kind::Question(_) | Kind::Order(_), _) => {
            let allow = route.kind.allow();
            let message = format!("{} takes {}", route.path, allow.replace(", ", " or "));
            Err(Refusal { allow: Some(allow), ..Refusal::new(405, message) })
        }
    }
}

impl Kind {
    #[cfg(test)]
    pub(super) fn method(&self) -> &'static str {
        match self {
            Kind::Question(_) => "GET",
            Kind::Order(_) => "POST",
        }
    }

    fn allow(&self) -> &'static str {
        match self {
            Kind::Question(_) => "GET, HEAD",
            Kind::Order(_) => "POST",
        }
    }
}

#[cfg(test)]
mod tests;
