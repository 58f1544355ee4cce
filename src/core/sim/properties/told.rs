//! What the operator is told is what the world is like.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::core::notice::{DeployNews, Next, Notice, ScaleNews, WorkerNews};
use crate::core::sim::world::World;
use crate::core::{Asker, Effect, Mended, Ready, Request, Spec};
use crate::wire::control::message::Deploy;

/// What the operator is told is what the world is like.
pub(super) fn check_notice(world: &mut World, notice: &Notice) {
    match notice {
        Notice::Booted { count, .. } => {
            world.properties.promised = *count;
            world.properties.live = committed(world).2;
        }
        Notice::Scale(ScaleNews::Grown { count, .. }) => world.properties.promised = *count,
        Notice::Scale(ScaleNews::Began { from, to }) if to < from => world.properties.promised = *to,
        Notice::Scale(ScaleNews::Failed { count, .. }) => {
            let now = world.supervisor.status(world.now).count;
            assert!(now == *count || something_new_began(world), "a failed scale changed the count");
            world.properties.scale_failed = Some((world.now, *count));
        }
        Notice::Deploy { generation, news } => check_deploy_notice(world, *generation, news),
        Notice::Killing { .. } => {
            world.properties.stop_began = true;
            world.properties.kill_asked = true;
        }
        Notice::Stopping { .. }
        | Notice::ListenerShut { outcome: Mended::Lost, .. }
        | Notice::WorkerFailed { next: Next::Exit(_), .. } => world.properties.stop_began = true,
        Notice::Stopped { killed } => {
            assert_eq!(*killed, world.properties.killed_in_stop, "another number was killed");
        }
        Notice::Worker { news: WorkerNews::Impossible, .. } => panic!("the world broke its promise"),
        Notice::Scale(_) | Notice::Worker { .. } | Notice::WorkerFailed { .. } => {}
        Notice::BootFailed { .. } => world.properties.boot_failed = true,
        Notice::Refused { .. } | Notice::ListenerShut { .. } | Notice::ListenerShutBy { .. } => {}
        Notice::CutShort | Notice::Signalled { .. } => {}
        Notice::HealthListening { .. } => {}
        Notice::Listening { .. } | Notice::BacklogClamped { .. } | Notice::PassesNothingOn { .. } => {}
    }
}

fn check_deploy_notice(world: &mut World, generation: u32, news: &DeployNews) {
    match news {
        DeployNews::Began { count, asker, surge } => {
            world.properties.surge = *surge;
            let committed = committed(world);
            if matches!(asker, Asker::Signal(_)) {
                let spec = world.supervisor.spec(generation).cloned();
                assert_eq!((*count, spec), (committed.1, committed.2.clone()), "HUP deploys something else");
            }
            world.properties.deploying = *count;
            world.properties.baking_since = None;
            let deploy = deploy_asked(world, *asker);
            world.properties.deploy_began = Some(world.now);
            world.properties.bake = deploy.bake.unwrap_or(world.policy.bake);
            world.properties.online_timeout = deploy.online_timeout.unwrap_or(world.policy.online_timeout);
            a_rollback_runs_what_ran_before(world, generation, *asker);
            world.properties.before_deploy = Some(committed);
        }
        DeployNews::TimedOut { limit, .. } => {
            let began = world.properties.deploy_began.expect("it has begun");
            assert!(world.now - began >= *limit, "it timed out too early");
            assert_nothing_changed(world);
        }
        DeployNews::TimedOutLate { .. } => world.properties.aborted_late = Some(generation),
        DeployNews::Failed { .. } | DeployNews::Cut { .. } | DeployNews::Aborted { .. } => {
            world.properties.boot_failed |= world.supervisor.status(world.now).generation.is_none();
            assert_nothing_changed(world);
        }
        DeployNews::Baking { .. } | DeployNews::BakingAlone { .. } => {
            all_were_online(world, generation);
            world.properties.baking_since = Some(world.now);
        }
        DeployNews::Flipped { .. } | DeployNews::FlippedLast { .. } => {
            all_were_online(world, generation);
            let baked = world.properties.baking_since.map_or(Duration::ZERO, |since| world.now - since);
            assert!(baked >= world.properties.bake, "flipped before it was baked");
            world.properties.promised = world.properties.deploying;
            if let Some(spec) = world.supervisor.spec(generation).cloned() {
                world.properties.previous = world.properties.live.replace(spec);
            }
        }
        DeployNews::AbortedLate { .. } => world.properties.aborted_late = Some(generation),
        DeployNews::Done { .. } | DeployNews::DoneLate { .. } | DeployNews::PuttingBack { .. } => {}
    }
}

/// The terms that were asked for; a signal has none.
fn deploy_asked(world: &World, asker: Asker) -> Deploy {
    let Asker::Client { client, .. } = asker else { return Deploy::default() };
    let request = &world.asked[&client].request;
    let (Request::Deploy(deploy) | Request::Rollback(deploy)) = request else {
        panic!("a deploy began because of {request:?}");
    };
    deploy.clone()
}

fn a_rollback_runs_what_ran_before(world: &World, generation: u32, asker: Asker) {
    let Asker::Client { client, .. } = asker else { return };
    if let (Request::Rollback(_), Some(spec)) =
        (&world.asked[&client].request, world.supervisor.spec(generation))
    {
        assert_eq!(Some(spec), world.properties.previous.as_ref(), "not what ran before");
        assert_ne!(Some(spec), world.properties.live.as_ref(), "a rollback to the same");
    }
}

fn assert_nothing_changed(world: &World) {
    let before = world.properties.before_deploy.as_ref();
    if let Some(before) = before.filter(|_| !something_new_began(world)) {
        assert_eq!(*before, committed(world), "a deploy that did not come off changed something");
    }
}

fn committed(world: &World) -> (Option<u32>, u32, Option<Spec>) {
    let status = world.supervisor.status(world.now);
    let spec = status.generation.and_then(|generation| world.supervisor.spec(generation).cloned());
    (status.generation, status.count, spec)
}

/// Effects are checked when they are carried out; what waited may have begun in the same step.
pub(super) fn something_new_began(world: &World) -> bool {
    let mut later = world.supervisor.clone();
    let began = |effect| {
        matches!(
            effect,
            Effect::Notice(
                Notice::Scale(ScaleNews::Began { .. })
                    | Notice::Deploy { news: DeployNews::Began { .. }, .. }
            )
        )
    };
    std::iter::from_fn(|| later.poll_effect()).any(began)
}

/// Make before break: no flip unless every new worker is there.
fn all_were_online(world: &World, generation: u32) {
    if world.policy.ready != Ready::Notify {
        return;
    }
    let count = world.properties.deploying;
    let online: BTreeSet<u32> = world
        .processes
        .values()
        .filter(|process| process.generation == generation && process.online_at.is_some())
        .map(|process| process.slot)
        .collect();
    assert_eq!(
        online.into_iter().collect::<Vec<u32>>(),
        (0..count).collect::<Vec<u32>>(),
        "flipped too early"
    );
}
