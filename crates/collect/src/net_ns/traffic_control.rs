//! Queueing disciplines and filters.
//!
//! Layouts are those of `include/uapi/linux/pkt_sched.h` and `pkt_cls.h`.

use hopwise_snapshot::{IfIndex, Qdisc, TcAction, TcFilter, TokenBucket, U32Key};
use hopwise_sys::netlink::{Attribute, NetlinkError, Route, TrafficControl, attributes};

const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_STATS2: u16 = 7;
const TCA_CHAIN: u16 = 11;
const TCA_STATS_QUEUE: u16 = 3;

/// Where the filters of `clsact` and of `ingress` hang (`TC_H_CLSACT` with `TC_H_MIN_INGRESS`, `…EGRESS`).
const INGRESS: u32 = 0xffff_fff2;
const EGRESS: u32 = 0xffff_fff3;

/// Queueing disciplines without a list of filters (no `tcf_block` in `net/sched/sch_*.c`). Others are asked.
const WITHOUT_FILTERS: [&str; 17] = [
    "noqueue",
    "pfifo",
    "bfifo",
    "pfifo_head_drop",
    "pfifo_fast",
    "mq",
    "mqprio",
    "fq",
    "tbf",
    "netem",
    "codel",
    "pie",
    "red",
    "gred",
    "blackhole",
    "plug",
    "etf",
];

/// The queueing discipline that a message describes.
pub(super) fn qdisc(message: &TrafficControl) -> Result<Qdisc, NetlinkError> {
    let mut qdisc = Qdisc {
        link: IfIndex(message.link.cast_unsigned()),
        kind: String::new(),
        handle: message.handle,
        parent: message.parent,
        token_bucket: None,
        limit: None,
        drops: 0,
    };
    let mut options = None;
    for attribute in message.attributes() {
        let attribute = attribute?;
        match attribute.kind {
            TCA_KIND => qdisc.kind = attribute.text()?,
            TCA_OPTIONS => options = Some(attribute),
            TCA_STATS2 => qdisc.drops = drops(&attribute)?,
            _ => {}
        }
    }
    match (qdisc.kind.as_str(), options) {
        ("tbf", Some(options)) => qdisc.token_bucket = token_bucket(&options)?,
        ("pfifo" | "bfifo" | "pfifo_head_drop", Some(options)) => qdisc.limit = Some(options.u32()?),
        _ => {}
    }
    Ok(qdisc)
}

/// `struct gnet_stats_queue`: length, backlog, drops, requeues, overlimits.
fn drops(stats: &Attribute<'_>) -> Result<u64, NetlinkError> {
    for attribute in stats.nested() {
        let attribute = attribute?;
        if attribute.kind == TCA_STATS_QUEUE {
            let [.., a, b, c, d] = attribute.bytes::<12>()?;
            return Ok(u64::from(u32::from_ne_bytes([a, b, c, d])));
        }
    }
    Ok(0)
}

/// `struct tc_tbf_qopt`: rate and peak rate (12 bytes each, the rate last), limit, bucket in ticks, mtu.
fn token_bucket(options: &Attribute<'_>) -> Result<Option<TokenBucket>, NetlinkError> {
    const TCA_TBF_PARMS: u16 = 1;
    const TCA_TBF_RATE64: u16 = 4;
    /// A tick of the packet scheduler is 64 ns (`PSCHED_SHIFT`, `include/net/pkt_sched.h`).
    const TICK: u128 = 64;
    let mut bucket = None;
    let mut wide_rate = None;
    for attribute in options.nested() {
        let attribute = attribute?;
        match attribute.kind {
            TCA_TBF_PARMS => {
                let bytes = attribute.bytes::<36>()?;
                let word =
                    |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
                bucket = Some((word(8), word(24), word(28)));
            }
            TCA_TBF_RATE64 => wide_rate = Some(attribute.u64()?),
            _ => {}
        }
    }
    Ok(bucket.map(|(rate, limit, ticks)| {
        let rate = wide_rate.unwrap_or(u64::from(rate));
        let burst = u128::from(rate) * u128::from(ticks) * TICK / 1_000_000_000;
        TokenBucket { rate, burst: u32::try_from(burst).unwrap_or(u32::MAX), limit }
    }))
}

/// The filters at every place of these queueing disciplines that can hold some.
pub(super) fn filters(route: &mut Route, qdiscs: &[Qdisc]) -> Result<Vec<TcFilter>, NetlinkError> {
    let mut filters = Vec::new();
    for qdisc in qdiscs {
        for (parent, direction) in places(qdisc) {
            for message in route.filters(qdisc.link.0, parent)? {
                filters.extend(filter(qdisc.link, &direction, &message)?);
            }
        }
    }
    Ok(filters)
}

/// Where filters of a queueing discipline hang, and what the snapshot calls the place.
fn places(qdisc: &Qdisc) -> Vec<(u32, String)> {
    match qdisc.kind.as_str() {
        "clsact" => vec![(INGRESS, "ingress".to_owned()), (EGRESS, "egress".to_owned())],
        "ingress" => vec![(INGRESS, "ingress".to_owned())],
        kind if WITHOUT_FILTERS.contains(&kind) => Vec::new(),
        // Handle 0: made by the kernel, nothing can be hung from it.
        _ if qdisc.handle == 0 => Vec::new(),
        _ => vec![(qdisc.handle, format!("{:x}:{:x}", qdisc.handle >> 16, qdisc.handle & 0xffff))],
    }
}

/// The filter that a message describes; none for the lists that hold filters, which are reported too.
fn filter(
    link: IfIndex,
    direction: &str,
    message: &TrafficControl,
) -> Result<Option<TcFilter>, NetlinkError> {
    let mut filter = TcFilter {
        link,
        direction: direction.to_owned(),
        priority: message.info >> 16,
        protocol: u16::from_be((message.info & 0xffff) as u16),
        kind: String::new(),
        handle: message.handle,
        keys: Vec::new(),
        actions: Vec::new(),
        not_modelled: Vec::new(),
    };
    let mut options = None;
    for attribute in message.attributes() {
        let attribute = attribute?;
        match attribute.kind {
            TCA_KIND => filter.kind = attribute.text()?,
            TCA_OPTIONS => options = Some(attribute),
            TCA_CHAIN if attribute.u32()? != 0 => {
                filter.not_modelled.push(format!("chain {}", attribute.u32()?));
            }
            _ => {}
        }
    }
    let Some(options) = options else { return Ok(None) };
    let is_filter = match filter.kind.as_str() {
        "u32" => u32_options(&mut filter, &options)?,
        "matchall" => match_all_options(&mut filter, &options)?,
        "bpf" => bpf_options(&mut filter, &options)?,
        other => {
            filter.not_modelled.push(format!("kind {other}"));
            true
        }
    };
    Ok(is_filter.then_some(filter))
}

/// Reads the options of a `u32` filter. Is it a filter, and not a table of filters?
fn u32_options(filter: &mut TcFilter, options: &Attribute<'_>) -> Result<bool, NetlinkError> {
    const TCA_U32_HASH: u16 = 2;
    const TCA_U32_LINK: u16 = 3;
    const TCA_U32_SEL: u16 = 5;
    const TCA_U32_POLICE: u16 = 6;
    const TCA_U32_ACT: u16 = 7;
    const TCA_U32_INDEV: u16 = 8;
    const TCA_U32_MARK: u16 = 10;
    const TCA_U32_FLAGS: u16 = 11;
    /// `TCA_CLS_FLAGS_SKIP_SW`: the filter is in hardware alone.
    const SKIP_SW: u32 = 1 << 1;
    let mut has_selector = false;
    for attribute in options.nested() {
        let attribute = attribute?;
        match attribute.kind {
            TCA_U32_SEL => {
                has_selector = true;
                selector(filter, &attribute)?;
            }
            TCA_U32_ACT => actions(filter, &attribute)?,
            // Filters of the first table are looked at in order; others are reached by a jump only.
            TCA_U32_HASH if attribute.u32()? & 0xff_000 != 0 => {
                filter.not_modelled.push(format!("hash bucket {:#x}", attribute.u32()?));
            }
            TCA_U32_LINK if attribute.u32()? != 0 => filter.not_modelled.push("link to a table".to_owned()),
            TCA_U32_POLICE => filter.not_modelled.push("police".to_owned()),
            TCA_U32_INDEV => filter.not_modelled.push(format!("indev {}", attribute.text()?)),
            TCA_U32_MARK => filter.not_modelled.push("mark".to_owned()),
            TCA_U32_FLAGS if attribute.u32()? & SKIP_SW != 0 => {
                filter.not_modelled.push("skip_sw".to_owned());
            }
            _ => {}
        }
    }
    Ok(has_selector)
}

/// `struct tc_u32_sel` (16 bytes) and its keys (`struct tc_u32_key`, 16 bytes each).
fn selector(filter: &mut TcFilter, attribute: &Attribute<'_>) -> Result<(), NetlinkError> {
    /// A match ends the search. Without it the filter only leads to another table.
    const TERMINAL: u8 = 1;
    let [flags, _, n_keys, ..] = attribute.bytes::<16>()?;
    if flags & TERMINAL == 0 {
        filter.not_modelled.push("not terminal".to_owned());
    }
    if flags & !TERMINAL != 0 {
        filter.not_modelled.push(format!("offset flags {:#x}", flags & !TERMINAL));
    }
    let (keys, _) = attribute.value[16..].as_chunks::<16>();
    if keys.len() < usize::from(n_keys) {
        return Err(NetlinkError::malformed(format_args!("u32 filter with {} of {n_keys} keys", keys.len())));
    }
    for key in &keys[..usize::from(n_keys)] {
        let (words, _) = key.as_chunks::<4>();
        if i32::from_ne_bytes(words[3]) != 0 {
            filter.not_modelled.push("offset from the packet (nexthdr)".to_owned());
        }
        filter.keys.push(U32Key {
            mask: u32::from_be_bytes(words[0]),
            value: u32::from_be_bytes(words[1]),
            offset: i32::from_ne_bytes(words[2]),
        });
    }
    Ok(())
}

/// Reads the options of a `matchall` filter.
fn match_all_options(filter: &mut TcFilter, options: &Attribute<'_>) -> Result<bool, NetlinkError> {
    const TCA_MATCHALL_ACT: u16 = 2;
    for attribute in options.nested() {
        let attribute = attribute?;
        if attribute.kind == TCA_MATCHALL_ACT {
            actions(filter, &attribute)?;
        }
    }
    Ok(true)
}

/// Reads the options of a `bpf` filter. What its program decides is not modelled.
fn bpf_options(filter: &mut TcFilter, options: &Attribute<'_>) -> Result<bool, NetlinkError> {
    const TCA_BPF_ACT: u16 = 1;
    const TCA_BPF_NAME: u16 = 7;
    const TCA_BPF_FLAGS: u16 = 8;
    const DIRECT_ACTION: u32 = 1;
    let (mut name, mut is_direct) = ("without a name".to_owned(), false);
    for attribute in options.nested() {
        let attribute = attribute?;
        match attribute.kind {
            TCA_BPF_NAME => name = attribute.text()?,
            TCA_BPF_FLAGS => is_direct = attribute.u32()? & DIRECT_ACTION != 0,
            TCA_BPF_ACT => actions(filter, &attribute)?,
            _ => {}
        }
    }
    let how = if is_direct { " (direct action)" } else { "" };
    filter.not_modelled.push(format!("bpf program {name}{how}"));
    Ok(true)
}

/// The actions of a filter, each an attribute numbered by its place.
fn actions(filter: &mut TcFilter, list: &Attribute<'_>) -> Result<(), NetlinkError> {
    for item in list.nested() {
        let action = action(&item?)?;
        if let TcAction::Other(name) = &action {
            filter.not_modelled.push(format!("action {name}"));
        }
        filter.actions.push(action);
    }
    Ok(())
}

fn action(item: &Attribute<'_>) -> Result<TcAction, NetlinkError> {
    const TCA_ACT_KIND: u16 = 1;
    const TCA_ACT_OPTIONS: u16 = 2;
    /// `TCA_GACT_PARMS` and `TCA_MIRRED_PARMS` are both 2.
    const PARMS: u16 = 2;
    const TCA_GACT_PROB: u16 = 3;
    let (mut kind, mut parms, mut is_random) = (String::new(), None, false);
    for attribute in item.nested() {
        let attribute = attribute?;
        match attribute.kind {
            TCA_ACT_KIND => kind = attribute.text()?,
            TCA_ACT_OPTIONS => {
                for option in attributes(attribute.value) {
                    let option = option?;
                    match option.kind {
                        PARMS => parms = Some(option),
                        TCA_GACT_PROB => is_random = true,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    match (kind.as_str(), parms) {
        ("gact", Some(parms)) if !is_random => verdict(&parms),
        ("mirred", Some(parms)) => mirred(&parms),
        _ => Ok(TcAction::Other(kind)),
    }
}

/// The third word of every action's parameters (`tc_gen`): what happens after it (`TC_ACT_*`).
fn verdict(parms: &Attribute<'_>) -> Result<TcAction, NetlinkError> {
    let [.., a, b, c, d] = parms.bytes::<12>()?;
    Ok(match i32::from_ne_bytes([a, b, c, d]) {
        0 => TcAction::Pass,
        2 => TcAction::Drop,
        // TC_ACT_UNSPEC goes on with the next filter, TC_ACT_PIPE with the next action.
        -1 | 3 => TcAction::Continue,
        other => TcAction::Other(format!("gact {other}")),
    })
}

/// `struct tc_mirred`: `tc_gen` (20 bytes), what to do, where to.
fn mirred(parms: &Attribute<'_>) -> Result<TcAction, NetlinkError> {
    let parms = parms.bytes::<28>()?;
    let (words, _) = parms.as_chunks::<4>();
    let link = IfIndex(u32::from_ne_bytes(words[6]));
    Ok(match i32::from_ne_bytes(words[5]) {
        1 => TcAction::Redirect { link, ingress: false },
        2 => TcAction::Mirror { link, ingress: false },
        3 => TcAction::Redirect { link, ingress: true },
        4 => TcAction::Mirror { link, ingress: true },
        other => TcAction::Other(format!("mirred {other}")),
    })
}
