//! What `bridge -j` prints (iproute2 6.1).

use std::collections::BTreeMap;

use hopwise_snapshot::{BridgePort, FdbEntry, FdbState, IfIndex, Link};

use super::{
    ip::{ip, link_called, port_settings},
    json::entries,
};
use crate::error::SourceError;

/// Reads the settings of bridge ports in `bridge -d -j link`, by the port's index.
pub fn ports(file: &str, text: &str) -> Result<BTreeMap<IfIndex, BridgePort>, SourceError> {
    let mut ports = BTreeMap::new();
    for entry in entries(file, text)? {
        let index = entry.number("ifindex")?.ok_or_else(|| entry.error("expected a field `ifindex`"))?;
        // Devices with a bridge of their own are listed too, without a state.
        if entry.has("state") {
            ports.insert(IfIndex(index), port_settings(&entry)?);
        }
    }
    Ok(ports)
}

/// Reads `bridge -j fdb`.
pub fn fdb(file: &str, text: &str, links: &[Link]) -> Result<Vec<FdbEntry>, SourceError> {
    let mut fdb = Vec::new();
    for entry in entries(file, text)? {
        let via = match entry.text("viaIf")? {
            Some(name) => Some(link_called(&entry, links, name)?),
            None => entry.number("viaIfIndex")?.map(IfIndex),
        };
        fdb.push(FdbEntry {
            link: link_called(&entry, links, entry.required_text("ifname")?)?,
            mac: entry
                .required_text("mac")?
                .parse()
                .map_err(|it: hopwise_snapshot::MacError| entry.error(it.to_string()))?,
            state: match entry.text("state")? {
                Some("permanent") => FdbState::Permanent,
                Some("static") => FdbState::Static,
                _ => FdbState::Learned,
            },
            on_device: entry.texts("flags")?.contains(&"self"),
            sticky: false,
            vlan: entry.number("vlan")?,
            remote: ip(&entry, "dst")?,
            vni: entry.number("vni")?,
            port: entry.number("port")?,
            via,
        });
    }
    Ok(fdb)
}
