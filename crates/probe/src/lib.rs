//! Packets sent on purpose, and what is seen of them.
//!
//! Read [`observe`]: it sends what a [`Probe`] asks for, from the network namespaces of the places themselves, and gives
//! back [`Observation`]s. Everything is bounded: [`N_PACKETS`] packets of a kind, [`PACE`] apart, and [`PATIENCE`] for the
//! last answer; at most [`N_AT_ONCE`] probes at a time. Where the two ends of a crossing are on two machines, each does
//! its half: [`Watch`], then [`depart`], and [`crossed`] puts together what they saw.
//!
//! What is deliberately absent: choosing what to send, and concluding anything from what was seen. Both are decided on the
//! snapshot alone, by `hopwise-diagnose` and `hopwise-dataplane`.

mod ask;
mod cross;
mod wire;

use std::{
    collections::BTreeMap,
    io,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use hopwise_snapshot::{Crossing, Observation, Place, Probe};
use hopwise_sys::NetNs;

pub use crate::cross::{Arrivals, Departures, Sightings, Watch, crossed, depart};

/// What takes bytes off the wire, for fuzzing alone.
#[cfg(fuzzing)]
pub mod fuzzing {
    /// A packet that a watch saw, or that answers an echo request.
    pub fn packet(bytes: &[u8]) {
        let _ = (
            crate::wire::sighted(bytes),
            crate::wire::echo_reply(bytes, false),
            crate::wire::echo_reply(bytes, true),
            crate::ask::udp::answer(bytes, 1),
        );
    }
}

/// How many packets of a kind are sent: so many are hardly ever lost by chance (0.02 to the fifth at 2 % loss).
pub const N_PACKETS: u16 = 5;
/// The time between two packets of a kind.
pub const PACE: Duration = Duration::from_millis(20);
/// How long the last answer may take.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// How many probes are under way at a time.
pub const N_AT_ONCE: usize = 16;

/// Why packets could not be sent or watched.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The place's network namespace is not among those that were given.
    #[error("no way into the network namespace of {0}")]
    NoSite(Place),
    /// The kernel refused.
    #[error("failed to {step} in the network namespace of {place}")]
    Kernel {
        /// What it refused.
        step: &'static str,
        /// Where.
        place: Place,
        /// Why.
        source: io::Error,
    },
}

/// Sends packets and says what was seen of them, in the order of the probes.
///
/// `sites` are the network namespaces that can be entered; the caller needs `CAP_SYS_ADMIN` and `CAP_NET_RAW` over them.
pub fn observe(
    sites: &BTreeMap<Place, NetNs>,
    probes: &[Probe],
) -> Vec<Result<Vec<Observation>, ProbeError>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(probe) = probes.get(at) else { return done };
            done.push((at, observe_one(sites, probe)));
        }
    };
    let mut all: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..N_AT_ONCE.min(probes.len())).map(|_| scope.spawn(work)).collect();
        let joined = threads.into_iter();
        joined.flat_map(|it| it.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    all.sort_by_key(|(at, _)| *at);
    all.into_iter().map(|(_, it)| it).collect()
}

fn observe_one(sites: &BTreeMap<Place, NetNs>, probe: &Probe) -> Result<Vec<Observation>, ProbeError> {
    match probe {
        Probe::Ask(question) => {
            let site = Site::of(sites, &question.from)?;
            let answers = site.run("send", || ask::ask(question))?;
            Ok(vec![Observation::Asked { question: question.clone(), answers }])
        }
        Probe::Cross(crossings) => crossings.iter().map(|it| observe_crossing(sites, it)).collect(),
    }
}

fn observe_crossing(sites: &BTreeMap<Place, NetNs>, crossing: &Crossing) -> Result<Observation, ProbeError> {
    let from = Site::of(sites, &Place::Node(crossing.from.clone()))?;
    let to = Site::of(sites, &Place::Node(crossing.to.clone()))?;
    cross::cross(crossing, &from, &to)
}

/// A network namespace, with whose it is.
struct Site<'a> {
    place: Place,
    netns: &'a NetNs,
}

impl<'a> Site<'a> {
    fn of(sites: &'a BTreeMap<Place, NetNs>, place: &Place) -> Result<Self, ProbeError> {
        let netns = sites.get(place).ok_or_else(|| ProbeError::NoSite(place.clone()))?;
        Ok(Self { place: place.clone(), netns })
    }

    /// Does something inside.
    fn run<T: Send>(
        &self,
        step: &'static str,
        inside: impl FnOnce() -> io::Result<T> + Send,
    ) -> Result<T, ProbeError> {
        let failed = |source| ProbeError::Kernel { step, place: self.place.clone(), source };
        self.netns.run(inside).and_then(|it| it).map_err(failed)
    }
}
