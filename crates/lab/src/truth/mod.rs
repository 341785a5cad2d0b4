//! The truth about a lab: who reaches whom, by packets alone.
//!
//! Every pod and every node asks everything that it should reach, all at the same time, each from its own network
//! namespace. What answers says who it is and whom it saw; who got an echo request is known from the keeper.

mod dns_question;
pub(crate) mod echo_request;
mod plan;
mod probe;
mod resolver;

use std::{
    collections::BTreeMap,
    fs,
    net::IpAddr,
    panic::resume_unwind,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use hopwise_sys::{
    namespace::{Namespace, NamespaceKind},
    process::raise_file_limit,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::{
    Lab, LabError,
    control::{Echo, Request, Response},
    objects::ObjectStore,
};
use plan::{Plan, Question, Source};
use probe::Outcome;

/// The truth about a lab, as the document `hopwise/truth/v1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Truth {
    /// `hopwise/truth/v1`.
    pub schema: String,
    /// What was tried, sorted by source, target, protocol, family and size.
    pub pairs: Vec<Pair>,
}

/// One thing that was tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pair {
    /// Who asked: `pod/default/a`, `node/w1`.
    pub from: String,
    /// What was asked: `pod/default/b:8080/tcp`, `svc/default/echo:80/tcp`, `ip/203.0.113.10:8080/udp`, `node/w1` and
    /// `pod/default/b` for echo requests, or a name to resolve.
    pub to: String,
    /// `tcp`, `udp`, `icmp`, or `dns` for a name.
    pub proto: String,
    /// 4 or 6. For a name, the family of the server that was asked.
    pub family: u8,
    /// Was there an answer? With several attempts: to each of them.
    pub reached: bool,
    /// Who answered (`pod/default/b`, `node/w1`, `outside`); none where the answer does not tell.
    pub answered_by: Option<String>,
    /// The source address that it saw.
    pub source_seen: Option<IpAddr>,
    /// Why there was no answer; with several attempts, to the first without one.
    pub error: Option<ProbeError>,
    /// The total length of the packet in bytes, where nobody was allowed to split it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u32>,
    /// The attempts one by one, for a Service: each may have another endpoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
    /// The addresses that a name has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
}

/// One of several attempts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// Was there an answer?
    pub reached: bool,
    /// Who answered.
    pub answered_by: Option<String>,
    /// The source address that it saw.
    pub source_seen: Option<IpAddr>,
    /// Why there was no answer.
    pub error: Option<ProbeError>,
}

/// Why there was no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProbeError {
    /// Nothing came back in time.
    Timeout,
    /// A reset, or ICMP "port unreachable".
    Refused,
    /// ICMP "unreachable" of another kind, "packet too big", or the sender's own kernel knows no way.
    Unreachable,
    /// ICMP "prohibited", or the sender's own kernel forbids it.
    Prohibited,
    /// The name server failed (SERVFAIL, REFUSED or NOTIMP).
    Servfail,
    /// There is no such name, or it has no address.
    Nxdomain,
}

/// How long after one probe of a source the next begins: thousands at once would overflow the kernel's own queues
/// (`net.core.netdev_max_backlog`, 1000 packets a processor), and the loss would be a lie about the lab.
const PACE: Duration = Duration::from_micros(1500);

/// Measures the truth about a lab.
///
/// Of all probes those are made of which a word of `only` is the protocol, or the beginning of source or target; all
/// where there is none. A process that is not the lab's root must call [`Lab::enter_user_namespace`] before.
pub fn truth(lab: &Lab, only: &[String]) -> Result<Truth, LabError> {
    let services = ObjectStore::new(lab.objects_dir()).cluster()?;
    let Response::Run(run) = lab.ask(&Request::BeginRun)? else {
        return Err(LabError::Keeper("the keeper does not count runs".to_owned()));
    };
    let sources = lab.members().iter().filter(|it| it.place.is_some());
    let mut plans = Vec::new();
    for (number, member) in (0u32..).zip(sources) {
        let resolv_conf = fs::read_to_string(member.path(Path::new("/etc/resolv.conf"))).unwrap_or_default();
        let source = Source { member: member.clone(), number, resolv_conf };
        plans.push(Plan::new(lab.layout(), &services, source, only));
    }
    let outcomes = ask_all(plans, run)?;
    let Response::Echoes(echoes) = lab.ask(&Request::Echoes { run })? else {
        return Err(LabError::Keeper("the keeper does not know what it heard".to_owned()));
    };
    let mut pairs = into_pairs(outcomes, &echoes);
    pairs.sort_by(|a, b| {
        let key = |it: &Pair| (it.from.clone(), it.to.clone(), it.proto.clone(), it.family, it.size);
        key(a).cmp(&key(b))
    });
    Ok(Truth { schema: "hopwise/truth/v1".to_owned(), pairs })
}

/// A plan with what came of each of its questions.
type Asked = (Plan, Vec<Outcome>);

fn ask_all(plans: Vec<Plan>, run: u64) -> Result<Vec<Asked>, LabError> {
    let start = Instant::now() + Duration::from_millis(20);
    let places = Arc::new(Semaphore::new(n_places()?));
    let ask = |plan: Plan| {
        let places = places.clone();
        thread::spawn(move || {
            let outcomes = ask_from(&plan, run, start, &places)?;
            Ok((plan, outcomes))
        })
    };
    let threads: Vec<_> = plans.into_iter().map(ask).collect();
    threads.into_iter().map(|it| it.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
}

/// How many questions may be under way at a time: each has up to two open files.
fn n_places() -> Result<usize, LabError> {
    let limit = raise_file_limit().map_err(|source| LabError::Kernel {
        step: "ask how many files may be open",
        member: "this process".to_owned(),
        source,
    })?;
    // The rest is for the threads' own.
    let left = usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(150) / 2;
    Ok(left.clamp(1, Semaphore::MAX_PERMITS))
}

/// Asks all questions of one source from its network namespace.
fn ask_from(
    plan: &Plan,
    run: u64,
    start: Instant,
    places: &Arc<Semaphore>,
) -> Result<Vec<Outcome>, LabError> {
    let member = &plan.source.member;
    let failed = |step| move |source| LabError::Kernel { step, member: member.name.clone(), source };
    Namespace::of_process(Path::new("/proc"), member.pid, NamespaceKind::Net)
        .and_then(|it| it.enter())
        .map_err(failed("enter the network namespace"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(failed("start the probes"))?;
    Ok(runtime.block_on(async {
        let mut asked = tokio::task::JoinSet::new();
        for (index, question) in plan.questions().enumerate() {
            let begins = start + PACE * u32::try_from(index).unwrap_or(u32::MAX);
            let mark = echo_request::Mark { run, probe: plan.probe_number(index) };
            let (question, places): (Question, _) = (question.clone(), places.clone());
            asked.spawn(async move {
                tokio::time::sleep_until(begins.into()).await;
                let _place = places.acquire().await.expect("nobody closes it");
                (index, probe::ask(&question, mark).await)
            });
        }
        let mut outcomes = BTreeMap::new();
        while let Some(done) = asked.join_next().await {
            let (index, outcome) = done.unwrap_or_else(|error| resume_unwind(error.into_panic()));
            outcomes.insert(index, outcome);
        }
        outcomes.into_values().collect()
    }))
}

fn into_pairs(asked: Vec<Asked>, echoes: &[Echo]) -> Vec<Pair> {
    let heard: BTreeMap<u32, &Echo> = echoes.iter().map(|it| (it.probe, it)).collect();
    let mut pairs = Vec::new();
    for (plan, outcomes) in asked {
        let from = plan.source.member.place.as_ref().map(ToString::to_string).unwrap_or_default();
        let mut outcomes = outcomes.into_iter().enumerate();
        for probe in &plan.probes {
            let with_echo = |(index, mut outcome): (usize, Outcome)| {
                if let Some(echo) = heard.get(&plan.probe_number(index))
                    && outcome.error.is_none()
                {
                    outcome.answered_by = Some(echo.member.clone());
                    outcome.source_seen = Some(echo.source);
                }
                outcome
            };
            let own: Vec<Outcome> = outcomes.by_ref().take(probe.n_attempts).map(with_echo).collect();
            pairs.push(pair(&from, probe, &own));
        }
    }
    pairs
}

fn pair(from: &str, probe: &plan::Probe, outcomes: &[Outcome]) -> Pair {
    let first = outcomes.first().cloned().unwrap_or_default();
    let attempts = outcomes.iter().map(|it| Attempt {
        reached: it.error.is_none(),
        answered_by: it.answered_by.clone(),
        source_seen: it.source_seen,
        error: it.error,
    });
    Pair {
        from: from.to_owned(),
        to: probe.to.clone(),
        proto: probe.proto.to_owned(),
        family: first.family.unwrap_or(probe.family),
        reached: outcomes.iter().all(|it| it.error.is_none()),
        answered_by: outcomes.iter().find_map(|it| it.answered_by.clone()),
        source_seen: outcomes.iter().find_map(|it| it.source_seen),
        error: outcomes.iter().find_map(|it| it.error),
        size: first.size,
        attempts: if probe.n_attempts > 1 { attempts.collect() } else { Vec::new() },
        addresses: first.addresses,
    }
}
