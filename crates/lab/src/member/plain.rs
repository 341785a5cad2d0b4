//! Members that are no part of the cluster: the underlay and what is outside.

use std::{fs::File, io, io::Read, net::IpAddr, net::SocketAddr};

use hopwise_sys::process::{ChildWatch, set_name};
use tokio::task::spawn_local;

use super::{
    Common,
    dns::{Dns, Scope, serve},
    node_files::plain_files,
    report::{Event, Reporter},
    responder::{datagrams_at, listen_at, serve_tcp, serve_udp},
    run_local, start,
};
use crate::layout::RESPONDER_PORT;

/// The underlay between the nodes: a bridge, and nothing that runs.
pub(crate) fn run_fabric(common: &Common, reporter: &Reporter) -> io::Result<()> {
    set_name("fab")?;
    common.settle(reporter, "fab", &plain_files("fab"))?;
    reap_for_ever()
}

/// What is outside of the cluster: the gateway, a web server and a DNS server.
///
/// The keeper writes a byte to `gate` when the addresses are there.
pub(crate) fn run_outside(common: &Common, reporter: &Reporter, mut gate: File) -> io::Result<()> {
    set_name("outside")?;
    common.settle(reporter, "outside", &plain_files("outside"))?;
    let layout = &common.layout;
    let web = layout.web_addresses();
    let upstream = layout.upstream_addresses();
    start("web", reporter, || {
        gate.read_exact(&mut [0])?;
        run_local(web_and_dns(reporter, web, upstream))
    })?;
    reap_for_ever()
}

async fn web_and_dns(reporter: &Reporter, web: Vec<IpAddr>, upstream: Vec<IpAddr>) -> io::Result<()> {
    for address in &web {
        for port in [80, RESPONDER_PORT] {
            let at = SocketAddr::new(*address, port);
            spawn_local(serve_tcp(listen_at(at)?, "outside".into()));
            spawn_local(serve_udp(datagrams_at(at)?, "outside".into()));
        }
    }
    let at = |address: &IpAddr| SocketAddr::new(*address, 53);
    let udp = upstream.iter().map(|it| datagrams_at(at(it))).collect::<io::Result<_>>()?;
    let tcp = upstream.iter().map(|it| listen_at(at(it))).collect::<io::Result<_>>()?;
    reporter.tell(Event::Listening { program: "web".to_owned() });
    serve(Dns { who: "outside".to_owned(), scope: Scope::Outside(web) }, udp, tcp).await
}

fn reap_for_ever() -> io::Result<()> {
    let mut children = ChildWatch::new()?;
    loop {
        children.next(None)?;
    }
}
