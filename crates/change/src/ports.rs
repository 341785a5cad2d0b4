//! What a bridge does by itself when one of its ports changes.
//!
//! Sources: net/bridge/{br_if,br_stp,br_stp_if}.c (Linux 6.18).

use hopwise_snapshot::{IfIndex, LinkDetail, NetNs, PortState};

use crate::kernel;

/// Sets the MTU of an interface; a bridge that it is a port of takes the smallest of its ports' (`br_mtu_auto_adjust`),
/// as long as nobody sets its own, which cannot be read.
pub(crate) fn set_mtu(net: &mut NetNs, name: &str, mtu: u32) -> Option<()> {
    let links = net.links.known_mut()?;
    let link = links.iter_mut().find(|it| it.name == name)?;
    let before = std::mem::replace(&mut link.mtu, mtu);
    let master = link.master;
    kernel::follow_size(net, name, before);
    let Some(master) = master else { return Some(()) };
    let links = net.links.known_mut()?;
    let smallest_now = links.iter().filter(|it| it.master == Some(master)).map(|it| it.mtu).min();
    let others = links.iter().filter(|it| it.master == Some(master) && it.name != name).map(|it| it.mtu);
    let smallest_before = others.chain([before]).min();
    let bridge = links.iter_mut().find(|it| it.index == master)?;
    // A bridge whose size is not that of its ports was given it by somebody.
    if matches!(bridge.detail, LinkDetail::Bridge(_))
        && Some(bridge.mtu) == smallest_before
        && let Some(smallest) = smallest_now
    {
        let before = std::mem::replace(&mut bridge.mtu, smallest);
        let name = bridge.name.clone();
        kernel::follow_size(net, &name, before);
    }
    Some(())
}

/// A port that is set to blocking on a bridge without the spanning tree protocol is designated, and forwards at once
/// (`br_set_port_state`, `br_port_state_selection`, `br_make_forwarding`).
pub(crate) fn select_state(net: &mut NetNs, port: &str) {
    let Some(links) = net.links.known_mut() else { return };
    let has_stp = |index: IfIndex| {
        links.iter().any(|it| it.index == index && matches!(&it.detail, LinkDetail::Bridge(it) if it.stp))
    };
    let Some(at) = links.iter().position(|it| it.name == port) else { return };
    let is_free = links[at].master.is_some_and(|it| !has_stp(it));
    if let Some(setting) = links[at].port.as_mut().filter(|it| is_free && it.state == PortState::Blocking) {
        setting.state = PortState::Forwarding;
    }
}

#[cfg(test)]
mod tests {
    use hopwise_snapshot::{Bridge, BridgePort, Observed};

    use super::*;
    use crate::resync::new_link;

    fn net() -> NetNs {
        let mut net = NetNs { links: Observed::Known(Vec::new()), ..NetNs::default() };
        for (index, name) in [(1, "br"), (2, "a"), (3, "b")] {
            let mut link = new_link(&net, name);
            link.index = IfIndex(index);
            if name == "br" {
                link.detail = LinkDetail::Bridge(Bridge::default());
            } else {
                link.master = Some(IfIndex(1));
                link.port = Some(BridgePort::default());
            }
            net.links.known_mut().unwrap().push(link);
        }
        net
    }

    fn mtus(net: &NetNs) -> Vec<u32> {
        net.links.known().unwrap().iter().map(|it| it.mtu).collect()
    }

    #[test]
    fn a_bridge_takes_the_smallest_size_of_its_ports() {
        let mut net = net();
        set_mtu(&mut net, "a", 1300).unwrap();
        assert_eq!(mtus(&net), [1300, 1300, 1500]);
        set_mtu(&mut net, "a", 1500).unwrap();
        assert_eq!(mtus(&net), [1500, 1500, 1500]);
        set_mtu(&mut net, "br", 1400).unwrap();
        set_mtu(&mut net, "a", 1300).unwrap();
        assert_eq!(mtus(&net), [1400, 1300, 1500], "somebody set it");
    }

    #[test]
    fn without_spanning_tree_nothing_stays_blocked() {
        let mut net = net();
        for (state, kept) in
            [(PortState::Blocking, PortState::Forwarding), (PortState::Learning, PortState::Learning)]
        {
            net.links.known_mut().unwrap()[1].port.as_mut().unwrap().state = state;
            select_state(&mut net, "a");
            assert_eq!(net.link("a").unwrap().port.as_ref().unwrap().state, kept);
        }
    }
}
