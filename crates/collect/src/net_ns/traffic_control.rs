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
pub(super) fn filter(
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An attribute with its padding.
    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = u16::try_from(value.len() + 4).unwrap().to_ne_bytes().to_vec();
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn message(kind: &str, options: &[u8]) -> TrafficControl {
        let attributes =
            [attribute(TCA_KIND, format!("{kind}\0").as_bytes()), attribute(TCA_OPTIONS, options)].concat();
        let info = 10 << 16 | u32::from(0x0800u16.to_be());
        TrafficControl { link: 3, handle: 0x8000_0800, parent: INGRESS, info, attributes }
    }

    fn words(words: &[i32]) -> Vec<u8> {
        words.iter().flat_map(|it| it.to_ne_bytes()).collect()
    }

    /// An action with the parameters of `tc_gen` and what follows them.
    fn act(kind: &str, verdict: i32, rest: &[i32]) -> Vec<u8> {
        let parms = words(&[&[1, 0, verdict, 1, 1][..], rest].concat());
        [attribute(1, format!("{kind}\0").as_bytes()), attribute(2, &attribute(2, &parms))].concat()
    }

    fn read(kind: &str, options: &[u8]) -> TcFilter {
        filter(IfIndex(3), "ingress", &message(kind, options)).unwrap().unwrap()
    }

    #[test]
    fn verdicts_of_gact_are_told_apart() {
        // This kernel has no gact to capture from; the layout is that of `struct tc_gact`.
        for (verdict, wanted) in
            [(0, TcAction::Pass), (2, TcAction::Drop), (3, TcAction::Continue), (-1, TcAction::Continue)]
        {
            let options = attribute(2, &attribute(1, &act("gact", verdict, &[])));
            let filter = read("matchall", &options);
            assert_eq!(filter.actions, [wanted]);
            assert!(filter.not_modelled.is_empty());
            assert_eq!((filter.priority, filter.protocol), (10, 0x0800));
        }
        let reclassify = read("matchall", &attribute(2, &attribute(1, &act("gact", 1, &[]))));
        assert_eq!(reclassify.actions, [TcAction::Other("gact 1".to_owned())]);
        assert_eq!(reclassify.not_modelled, ["action gact 1"]);
    }

    #[test]
    fn an_action_by_chance_is_not_modelled() {
        let options = [attribute(2, &words(&[1, 0, 2, 1, 1])), attribute(3, &[0; 8])].concat();
        let random = [attribute(1, b"gact\0"), attribute(2, &options)].concat();
        let filter = read("matchall", &attribute(2, &attribute(1, &random)));
        assert_eq!(filter.actions, [TcAction::Other("gact".to_owned())]);
    }

    #[test]
    fn several_actions_keep_their_order() {
        let list = [attribute(1, &act("mirred", 3, &[2, 7])), attribute(2, &act("gact", 2, &[]))].concat();
        let filter = read("matchall", &attribute(2, &list));
        assert_eq!(filter.actions, [TcAction::Mirror { link: IfIndex(7), ingress: false }, TcAction::Drop]);
    }

    #[test]
    fn what_is_not_understood_of_a_filter_is_named() {
        let selector = |flags: u8, key: [i32; 4]| {
            let mut bytes = vec![flags, 0, 1, 0];
            bytes.extend_from_slice(&[0; 12]);
            bytes.extend(words(&key));
            attribute(5, &bytes)
        };
        let plain = read("u32", &selector(1, [0, 0, 12, 0]));
        assert!(plain.not_modelled.is_empty());
        assert_eq!(plain.keys, [U32Key { mask: 0, value: 0, offset: 12 }]);
        assert_eq!(read("u32", &selector(0, [0; 4])).not_modelled, ["not terminal"]);
        assert_eq!(read("u32", &selector(5, [0; 4])).not_modelled, ["offset flags 0x4"]);
        let nexthdr = read("u32", &selector(1, [0, 0, 0, -1]));
        assert_eq!(nexthdr.not_modelled, ["offset from the packet (nexthdr)"]);
        let bucket = [selector(1, [0; 4]), attribute(2, &words(&[0x8000_1000u32.cast_signed()]))].concat();
        assert_eq!(read("u32", &bucket).not_modelled, ["hash bucket 0x80001000"]);
        assert_eq!(read("flower", &[]).not_modelled, ["kind flower"]);
        let bpf = [attribute(7, b"cil_from_netdev\0"), attribute(8, &words(&[1]))].concat();
        assert_eq!(read("bpf", &bpf).not_modelled, ["bpf program cil_from_netdev (direct action)"]);
        // A table of filters is no filter, and neither is a list without options.
        let table = filter(IfIndex(3), "ingress", &message("u32", &attribute(4, &words(&[1])))).unwrap();
        assert_eq!(table, None);
    }

    #[test]
    fn a_selector_with_fewer_keys_than_it_says_is_an_error() {
        let mut bytes = vec![1, 0, 2, 0];
        bytes.extend_from_slice(&[0; 28]);
        assert!(filter(IfIndex(3), "ingress", &message("u32", &attribute(5, &bytes))).is_err());
    }

    #[test]
    fn a_rate_beyond_32_bits_is_read() {
        let mut parms = [0; 36];
        parms[8..12].copy_from_slice(&u32::MAX.to_ne_bytes());
        parms[24..28].copy_from_slice(&100u32.to_ne_bytes());
        parms[28..32].copy_from_slice(&1000u32.to_ne_bytes());
        let options = [attribute(1, &parms), attribute(4, &10_000_000_000u64.to_ne_bytes())].concat();
        let qdisc = qdisc(&message("tbf", &options)).unwrap();
        let wanted = TokenBucket { rate: 10_000_000_000, burst: 640_000, limit: 100 };
        assert_eq!(qdisc.token_bucket, Some(wanted));
    }

    #[test]
    fn filters_are_looked_for_where_they_can_be() {
        let places = |kind: &str, handle: u32| {
            let qdisc = Qdisc {
                link: IfIndex(1),
                kind: kind.to_owned(),
                handle,
                parent: 0xffff_ffff,
                token_bucket: None,
                limit: None,
                drops: 0,
            };
            places(&qdisc).into_iter().map(|(_, it)| it).collect::<Vec<_>>()
        };
        assert_eq!(places("clsact", 0xffff_0000), ["ingress", "egress"]);
        assert_eq!(places("htb", 0x0010_0000), ["10:0"]);
        assert!(places("noqueue", 0).is_empty());
        assert!(places("fq_codel", 0).is_empty());
        assert_eq!(places("fq_codel", 0x8001_0000), ["8001:0"]);
    }

    fn nested() -> impl Strategy<Value = Vec<u8>> {
        let leaf = proptest::collection::vec(any::<u8>(), 0..40);
        leaf.prop_recursive(4, 32, 4, |inner| {
            proptest::collection::vec((0u16..13, inner), 0..4)
                .prop_map(|all| all.iter().flat_map(|(kind, value)| attribute(*kind, value)).collect())
        })
    }

    proptest! {
        #[test]
        fn no_options_make_it_panic(
            kind in "(u32|bpf|matchall|tbf|pfifo|flower|htb)",
            options in nested(),
        ) {
            let message = message(&kind, &options);
            let _ = (filter(IfIndex(1), "ingress", &message), qdisc(&message));
        }
    }
}
