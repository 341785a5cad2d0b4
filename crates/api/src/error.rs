//! Why an API server could not be read at all.

use std::{error::Error, fmt, time::Duration};

use jiff::Timestamp;

/// Why an API server could not be read at all.
///
/// One list that may not be read is no error: it becomes [`hopwise_snapshot::Observed::NotCollected`], and the rest is
/// read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// There is no kubeconfig, and this is no pod.
    #[error("no kubeconfig was found: looked for {looked_for}, and this is no pod of a cluster")]
    NoKubeconfig {
        /// The files that were looked for.
        looked_for: String,
    },
    /// A kubeconfig cannot be read or understood.
    #[error("failed to read the kubeconfig {file}")]
    Kubeconfig {
        /// The file, or the files.
        file: String,
        /// What is wrong with it.
        source: Said,
    },
    /// The kubeconfig has no current context, and none was named.
    #[error("the kubeconfig {file} has no current context: expected --context with one of {}", listed(.contexts))]
    NoContext {
        /// The file, or the files.
        file: String,
        /// The contexts that there are.
        contexts: Vec<String>,
    },
    /// The kubeconfig has no such context.
    #[error("there is no context `{name}` in {file}: expected one of {}", listed(.contexts))]
    UnknownContext {
        /// What was asked for.
        name: String,
        /// The file, or the files.
        file: String,
        /// The contexts that there are.
        contexts: Vec<String>,
    },
    /// The context names a cluster or a user that the kubeconfig does not have.
    #[error("context `{context}` of {file} names the {what} `{name}`, which is not there")]
    Dangling {
        /// The context.
        context: String,
        /// The file, or the files.
        file: String,
        /// `cluster` or `user`.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// A program that should give credentials did not.
    #[error("failed to get credentials for user `{user}`")]
    Credentials {
        /// The user of the kubeconfig.
        user: String,
        /// What is wrong.
        source: Said,
        /// What the kubeconfig says about installing the program.
        hint: Option<String>,
    },
    /// The client's certificate is not valid any more.
    #[error(
        "the client certificate of user `{user}` was valid until {until}: the API server at {server} refuses it"
    )]
    Expired {
        /// The user of the kubeconfig.
        user: String,
        /// When it ended.
        until: Timestamp,
        /// The API server's address.
        server: String,
    },
    /// Nobody answers.
    #[error("the API server at {server} does not answer")]
    Unreachable {
        /// The API server's address.
        server: String,
        /// What the network said.
        source: Said,
    },
    /// Nobody answers in time.
    #[error("the API server at {server} did not answer within {} s", .after.as_secs_f32())]
    Silent {
        /// The API server's address.
        server: String,
        /// How long was waited.
        after: Duration,
    },
    /// The server's certificate is not to be trusted.
    #[error("the certificate of the API server at {server} is not trusted: {why}")]
    Untrusted {
        /// The API server's address.
        server: String,
        /// Why not.
        why: String,
    },
    /// The server does not know who asks.
    #[error("the API server at {server} does not accept the credentials of user `{user}` (401 Unauthorized)")]
    Unauthorized {
        /// The API server's address.
        server: String,
        /// The user of the kubeconfig.
        user: String,
        /// What it said.
        source: Said,
    },
    /// Nothing at all may be read.
    #[error("the API server at {server} lets user `{user}` read nothing (403 Forbidden)")]
    Forbidden {
        /// The API server's address.
        server: String,
        /// The user of the kubeconfig.
        user: String,
        /// What it said about the first thing.
        source: Said,
    },
    /// It answers something else than an API server would.
    #[error("what answers at {server} is no API server, or one that is not well")]
    NotAnApiServer {
        /// The address.
        server: String,
        /// What it answered.
        source: Said,
    },
    /// A client cannot be made of the kubeconfig.
    #[error("failed to set up a connection to the API server at {server}")]
    Setup {
        /// The API server's address.
        server: String,
        /// Why.
        source: Said,
    },
}

impl ApiError {
    /// What to do about it, where that is known.
    pub fn next(&self) -> Option<String> {
        let next = match self {
            Self::NoKubeconfig { .. } => {
                "name one as --kubeconfig FILE, or a lab as --lab NAME, or a snapshot as --snapshot FILE"
            }
            Self::NoContext { .. } | Self::UnknownContext { .. } => {
                "`kubectl config get-contexts` lists the contexts"
            }
            Self::Credentials { hint, .. } => return hint.clone(),
            Self::Expired { .. } => {
                "on a control-plane node, `kubeadm certs renew admin.conf` makes a new one; elsewhere ask who gave it to \
                 you"
            }
            Self::Unreachable { .. } | Self::Silent { .. } => {
                "`kubectl cluster-info` asks the same server; a snapshot that was taken before can be read with --snapshot"
            }
            Self::Untrusted { .. } => {
                "compare the certificate-authority of the kubeconfig with /etc/kubernetes/pki/ca.crt of the server"
            }
            Self::Unauthorized { .. } => "`kubectl auth whoami` asks with the same credentials",
            Self::Forbidden { .. } => {
                "deploy/rbac.yaml has the rights that are needed; `kubectl auth can-i --list` shows what is granted"
            }
            _ => return None,
        };
        Some(next.to_owned())
    }
}

/// Names as a list for a sentence.
fn listed(names: &[String]) -> String {
    if names.is_empty() { "none, as it has no context".to_owned() } else { names.join(", ") }
}

/// What another program or library said, each thing once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said(pub String);

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Said {}

impl Said {
    /// An error with its causes in one line. A library that repeats a cause in its own text says it once.
    pub(crate) fn by(error: &(dyn Error + 'static)) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let own = error.to_string();
            if !text.contains(&own) {
                text.push_str(": ");
                text.push_str(&own);
            }
            cause = error.source();
        }
        Self(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{said}")]
    struct Step {
        said: &'static str,
        source: Option<Box<Step>>,
    }

    #[test]
    fn what_is_repeated_is_said_once() {
        let inner = Step { said: "refused", source: None };
        let middle = Step { said: "connect: refused", source: Some(Box::new(inner)) };
        let outer = Step { said: "request failed", source: Some(Box::new(middle)) };
        assert_eq!(Said::by(&outer).0, "request failed: connect: refused");
    }
}
