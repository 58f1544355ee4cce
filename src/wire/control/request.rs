//! The body of a request becomes an order, or a sentence that says what is wrong with it.
//!
//! ```text
//!   {"workers": 8, …} ──> Fields ──> take("workers", …) … finish() ──> Order
//! ```
//!
//! Strict, unlike the reading of answers: a field that is misspelled, comes twice or is of another kind is refused,
//! since what somebody wanted must not be done in part. What it does not do: know what is committed or who is asking.

mod fields;

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::value::RawValue;

use crate::environment::is_reserved;

use super::message::{Deploy, Order, Scale, Signal, Stop};
use super::text::Text;
use fields::{Fields, shown};

/// What is wrong, in a sentence.
pub(super) type Fault = String;

/// A year: as good as never for a time-out, and far from where adding to a moment would overflow.
const LONGEST_MS: u64 = 365 * 24 * 60 * 60 * 1000;
const WORKERS: RangeInclusive<u64> = 1..=65535;

pub(super) fn deploy(body: &[u8]) -> Result<Order, Fault> {
    let mut fields = Fields::read(body)?;
    let deploy = Deploy {
        program: fields.take("program", program)?,
        directory: fields.take("directory", directory)?,
        environment: fields.take("environment", environment)?.unwrap_or_default(),
        ..terms(&mut fields)?
    };
    fields.finish("POST /deploy")?;
    Ok(Order::Deploy(deploy))
}

pub(super) fn rollback(body: &[u8]) -> Result<Order, Fault> {
    let mut fields = Fields::read(body)?;
    let deploy = terms(&mut fields)?;
    fields.finish("POST /rollback")?;
    Ok(Order::Rollback(deploy))
}

/// What a deploy and a rollback have in common.
fn terms(fields: &mut Fields<'_>) -> Result<Deploy, Fault> {
    Ok(Deploy {
        workers: fields.take("workers", |raw| number(raw, WORKERS))?,
        timeout: fields.take("timeout_ms", |raw| duration(raw, 1))?,
        online_timeout: fields.take("online_timeout_ms", |raw| duration(raw, 1))?,
        bake: fields.take("bake_ms", |raw| duration(raw, 0))?,
        surge: fields.take("surge", |raw| number(raw, WORKERS))?,
        wait: fields.take("wait", boolean)?.unwrap_or(true),
        if_generation: fields.take("if_generation", |raw| number(raw, 0..=u64::from(u32::MAX)))?,
        ..Deploy::default()
    })
}

pub(super) fn abort(body: &[u8]) -> Result<Order, Fault> {
    Fields::read(body)?.finish("POST /abort")?;
    Ok(Order::Abort)
}

pub(super) fn reopen(body: &[u8]) -> Result<Order, Fault> {
    Fields::read(body)?.finish("POST /reopen")?;
    Ok(Order::Reopen)
}

pub(super) fn scale(body: &[u8]) -> Result<Order, Fault> {
    let mut fields = Fields::read(body)?;
    let to = fields.take("to", |raw| number(raw, WORKERS))?;
    let by = fields.take("by", difference)?;
    fields.finish("POST /scale")?;
    match (to, by) {
        (Some(to), None) => Ok(Order::Scale(Scale::To(to))),
        (None, Some(by)) => Ok(Order::Scale(Scale::By(by))),
        (Some(_), Some(_)) | (None, None) => {
            Err("POST /scale takes either to or by, as in {\"to\": 8} or {\"by\": -1}".to_string())
        }
    }
}

pub(super) fn stop(body: &[u8]) -> Result<Order, Fault> {
    let mut fields = Fields::read(body)?;
    let timeout = fields.take("timeout_ms", |raw| duration(raw, 0))?;
    let now = fields.take("now", boolean)?.unwrap_or(false);
    fields.finish("POST /stop")?;
    if now && timeout.is_some() {
        return Err("POST /stop takes either timeout_ms or now: who kills at once does not wait".to_string());
    }
    Ok(Order::Stop(Stop { timeout, now }))
}

pub(super) fn signal(body: &[u8]) -> Result<Order, Fault> {
    let mut fields = Fields::read(body)?;
    let signal = fields.take("signal", signal_name)?;
    let slot = fields.take("slot", |raw| number(raw, 0..=*WORKERS.end() - 1))?;
    fields.finish("POST /signal")?;
    let signal = signal.ok_or("POST /signal needs a signal, as in {\"signal\": \"USR2\"}")?;
    Ok(Order::Signal(Signal { signal, slot }))
}

fn program(raw: &RawValue) -> Result<Vec<Text>, Fault> {
    let words: Vec<Text> = serde_json::from_str(raw.get()).map_err(|_| {
        format!("must be an array of strings, as in [\"node\", \"server.js\"], not {}", shown(raw))
    })?;
    for word in &words {
        without_nul(word)?;
    }
    match words.first() {
        Some(first) if !first.as_bytes().is_empty() => Ok(words),
        Some(_) | None => {
            Err("must begin with the program; leave it out to keep the one there is".to_string())
        }
    }
}

fn directory(raw: &RawValue) -> Result<Text, Fault> {
    let directory = text(raw)?;
    let absolute = directory.as_bytes().starts_with(b"/");
    let relative = || format!("must be absolute, not {}: srvwrap does not know yours", shown(raw));
    absolute.then_some(directory).ok_or_else(relative)
}

fn environment(raw: &RawValue) -> Result<Vec<(Text, Option<Text>)>, Fault> {
    let environment = fields::pairs(raw).ok_or_else(|| {
        let form =
            "an object of strings, as in {\"RELEASE\": \"42\", \"OLD\": null}, or an array of such pairs";
        format!("must be {form}, and no name twice")
    })?;
    for (name, value) in &environment {
        variable(name)?;
        value.as_ref().map_or(Ok(()), without_nul)?;
    }
    Ok(environment)
}

/// Its value is nobody's business, an error's neither.
fn variable(name: &Text) -> Result<(), Fault> {
    without_nul(name)?;
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes.contains(&b'=') {
        return Err(format!("has a name that no variable can have: {:?}", name.0));
    }
    if is_reserved(&name.0) {
        return Err(format!("must not have {}: srvwrap sets or removes it itself", name.0.to_string_lossy()));
    }
    Ok(())
}

fn text(raw: &RawValue) -> Result<Text, Fault> {
    let text = serde_json::from_str(raw.get())
        .map_err(|_| format!("must be a string, or {{\"base64\": \"…\"}}, not {}", shown(raw)))?;
    without_nul(&text)?;
    Ok(text)
}

fn without_nul(text: &Text) -> Result<(), Fault> {
    let nul = text.as_bytes().contains(&0);
    if nul { Err("must not have a NUL byte, which the kernel takes for an end".to_string()) } else { Ok(()) }
}

/// `8`, and `8.0` or `8e0`, which some languages write for it.
fn whole(raw: &RawValue) -> Option<i64> {
    if let Ok(number) = serde_json::from_str(raw.get()) {
        return Some(number);
    }
    /// Below it a float is exact, 2^53.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let number: f64 = serde_json::from_str(raw.get()).ok()?;
    #[expect(clippy::cast_possible_truncation, reason = "it is whole, and fits")]
    let whole = (number.fract() == 0.0 && number.abs() < EXACT).then_some(number as i64);
    whole
}

fn number(raw: &RawValue, range: RangeInclusive<u64>) -> Result<u32, Fault> {
    let number = whole(raw).and_then(|number| u64::try_from(number).ok());
    let fitting =
        number.filter(|number| range.contains(number)).and_then(|number| u32::try_from(number).ok());
    fitting.ok_or_else(|| {
        format!("must be a number from {} to {}, not {}", range.start(), range.end(), shown(raw))
    })
}

fn difference(raw: &RawValue) -> Result<i32, Fault> {
    let number = whole(raw).and_then(|number| i32::try_from(number).ok());
    let most = i32::try_from(*WORKERS.end()).unwrap_or(i32::MAX);
    number
        .filter(|number| (-most..=most).contains(number))
        .ok_or_else(|| format!("must be a number from -{most} to {most}, not {}", shown(raw)))
}

fn duration(raw: &RawValue, least: u64) -> Result<Duration, Fault> {
    let milliseconds = whole(raw).and_then(|number| u64::try_from(number).ok());
    let fitting = milliseconds.filter(|milliseconds| (least..=LONGEST_MS).contains(milliseconds));
    fitting.map(Duration::from_millis).ok_or_else(|| {
        format!(
            "must be a whole number of milliseconds from {least} to {LONGEST_MS} (a year), not {}",
            shown(raw)
        )
    })
}

fn boolean(raw: &RawValue) -> Result<bool, Fault> {
    serde_json::from_str(raw.get()).map_err(|_| format!("must be true or false, not {}", shown(raw)))
}

/// Which signals there are is not known here.
fn signal_name(raw: &RawValue) -> Result<String, Fault> {
    let name: Option<String> = serde_json::from_str(raw.get()).ok();
    let plausible = |name: &String| {
        let letters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-".contains(&byte));
        letters && (1..=16).contains(&name.len())
    };
    name.filter(plausible).ok_or_else(|| {
        format!("must be the name of a signal or its number in quotes, as in \"USR2\", not {}", shown(raw))
    })
}

#[cfg(test)]
mod tests;
