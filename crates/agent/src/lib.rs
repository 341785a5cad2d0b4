//! What runs on a node, and what talks to it.
//!
//! On the node: [`serve`] answers one client over a pair of streams, with what the machine's kernel, files and pods say
//! ([`Host`]), and does what the client asks. At the client: [`Nodes`] speaks with all nodes at a time over a way to them
//! ([`NodesVia`]: [`Local`], [`Ssh`], and others that a caller brings), reads them ([`collect_all`]), sends packets from
//! them, and runs commands there.
//!
//! What is deliberately absent: Kubernetes' API, which tells what [`targets`] are made of, and judgement. A node that
//! cannot be reached stops no other one: its facts are not collected, with the reason.

mod answer;
mod host;
mod nodes;
mod pods;
mod serve;
mod session;
mod stream;
mod target;
mod via;

pub use host::Host;
pub use nodes::{NODES_AT_ONCE, NodeError, Nodes, Progress, Step, collect_all};
pub use serve::{Deadlines, Ending, serve};
pub use session::{Session, SessionError};
pub use stream::StreamError;
pub use target::{Target, targets};
pub use via::{Line, Local, NodesVia, OpenError, Ssh, SshProgram};
