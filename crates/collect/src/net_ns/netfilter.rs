//! Packet filters of both back ends, and IP sets.
//!
//! What is in them only the tools that write them print in full, and starting a program costs more than
//! reading everything else. The kernel is therefore asked first which tables there are.

use std::{fs, io};

use hopwise_snapshot::{Netfilter, Observed, Reason, SaveTexts};
use hopwise_sys::{
    Program, ProgramError,
    netlink::{self, NetlinkError, NftTable},
};

use super::{
    Surroundings,
    nft_devices::{add_devices, families_without_devices},
};
use crate::reason;

const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;

/// The tables that iptables-nft can own (`xtables_ipv4`, `iptables/nft.c`). It prints no others.
const IPTABLES: [&str; 5] = ["filter", "nat", "mangle", "raw", "security"];

/// nfnetlink answers `EINVAL` for a part of it that the kernel lacks (`nfnetlink_rcv_msg`).
const EINVAL: i32 = 22;

/// The packet filters of the calling thread's namespace.
pub(super) fn netfilter(surroundings: &Surroundings<'_>) -> Netfilter {
    let tables = tables(surroundings);
    Netfilter {
        nft: nft(surroundings, &tables),
        iptables_nft: SaveTexts {
            ipv4: iptables_nft(surroundings, &tables, NFPROTO_IPV4),
            ipv6: iptables_nft(surroundings, &tables, NFPROTO_IPV6),
        },
        iptables_legacy: SaveTexts {
            ipv4: legacy(surroundings, "ip_tables_names", "iptables"),
            ipv6: legacy(surroundings, "ip6_tables_names", "ip6tables"),
        },
        arptables_legacy: legacy(surroundings, "arp_tables_names", "arptables"),
        ipsets: ip_sets(surroundings),
    }
}

fn tables(surroundings: &Surroundings<'_>) -> Result<Vec<NftTable>, Reason> {
    if surroundings.modules.surely_lacks("nf_tables") {
        return Ok(Vec::new());
    }
    list(surroundings, "nf_tables", netlink::Netfilter::tables)
}

fn ip_sets(surroundings: &Surroundings<'_>) -> Observed<String> {
    if surroundings.modules.surely_lacks("ip_set") {
        return Observed::Absent;
    }
    match list(surroundings, "IP sets", netlink::Netfilter::ip_sets) {
        Ok(names) if names.is_empty() => Observed::Absent,
        Ok(_) => print(surroundings, &[("ipset", &["save"])]),
        Err(reason) => Observed::NotCollected(reason),
    }
}

/// A list of names; an empty one where the kernel has no such thing.
fn list<T>(
    surroundings: &Surroundings<'_>,
    what: &str,
    read: impl FnOnce(&mut netlink::Netfilter) -> Result<Vec<T>, NetlinkError>,
) -> Result<Vec<T>, Reason> {
    surroundings.in_time()?;
    let socket = netlink::Netfilter::open(surroundings.limits.netlink);
    match socket.and_then(|mut it| read(&mut it)) {
        Ok(list) => Ok(list),
        Err(error) if error.errno() == Some(EINVAL) => Ok(Vec::new()),
        Err(error) => Err(reason::of_netlink(&error, what)),
    }
}

fn nft(surroundings: &Surroundings<'_>, tables: &Result<Vec<NftTable>, Reason>) -> Observed<String> {
    match tables {
        Ok(tables) if tables.is_empty() => Observed::Absent,
        Ok(_) => {
            let listing = print(surroundings, &[("nft", &["-j", "list", "ruleset"])]);
            listing.map(|it| with_devices(surroundings, it))
        }
        Err(reason) => Observed::NotCollected(reason.clone()),
    }
}

/// The listing with the devices of its chains. What cannot be read stays out, and whoever evaluates says so.
fn with_devices(surroundings: &Surroundings<'_>, listing: String) -> String {
    if !(listing.contains("\"ingress\"") || listing.contains("\"egress\"")) {
        return listing;
    }
    let Ok(mut json) = serde_json::from_str(&listing) else { return listing };
    for family in families_without_devices(&json) {
        if let Observed::Known(text) = print(surroundings, &[("nft", &["list", "ruleset", family])]) {
            add_devices(&mut json, &text);
        }
    }
    json.to_string()
}

fn iptables_nft(
    surroundings: &Surroundings<'_>,
    tables: &Result<Vec<NftTable>, Reason>,
    family: u8,
) -> Observed<String> {
    let tables = match tables {
        Ok(tables) => tables,
        Err(reason) => return Observed::NotCollected(reason.clone()),
    };
    if !tables.iter().any(|it| it.family == family && IPTABLES.contains(&it.name.as_str())) {
        return Observed::Absent;
    }
    let (save, multi): (&str, &[&str]) = match family {
        NFPROTO_IPV4 => ("iptables-nft-save", &["iptables-save", "-c"]),
        _ => ("ip6tables-nft-save", &["ip6tables-save", "-c"]),
    };
    print(surroundings, &[(save, &["-c"]), ("xtables-nft-multi", multi)]).map(|it| untimed(&it))
}

/// The tables of the xtables back end. `PROGRAM-save` reads the names file itself and makes no table.
fn legacy(surroundings: &Surroundings<'_>, names: &str, program: &str) -> Observed<String> {
    match has_legacy_tables(fs::read_to_string(format!("/proc/thread-self/net/{names}")), names) {
        Ok(true) => {}
        Ok(false) => return Observed::Absent,
        Err(reason) => return Observed::NotCollected(reason),
    }
    let save = format!("{program}-legacy-save");
    // arptables-legacy-save knows no counters.
    let arguments: &[&str] = if program == "arptables" { &[] } else { &["-c"] };
    let multi = [&format!("{program}-save"), "-c"];
    let printed = match program {
        "arptables" => print(surroundings, &[(&save, arguments)]),
        _ => print(surroundings, &[(&save, arguments), ("xtables-legacy-multi", &multi)]),
    };
    printed.map(|it| untimed(&it))
}

/// Does the file list a table? Without the file the kernel has no such back end, and so no table.
fn has_legacy_tables(names: io::Result<String>, file: &str) -> Result<bool, Reason> {
    match names {
        Ok(text) => Ok(!text.trim().is_empty()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(reason::of_io(&error, &format!("reading /proc/net/{file}"))),
    }
}

/// What the first of these programs prints that there is and that succeeds: the tools of a node may be older
/// than the rules on it, which those of a container wrote.
fn print(surroundings: &Surroundings<'_>, candidates: &[(&str, &[&str])]) -> Observed<String> {
    let mut failure = Reason::ProgramMissing(candidates[0].0.to_owned());
    for root in surroundings.tools {
        let programs =
            candidates.iter().map(|(name, arguments)| Program { name, arguments, root: root.as_ref() });
        let Some(program) = programs.into_iter().find(Program::exists) else { continue };
        if let Err(reason) = surroundings.in_time() {
            return Observed::NotCollected(reason);
        }
        match program.run(&surroundings.program_limits()) {
            Ok(bytes) => return Observed::Known(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error @ (ProgramError::Failed { .. } | ProgramError::NotStarted { .. })) => {
                if matches!(failure, Reason::ProgramMissing(_)) {
                    failure = reason::of_program(&error);
                }
            }
            // Another program would take as long.
            Err(error) => return Observed::NotCollected(reason::of_program(&error)),
        }
    }
    Observed::NotCollected(failure)
}

/// Cuts the time out of the comments that iptables-save writes, and nothing else: the same rules must give
/// the same snapshot.
fn untimed(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    for line in text.lines() {
        let is_comment = line.starts_with("# Generated by ") || line.starts_with("# Completed ");
        let end = if is_comment { line.rfind(" on ").unwrap_or(line.len()) } else { line.len() };
        kept.push_str(&line[..end]);
        kept.push('\n');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_names_file_that_may_not_be_read_is_no_absence() {
        let of = |names: io::Result<&str>| has_legacy_tables(names.map(str::to_owned), "ip_tables_names");
        assert_eq!(of(Ok("filter\nnat\n")), Ok(true));
        assert_eq!(of(Ok("")), Ok(false));
        assert_eq!(of(Err(io::ErrorKind::NotFound.into())), Ok(false));
        let right = "reading /proc/net/ip_tables_names".to_owned();
        assert_eq!(of(Err(io::ErrorKind::PermissionDenied.into())), Err(Reason::NotPermitted(right)));
    }

    #[test]
    fn only_the_time_is_cut_from_what_a_tool_printed() {
        let printed = "# Generated by iptables-nft-save v1.8.9 (nf_tables) on Sat Nov 21 12:20:01 2026\n*filter\n\
                       -A INPUT -m comment --comment \"# Generated by me on Monday\"\nCOMMIT\n\
                       # Completed on Sat Nov 21 12:20:01 2026\n# Table `x' is incompatible, use 'nft' tool.\n";
        let wanted = "# Generated by iptables-nft-save v1.8.9 (nf_tables)\n*filter\n\
                      -A INPUT -m comment --comment \"# Generated by me on Monday\"\nCOMMIT\n\
                      # Completed\n# Table `x' is incompatible, use 'nft' tool.\n";
        assert_eq!(untimed(printed), wanted);
    }
}
