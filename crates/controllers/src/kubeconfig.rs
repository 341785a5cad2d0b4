//! Which API server a kubeconfig names.

use std::fmt;

use serde::Deserialize;

use crate::yaml::{self, YamlError};

/// An API server as a program is told to reach it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiServer {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl fmt::Display for ApiServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl ApiServer {
    /// Reads `https://HOST[:PORT][/…]`, or `HOST[:PORT]`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").unwrap_or(("https", text));
        let authority = rest.split(['/', '?']).next()?;
        let default = if scheme == "http" { 80 } else { 443 };
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']')?;
                (host, rest.strip_prefix(':'))
            }
            None => match authority.rsplit_once(':') {
                Some((host, port)) if !host.contains(':') => (host, Some(port)),
                _ => (authority, None),
            },
        };
        let port = port.map_or(Some(default), |it| it.parse().ok())?;
        (!host.is_empty()).then(|| Self { host: host.to_lowercase(), port })
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct File {
    clusters: Vec<NamedCluster>,
    contexts: Vec<NamedContext>,
    current_context: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NamedCluster {
    name: String,
    cluster: FileCluster,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct FileCluster {
    server: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NamedContext {
    name: String,
    context: FileContext,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct FileContext {
    cluster: String,
}

/// The server of a kubeconfig's current context; none where it names none (client-go `tools/clientcmd`, Kubernetes 1.34).
///
/// # Errors
/// The text is not YAML of that shape.
pub fn api_server(text: &str) -> Result<Option<ApiServer>, YamlError> {
    let file = yaml::parse::<File>(text)?;
    let context = file.contexts.iter().find(|it| it.name == file.current_context);
    let cluster = match context {
        Some(context) => file.clusters.iter().find(|it| it.name == context.context.cluster),
        None => file.clusters.first(),
    };
    Ok(cluster.and_then(|it| ApiServer::parse(&it.cluster.server)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_server_of_the_current_context_counts() {
        let text = "apiVersion: v1\nkind: Config\nclusters:\n- cluster:\n    server: https://10.0.0.9\n  name: other\n- \
                    cluster:\n    certificate-authority: /a\n    server: https://192.168.50.11:6443\n  name: \
                    default\ncontexts:\n- context:\n    cluster: default\n    user: u\n  name: \
                    default\ncurrent-context: default\n";
        let server = ApiServer { host: "192.168.50.11".to_owned(), port: 6443 };
        assert_eq!(api_server(text).unwrap(), Some(server));
        assert_eq!(api_server("{}").unwrap(), None);
        assert_eq!(api_server("clusters: 7").unwrap_err().line, Some(1));
    }

    #[test]
    fn addresses_are_read_in_every_form() {
        let read = |text: &str| ApiServer::parse(text).map(|it| it.to_string());
        assert_eq!(read("https://[fd00::1]:6443/").as_deref(), Some("[fd00::1]:6443"));
        assert_eq!(read("https://API.example").as_deref(), Some("api.example:443"));
        assert_eq!(read("cp.example:8443").as_deref(), Some("cp.example:8443"));
        assert_eq!(read("https://:6443"), None);
        assert_eq!(read("https://a:port"), None);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,80}") {
            let _ = (ApiServer::parse(&text), api_server(&text));
        }
    }
}
