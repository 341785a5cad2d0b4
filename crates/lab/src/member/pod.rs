//! A pod: its sandbox, and its container in it.

use std::{
    fs::{self, File},
    io,
    io::{PipeReader, PipeWriter, Read, Write},
    net::IpAddr,
    path::Path,
    time::{Duration, Instant},
};

use hopwise_controllers::kubelet::{pod_dns, pod_hosts};
use hopwise_snapshot::{Place, PodObject, Protocol};
use hopwise_sys::process::{ChildWatch, End, set_name};
use tokio::task::spawn_local;

use super::{
    Common,
    dns::{Dns, Forward, LoopGuard, Objects, Scope, ask_oneself, serve},
    files::Tree,
    log::Log,
    node_files::{HOST_CONF, NSSWITCH},
    open_directory,
    report::{Event, Reporter},
    responder::{datagrams_everywhere, listen_everywhere, serve_tcp, serve_udp},
    run_local, start,
};
use crate::{
    error::chain,
    layout::{App, NodeLayout, PodLayout},
    network::kubelet_config,
    objects::ObjectStore,
    random,
};

/// What a pod gets from its node when it starts.
#[derive(Debug)]
pub(super) struct PodStart {
    /// Its `/etc/resolv.conf`. It stays what it is, whatever becomes of the node's.
    resolv_conf: String,
    /// Its `/etc/hosts`.
    hosts: String,
    /// The directory of its logs, open: the pod cannot see the node's `/var/log`.
    logs: File,
}

impl PodStart {
    /// What the calling process, which is on the node, has for a pod that starts now.
    pub(super) fn on_node(common: &Common, node: &NodeLayout, pod: &PodLayout) -> io::Result<Self> {
        let logs =
            format!("/var/log/pods/{}_{}_{}/{}", pod.name.namespace, pod.name.name, pod.uid, pod.app.name());
        fs::create_dir_all(&logs)?;
        let store = ObjectStore::new(open_directory(&common.objects));
        let cluster = store.cluster().map_err(|error| io::Error::other(chain(&error)))?;
        let object = cluster.pod(&pod.name);
        let object = object.ok_or_else(|| io::Error::other(format!("no object for the pod {}", pod.name)))?;
        let (resolv_conf, hosts) = files_of_kubelet(object, &node.addresses, Path::new("/"))?;
        Ok(Self { resolv_conf, hosts, logs: File::open(logs)? })
    }
}

/// The first process of a pod, in place of the pause container. `up` gets its number, as
/// whoever made the lab counts, once its namespaces are there. Its container is started when a byte comes through `gate`:
/// a pod has its network before anything runs in it.
pub(super) fn run_pod(
    common: &Common,
    pod: &PodLayout,
    reporter: &Reporter,
    start: PodStart,
    (mut up, mut gate): (PipeWriter, PipeReader),
) -> io::Result<()> {
    set_name("pause")?;
    let number = common.settle(reporter, &pod.name.name, &pod_files(pod, &start))?;
    up.write_all(&number.to_ne_bytes())?;
    drop(up);
    gate.read_exact(&mut [0])?;
    let container = Container { common, pod, reporter, logs: start.logs };
    container.keep_running()
}

struct Container<'a> {
    common: &'a Common,
    pod: &'a PodLayout,
    reporter: &'a Reporter,
    logs: File,
}

impl Container<'_> {
    /// Starts the container, and again whenever it ends: after 10 s, then twice as long each time, at most 5 min
    /// (kubelet 1.34, `pkg/kubelet/kubelet.go`, `backOffPeriod`, `MaxContainerBackOff`).
    fn keep_running(&self) -> io::Result<()> {
        const FIRST: Duration = Duration::from_secs(10);
        const LONGEST: Duration = Duration::from_mins(5);
        const FORGOTTEN_AFTER: Duration = Duration::from_mins(10);
        let mut children = ChildWatch::new()?;
        let mut back_off = FIRST;
        for n_restarts in 0.. {
            let started = Instant::now();
            let program = start(self.program(), self.reporter, || self.run(n_restarts))?;
            let end = wait_for(&mut children, program)?;
            if started.elapsed() > FORGOTTEN_AFTER {
                back_off = FIRST;
            }
            self.reporter.tell(Event::Ended {
                exit_code: end.shell_code(),
                n_restarts: n_restarts + 1,
                back_off: back_off.as_secs(),
            });
            let next_start = Instant::now() + back_off;
            while children.next(Some(next_start))?.is_some() {}
            back_off = (back_off * 2).min(LONGEST);
        }
        Ok(())
    }

    fn program(&self) -> &'static str {
        self.pod.app.name()
    }

    fn run(&self, n_restarts: u32) -> io::Result<()> {
        let log = Log::open(&open_directory(&self.logs), n_restarts);
        if self.pod.app == App::CoreDns {
            return self.run_coredns(log);
        }
        log.line(&format!("listening on port {}", crate::layout::RESPONDER_PORT));
        run_local(async {
            let who = Place::Pod(self.pod.name.clone()).to_string();
            for (_, port, protocol) in self.pod.app.ports() {
                if *protocol == Protocol::Udp {
                    spawn_local(serve_udp(datagrams_everywhere(*port)?, who.as_str().into()));
                } else {
                    spawn_local(serve_tcp(listen_everywhere(*port)?, who.as_str().into()));
                }
            }
            self.reporter.tell(Event::Listening { program: self.program().to_owned() });
            std::future::pending().await
        })
    }

    fn run_coredns(&self, log: Log) -> io::Result<()> {
        let who = Place::Pod(self.pod.name.clone()).to_string();
        let text = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        let forward = match Forward::from_resolv_conf(&text) {
            Ok(forward) => forward,
            Err(error) => {
                log.line(&error.to_string());
                std::process::exit(1);
            }
        };
        for line in [".:53", "CoreDNS-1.12.1"] {
            log.line(line);
        }
        let objects = Objects::new(open_directory(&self.common.objects));
        let number = || random::number().map_err(|error| io::Error::other(chain(&error)));
        let guard = LoopGuard::new([number()?, number()?]);
        run_local(async {
            let udp = vec![datagrams_everywhere(53)?];
            let tcp = vec![listen_everywhere(53)?];
            // Metrics, health and readiness.
            for port in [9153, 8080, 8181] {
                spawn_local(serve_tcp(listen_everywhere(port)?, who.as_str().into()));
            }
            self.reporter.tell(Event::Listening { program: self.program().to_owned() });
            spawn_local(ask_oneself(guard.clone()));
            serve(Dns { who, scope: Scope::Cluster { objects, forward, guard, log } }, udp, tcp).await
        })
    }
}

fn wait_for(children: &mut ChildWatch, program: u32) -> io::Result<End> {
    loop {
        if let Some((pid, end)) = children.next(None)?
            && pid == program
        {
            return Ok(end);
        }
    }
}

/// The files of a pod.
fn pod_files(pod: &PodLayout, start: &PodStart) -> Tree {
    let mut tree = Tree::of_this_machine();
    tree.file("/etc/hostname", format!("{}\n", pod.name.name))
        .file("/etc/hosts", start.hosts.as_str())
        .file("/etc/host.conf", HOST_CONF)
        .file("/etc/nsswitch.conf", NSSWITCH)
        .file("/etc/resolv.conf", start.resolv_conf.as_str());
    if pod.app == App::CoreDns {
        tree.file("/etc/coredns/Corefile", crate::objects::COREFILE);
    }
    tree
}

/// What kubelet makes of its node's files for a pod that starts now.
///
/// `root` is where the node's file system is.
fn files_of_kubelet(object: &PodObject, node_ips: &[IpAddr], root: &Path) -> io::Result<(String, String)> {
    let read = |path: &str| fs::read_to_string(root.join(path.trim_start_matches('/')));
    let config = kubelet_config(&read("/var/lib/kubelet/config.yaml").unwrap_or_default());
    let config = config.map_err(|error| io::Error::other(chain(&error)))?;
    let node_resolv_conf = read(&config.resolv_conf).unwrap_or_default();
    let dns = pod_dns(&config, &node_resolv_conf, node_ips, object).map_err(io::Error::other)?;
    let hosts = pod_hosts(&config, &read("/etc/hosts").unwrap_or_default(), object);
    // With nothing to say, the container runtime copies the node's own file.
    let resolv_conf =
        if dns.is_empty() { read("/etc/resolv.conf").unwrap_or_default() } else { dns.to_string() };
    Ok((resolv_conf, hosts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        layout::{Layout, Shape},
        objects::{Maker, kubelet_configuration},
    };

    #[test]
    fn a_pod_asks_the_cluster_and_coredns_asks_whom_its_node_asked() {
        let layout = Layout::new(Shape::default()).unwrap();
        let objects = Maker::new(&layout, jiff::Timestamp::UNIX_EPOCH).all().unwrap();
        let pods: Vec<PodObject> = serde_json::from_value(objects["pods"].clone().into()).unwrap();
        let root = std::env::temp_dir().join(format!("hopwise-pod-{}", random::suffix().unwrap()));
        for (path, text) in [
            ("etc/resolv.conf", "search corp.example\nnameserver 203.0.113.53\n".to_owned()),
            ("var/lib/kubelet/config.yaml", kubelet_configuration("\"\"")),
        ] {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::write(root.join(path), text).unwrap();
        }
        let resolv_conf = |name: &str| {
            let pod = pods.iter().find(|it| it.metadata.name == name).unwrap();
            files_of_kubelet(pod, &[], &root).unwrap().0
        };
        assert_eq!(resolv_conf("coredns-a"), "search corp.example\nnameserver 203.0.113.53\n");
        assert_eq!(
            resolv_conf("cart-w1"),
            "search shop.svc.cluster.local svc.cluster.local cluster.local corp.example\n\
             nameserver 10.96.0.10\noptions ndots:5\n"
        );
        fs::write(root.join("etc/resolv.conf"), "").unwrap();
        assert_eq!(resolv_conf("coredns-a"), "");
        fs::remove_dir_all(root).unwrap();
    }
}
