//! Configuration files.

use hopwise_controllers::{
    cni::FlannelDelegate,
    flannel::{FlannelConfig, SubnetEnv},
    kube_proxy::KubeProxyConfig,
    kubelet::KubeletConfig,
};
use hopwise_dns::{Corefile, Hosts, ResolvConf, Resolver};
use hopwise_repair::boot;
use hopwise_snapshot::{File, FileContent, Node, Observed, SysctlKey};

use crate::text;

/// `resolv.conf`. A line `nameserver` is a name server or has a remark; every name that is asked for is absolute.
pub fn resolv_conf(data: &[u8]) {
    let conf = ResolvConf::parse(data);
    for (at, line) in data.split(|it| *it == b'\n').enumerate() {
        let is_server = line.starts_with(b"nameserver") && matches!(line.get(10), None | Some(b' ' | b'\t'));
        let is_read = conf.nameservers.iter().any(|it| it.line == at + 1);
        let is_named = conf.remarks.iter().any(|it| it.line == at + 1);
        assert!(!is_server || is_read || is_named, "line {} is lost", at + 1);
    }
    for resolver in [Resolver::Glibc, Resolver::Musl] {
        for name in ["a", "a.b", "a.b.c.d.e.f", "a.", "", "kubernetes.default.svc"] {
            for candidate in conf.candidates_of(resolver, name) {
                assert!(candidate.ends_with('.'), "{candidate}");
            }
        }
    }
    assert!(!conf.used_nameservers().is_empty());
    for remark in &conf.remarks {
        let _ = remark.to_string();
    }
}

/// `/etc/hosts`.
pub fn hosts(data: &[u8]) {
    let hosts = Hosts::parse(data);
    for entry in hosts.entries.iter().take(20) {
        for name in &entry.names {
            assert!(hosts.lookup(name).contains(&entry.address), "{name}");
        }
    }
}

/// A Corefile. Remarks and words point into it.
pub fn corefile(data: &[u8]) {
    let corefile = Corefile::parse(data);
    let n_lines = text(data).matches('\n').count() + 1;
    for remark in &corefile.remarks {
        assert!((1..=n_lines).contains(&remark.line), "{remark:?}");
    }
    for block in &corefile.blocks {
        assert!((1..=n_lines).contains(&block.line));
        let _ = (block.zones(), block.kubernetes(), block.forward(), block.hosts(), block.cache());
        let _ = (block.health(), block.ready(), block.detects_loops(), block.logs_errors());
    }
    for name in [".", "kubernetes.default.svc.cluster.local.", "example.org."] {
        corefile.block_for(name, 53);
    }
}

/// Files of `sysctl.d`. A line that is no comment is a setting or is named as not understood.
pub fn sysctl_files(data: &[u8]) {
    let path = "/etc/sysctl.d/50-x.conf";
    let content = match std::str::from_utf8(data) {
        Ok(text) => FileContent::Text(text.to_owned()),
        Err(_) => FileContent::Bytes(data.to_vec()),
    };
    let mut node = Node::default();
    let file = File { content, mode: 0o644, modified: None, link_target: None, n_redacted: 0 };
    node.files.insert(path.to_owned(), Observed::Known(file));
    let Observed::Known(boot) = boot::boot(&node) else { panic!("a file that was read was not read") };
    let text = text(data);
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let is_named = boot.not_understood.iter().any(|it| it.1 == at + 1);
        let is_set = boot.settings.values().any(|it| it.line >= at + 1);
        assert!(is_named || is_set, "line {} is lost: {line:?}", at + 1);
    }
    boot.decides(&SysctlKey::from_dotted("net.ipv4.conf.eth0.rp_filter"));
}

/// flannel's `subnet.env`. What is written reads as what it was written from.
pub fn subnet_env(data: &[u8]) {
    if let Ok(env) = SubnetEnv::parse(&text(data)) {
        assert_eq!(SubnetEnv::parse(&env.to_string()).as_ref(), Ok(&env), "{env}");
    }
}

/// A CNI configuration that calls flannel.
pub fn cni(data: &[u8]) {
    if let Err(error) = FlannelDelegate::parse(&text(data)) {
        assert!(!error.to_string().is_empty());
    }
}

/// flannel's `net-conf.json`.
pub fn flannel_config(data: &[u8]) {
    if let Err(error) = FlannelConfig::parse(&text(data)) {
        assert!(!error.to_string().is_empty());
    }
}

/// kubelet's configuration, in YAML.
pub fn kubelet_config(data: &[u8]) {
    if let Err(error) = KubeletConfig::parse(&text(data)) {
        assert!(!error.to_string().is_empty());
    }
}

/// kube-proxy's configuration, in YAML.
pub fn kube_proxy_config(data: &[u8]) {
    if let Err(error) = KubeProxyConfig::parse(&text(data)) {
        assert!(!error.to_string().is_empty());
    }
}
