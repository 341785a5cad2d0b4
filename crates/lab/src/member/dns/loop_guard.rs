//! Noticing that questions which are passed on come back, as CoreDNS's plugin `loop`.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use hickory_proto::{
    op::{Message, Query},
    rr::{Name, RecordType},
};
use tokio::{
    net::UdpSocket,
    time::{sleep, timeout},
};

/// More often than this the question must not be seen (CoreDNS 1.12, `plugin/loop/loop.go`).
const MOST: u32 = 2;

/// A question that a server asks itself. Seen again and again, it runs in a circle.
#[derive(Clone, Debug)]
pub(crate) struct LoopGuard {
    name: Name,
    n_seen: Arc<AtomicU32>,
}

impl LoopGuard {
    /// With a question that nobody else asks: two random numbers.
    pub(crate) fn new(numbers: [u64; 2]) -> Self {
        let text = format!("{}.{}.", numbers[0], numbers[1]);
        Self { name: Name::from_ascii(text).unwrap_or_else(|_| Name::root()), n_seen: Arc::default() }
    }

    /// Takes note of a question from `source`. Returns the words of CoreDNS's last message where it was seen too often.
    pub(crate) fn note(&self, name: &Name, kind: RecordType, source: SocketAddr) -> Option<String> {
        if kind != RecordType::HINFO || *name != self.name {
            return None;
        }
        let n_seen = self.n_seen.fetch_add(1, Ordering::Relaxed) + 1;
        (n_seen > MOST).then(|| {
            let source = SocketAddr::new(source.ip().to_canonical(), source.port());
            format!(
                "[FATAL] plugin/loop: Loop ({source} -> :53) detected for zone \".\", see \
                 https://coredns.io/plugins/loop#troubleshooting. Query: \"HINFO {}\"",
                self.name
            )
        })
    }

    /// A question without an answer was lost, and did not run in a circle: it is asked anew.
    fn forget(&self) {
        self.n_seen.store(0, Ordering::Relaxed);
    }

    /// The question, for the server to ask itself with.
    fn question(&self) -> io::Result<Vec<u8>> {
        let mut message = Message::query();
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(self.name.clone(), RecordType::HINFO));
        message.to_vec().map_err(io::Error::other)
    }
}

/// Asks the server on this machine's port 53 until there is an answer, at most for about 30 s (`plugin/loop/setup.go`).
pub(crate) async fn ask_oneself(guard: LoopGuard) -> io::Result<()> {
    let question = guard.question()?;
    for _ in 0..10 {
        let asked = async {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            socket.send_to(&question, (Ipv4Addr::LOCALHOST, 53)).await?;
            socket.recv(&mut [0; 512]).await
        };
        if matches!(timeout(Duration::from_secs(2), asked).await, Ok(Ok(_))) {
            break;
        }
        guard.forget();
        sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_that_comes_back_twice_is_told_as_coredns_tells_it() {
        let guard = LoopGuard::new([4_547_991_504_243_258_144, 3_688_648_895_315_093_531]);
        let name = Name::from_ascii("4547991504243258144.3688648895315093531.").unwrap();
        let source = "[::ffff:127.0.0.1]:55953".parse().unwrap();
        assert_eq!(guard.note(&name, RecordType::A, source), None);
        assert_eq!(guard.note(&name, RecordType::HINFO, source), None);
        assert_eq!(guard.note(&name, RecordType::HINFO, source), None);
        guard.clone().forget();
        assert_eq!(guard.note(&name, RecordType::HINFO, source), None);
        assert_eq!(guard.note(&name, RecordType::HINFO, source), None);
        assert_eq!(
            guard.note(&name, RecordType::HINFO, source).unwrap(),
            "[FATAL] plugin/loop: Loop (127.0.0.1:55953 -> :53) detected for zone \".\", see \
             https://coredns.io/plugins/loop#troubleshooting. Query: \"HINFO 4547991504243258144.3688648895315093531.\""
        );
    }
}
