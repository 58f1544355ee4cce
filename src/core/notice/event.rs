//! A notice as a program reads it: a name that stays, and its facts as fields.
//!
//! Names are never used for another meaning; fields may be added. `protocol/control.md` lists them, and a test compares
//! the list with this file. No field holds a value of the environment.

use serde_json::{Map, Value, json};
use std::time::Duration;

use super::{DeployNews, Failure, Fault, Next, Notice, ScaleNews, Who, WorkerNews};
use crate::core::{Ending, Mended};

/// The facts of an event, by name.
pub(crate) type Fields = Map<String, Value>;

impl Notice {
    /// Its stable name, and its facts.
    pub(crate) fn event(&self) -> (&'static str, Fields) {
        match self {
            Notice::Listening { name, address } => {
                ("listening", fields(json!({ "name": name, "address": address })))
            }
            Notice::HealthListening { address } => {
                ("health-listening", fields(json!({ "address": address })))
            }
            Notice::BacklogClamped { limit, wanted } => {
                ("backlog-clamped", fields(json!({ "limit": limit, "wanted": wanted })))
            }
            Notice::PassesNothingOn { program } => {
                ("passes-nothing-on", fields(json!({ "program": program })))
            }
            Notice::Worker { who, news } => worker(who, news),
            Notice::WorkerFailed { failure, next, untold } => {
                let more = json!({ "untold": untold, "retry_in_ms": retry_in(*next) });
                ("worker-failed", merged(failed(failure), more))
            }
            Notice::BootFailed { failure, .. } => ("boot-failed", failed(failure)),
            Notice::Booted { count, after } => {
                ("online", fields(json!({ "count": count, "after_ms": ms(*after) })))
            }
            Notice::Deploy { generation, news } => deploy(*generation, news),
            Notice::Refused { asker, .. } => ("refused", fields(json!({ "by": asker.to_string() }))),
            Notice::Scale(news) => scale(news),
            Notice::ListenerShut { address, suspects, outcome, .. } => {
                let suspects: Vec<u32> = suspects.iter().map(|who| who.pid).collect();
                let outcome = mended(*outcome);
                (
                    "listener-shut",
                    fields(json!({ "address": address, "suspects": suspects, "outcome": outcome })),
                )
            }
            Notice::ListenerShutBy { address, who, .. } => {
                ("listener-shut-by", merged(of_worker(who), json!({ "address": address })))
            }
            Notice::Stopping { asker, workers, limit } => {
                let by = asker.to_string();
                ("stopping", fields(json!({ "by": by, "count": workers, "limit_ms": ms(*limit) })))
            }
            Notice::Killing { asker, workers } => {
                ("killing", fields(json!({ "by": asker.to_string(), "count": workers })))
            }
            Notice::Stopped { killed } => ("stopped", fields(json!({ "killed": killed }))),
            Notice::CutShort => ("cut-short", Fields::new()),
            Notice::Signalled { asker, signal, slot, workers } => {
                let by = asker.to_string();
                ("signalled", fields(json!({ "by": by, "signal": signal, "slot": slot, "count": workers })))
            }
        }
    }
}

fn worker(who: &Who, news: &WorkerNews) -> (&'static str, Fields) {
    let (name, more) = match news {
        WorkerNews::Online { after } => ("worker-online", json!({ "after_ms": ms(*after) })),
        WorkerNews::HushedEarly { limit } => ("worker-hushed", json!({ "limit_ms": ms(*limit) })),
        WorkerNews::Offline { why } => ("worker-offline", json!({ "why": why })),
        WorkerNews::Left => ("worker-left", json!({})),
        WorkerNews::Overran { .. } => ("worker-killed", json!({})),
        WorkerNews::RemnantOverran => ("worker-remnant-killed", json!({})),
        WorkerNews::Survived => ("worker-stuck", json!({})),
        WorkerNews::Wrote { line } => ("worker-wrote", json!({ "line": line })),
        WorkerNews::Impossible => ("worker-impossible", json!({})),
    };
    (name, merged(of_worker(who), more))
}

fn deploy(generation: u32, news: &DeployNews) -> (&'static str, Fields) {
    let (name, more) = match news {
        DeployNews::Began { count, asker, surge } => {
            ("deploy-began", json!({ "count": count, "by": asker.to_string(), "surge": surge }))
        }
        DeployNews::Failed { failure, keeps } => {
            let more = merged(failed(failure), json!({ "keeps": keeps }));
            // The generation is that of the deploy, which the worker's is too.
            return ("deploy-failed", merged(more, json!({ "generation": generation })));
        }
        DeployNews::Cut { keeps, .. } => ("deploy-failed", json!({ "keeps": keeps })),
        DeployNews::Aborted { by, keeps } => {
            ("deploy-aborted", json!({ "by": by.to_string(), "keeps": keeps }))
        }
        DeployNews::AbortedLate { by, killed } => {
            ("deploy-aborted-live", json!({ "by": by.to_string(), "killed": killed }))
        }
        DeployNews::TimedOut { limit, keeps } => {
            ("deploy-timed-out", json!({ "limit_ms": ms(*limit), "keeps": keeps }))
        }
        DeployNews::TimedOutLate { limit, killed } => {
            ("deploy-timed-out-live", json!({ "limit_ms": ms(*limit), "killed": killed }))
        }
        DeployNews::PuttingBack { slots, old } => {
            ("deploy-putting-back", json!({ "count": slots, "keeps": old }))
        }
        DeployNews::Baking { time } | DeployNews::BakingAlone { time } => {
            ("deploy-baking", json!({ "time_ms": ms(*time) }))
        }
        DeployNews::Flipped { old, leaving } | DeployNews::FlippedLast { old, leaving } => {
            ("deploy-live", json!({ "old": old, "leaving": leaving }))
        }
        DeployNews::Done { count, after } => {
            ("deploy-done", json!({ "count": count, "after_ms": ms(*after) }))
        }
        DeployNews::DoneLate { count, after, .. } => {
            ("deploy-cut-live", json!({ "count": count, "after_ms": ms(*after) }))
        }
    };
    (name, merged(fields(json!({ "generation": generation })), more))
}

fn scale(news: &ScaleNews) -> (&'static str, Fields) {
    match news {
        ScaleNews::Began { from, to } => ("scale-began", fields(json!({ "from": from, "to": to }))),
        ScaleNews::Grown { count, after } => {
            ("scale-done", fields(json!({ "count": count, "after_ms": ms(*after) })))
        }
        ScaleNews::Shrunk { count } => ("scale-done", fields(json!({ "count": count }))),
        ScaleNews::Failed { failure, count } => {
            ("scale-failed", merged(failed(failure), json!({ "count": count })))
        }
    }
}

fn of_worker(who: &Who) -> Fields {
    fields(json!({ "slot": who.slot, "pid": who.pid, "generation": who.generation }))
}

/// `why` is one word; the status or signal stands beside it.
fn failed(failure: &Failure) -> Fields {
    let why = match &failure.fault {
        Fault::None => json!({ "why": "failed" }),
        Fault::Ended(Ending::Exited(status)) => json!({ "why": "exited", "status": status }),
        Fault::Ended(Ending::Signaled(signal)) => json!({ "why": "killed", "signal": signal }),
        Fault::Ended(Ending::NotExecuted { .. }) => json!({ "why": "not-executed" }),
        Fault::NotSpawned(_) => json!({ "why": "not-spawned" }),
        Fault::Late(limit) | Fault::Mute(limit) => json!({ "why": "late", "limit_ms": ms(*limit) }),
        Fault::GaveUp(_) => json!({ "why": "offline" }),
        Fault::Rebound(_) => json!({ "why": "listener-shut" }),
    };
    let served = json!({ "served_ms": failure.served.map(ms) });
    merged(merged(of_worker(&failure.who), why), served)
}

fn retry_in(next: Next) -> Option<u64> {
    match next {
        Next::RetryIn(time) => Some(ms(time)),
        Next::UnderWay | Next::Exit(_) => None,
    }
}

fn mended(outcome: Mended) -> &'static str {
    match outcome {
        Mended::Healed => "healed",
        Mended::Rebound => "rebound",
        Mended::Renewed => "renewed",
        Mended::Lost => "lost",
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn merged(mut some: Fields, more: Value) -> Fields {
    some.extend(fields(more));
    some
}

fn fields(value: Value) -> Fields {
    match value {
        Value::Object(fields) => fields,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Fields::new(),
    }
}
