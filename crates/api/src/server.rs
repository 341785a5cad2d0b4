//! A connection to an API server.

use std::{error::Error, io, path::PathBuf, sync::Arc, time::Duration};

use hopwise_snapshot::Cluster;
use jiff::Timestamp;
use kube::{Client, client::AuthError};
use rustls::CertificateError;
use tokio::{runtime::Runtime, time::Instant};

use crate::{
    Limits, Progress, certificate,
    error::{ApiError, Said},
    kubeconfig::{Environment, Target, target},
    read::{Whole, read},
    request::{Refusal, Requests, transport},
};

/// Which cluster is meant, and as whom it is asked. The same choices as kubectl's options of these names.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// The kubeconfig.
    pub kubeconfig: Option<PathBuf>,
    /// The context of it.
    pub context: Option<String>,
    /// The namespace to look into where all of them may not be listed; that of the context where there is none.
    pub namespace: Option<String>,
    /// As whom to ask.
    pub impersonate: Option<String>,
    /// As members of which groups to ask.
    pub groups: Vec<String>,
    /// How long one answer may take.
    pub timeout: Option<Duration>,
    /// Where to look for a kubeconfig.
    pub environment: Environment,
}

/// How long one answer may take, unless told otherwise.
const PATIENCE: Duration = Duration::from_secs(30);
/// The largest answer to a question that is no list.
const SMALL: u64 = 1 << 20;

/// A connection to an API server. Cloned, it is the same connection.
#[derive(Clone)]
pub struct ApiServer {
    /// Runs the connection; its threads end with it.
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) client: Client,
    pub(crate) timeout: Option<Duration>,
    address: String,
    context: String,
    user: String,
    namespace: String,
    /// Until when the client's certificate is valid.
    valid_until: Option<Timestamp>,
}

impl std::fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiServer")
            .field("address", &self.address)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl ApiServer {
    /// Connects to the API server, and asks whether it is one and knows who asks.
    pub fn connect(access: &Access) -> Result<Self, ApiError> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let setup = |server: &str, source| ApiError::Setup { server: server.to_owned(), source };
        let runtime = runtime.map_err(|error| setup("any address", Said::by(&error)))?;
        let Target { mut config, context, user, hint } = runtime.block_on(target(
            access.kubeconfig.as_deref(),
            access.context.as_deref(),
            &access.environment,
        ))?;
        let timeout = access.timeout.unwrap_or(PATIENCE);
        let timeout = (!timeout.is_zero()).then_some(timeout);
        // A host that does not answer is given up sooner than one that takes its time for a list.
        config.connect_timeout = timeout.map(|it| it.min(Duration::from_secs(10)));
        config.default_retry = false;
        if access.impersonate.is_some() {
            config.auth_info.impersonate.clone_from(&access.impersonate);
        }
        if !access.groups.is_empty() {
            config.auth_info.impersonate_groups = Some(access.groups.clone());
        }
        let address = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let namespace = access.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let valid_until = certificate::valid_until(&config.auth_info);
        let user = access.impersonate.clone().unwrap_or(user);
        let client = runtime.block_on(async { Client::try_from(config) }).map_err(|error| match &error {
            kube::Error::Auth(cause) => {
                ApiError::Credentials { user: user.clone(), source: credentials(cause), hint: hint.clone() }
            }
            other => setup(&address, Said(transport(other))),
        })?;
        let runtime = Arc::new(runtime);
        let server = Self { runtime, client, timeout, address, context, user, namespace, valid_until };
        server.greet()?;
        Ok(server)
    }

    /// Where the snapshot comes from, in its own words: `kubeconfig/CONTEXT`.
    pub fn source(&self) -> String {
        format!("kubeconfig/{}", self.context)
    }

    /// The server's address.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Requests that must all be answered within `whole`.
    pub(crate) fn requests(&self, whole: Duration) -> Requests {
        Requests { client: self.client.clone(), timeout: self.timeout, deadline: Instant::now() + whole }
    }

    /// Asks for the version, which everybody may know who is known.
    fn greet(&self) -> Result<(), ApiError> {
        let whole = Limits::default().whole;
        let requests = self.requests(self.timeout.map_or(whole, |it| it.max(whole)));
        match self.runtime.block_on(requests.get("/version", SMALL)) {
            // Whoever may not ask this may be allowed other things.
            Ok(_) => Ok(()),
            Err(refusal) if refusal.code() == Some(403) => Ok(()),
            Err(refusal) => Err(self.refused(&refusal)),
        }
    }

    /// Reads every object that a snapshot holds, as far as it may be read.
    ///
    /// An error only where nothing at all was read.
    pub fn read(&self, limits: &Limits, progress: &(dyn Fn(Progress) + Sync)) -> Result<Cluster, ApiError> {
        let requests = self.requests(limits.whole);
        let Whole { cluster, refused } =
            self.runtime.block_on(read(&requests, &self.namespace, limits, progress));
        let is_anything_known = cluster.nodes.known().is_some()
            || cluster.pods.known().is_some()
            || cluster.services.known().is_some()
            || cluster.endpoint_slices.known().is_some()
            || cluster.namespaces.known().is_some()
            || cluster.network_policies.known().is_some()
            || cluster.workloads.known().is_some()
            || cluster.config_maps.known().is_some();
        match refused.get("pods").or_else(|| refused.values().next()) {
            Some(refusal) if !is_anything_known => Err(self.refused(refusal)),
            _ => Ok(cluster),
        }
    }

    /// What it means that the server refused.
    fn refused(&self, refusal: &Refusal) -> ApiError {
        let (server, user) = (self.address.clone(), self.user.clone());
        let source = Said(refusal.told());
        match refusal {
            Refusal::Status(status) if status.code == 401 => match self.expired() {
                Some(until) => ApiError::Expired { user, until, server },
                None => ApiError::Unauthorized { server, user, source },
            },
            Refusal::Status(status) if status.code == 403 => ApiError::Forbidden { server, user, source },
            Refusal::TimedOut(after) => ApiError::Silent { server, after: *after },
            Refusal::Broken(error) => self.broken(error),
            Refusal::Status(_) | Refusal::TooLarge(_) | Refusal::NotUnderstood(_) => {
                ApiError::NotAnApiServer { server, source }
            }
        }
    }

    /// When the client's certificate ended, where it has.
    fn expired(&self) -> Option<Timestamp> {
        self.valid_until.filter(|it| *it < Timestamp::now())
    }

    /// What it means that there was no answer.
    fn broken(&self, error: &kube::Error) -> ApiError {
        let (server, user) = (self.address.clone(), self.user.clone());
        if let Some(cause) = cause_of::<AuthError>(error) {
            return ApiError::Credentials { user, source: credentials(cause), hint: None };
        }
        let source = Said(transport(error));
        match tls(error) {
            Some(rustls::Error::InvalidCertificate(why)) => {
                ApiError::Untrusted { server, why: distrust(why) }
            }
            Some(rustls::Error::AlertReceived(_)) => match self.expired() {
                Some(until) => ApiError::Expired { user, until, server },
                None => ApiError::Unauthorized { server, user, source },
            },
            Some(_) => ApiError::NotAnApiServer { server, source },
            None => ApiError::Unreachable { server, source },
        }
    }
}

/// Why a certificate is not trusted.
fn distrust(why: &CertificateError) -> String {
    match why {
        CertificateError::UnknownIssuer => {
            "it is signed by an authority that the kubeconfig does not name".to_owned()
        }
        CertificateError::BadSignature => {
            "its signature is not that of the authority in the kubeconfig".to_owned()
        }
        other => other.to_string(),
    }
}

/// What is wrong with credentials. What a program printed is left out but for its errors: it may be a token.
fn credentials(error: &AuthError) -> Said {
    Said(match error {
        AuthError::AuthExecRun { out, .. } => {
            let text = String::from_utf8_lossy(&out.stderr);
            let said = text.lines().map(str::trim).rfind(|it| !it.is_empty()).unwrap_or("it said nothing");
            let said = hopwise_collect::redact::text(said).0;
            format!("the program that gives them ended with {}: {said}", out.status)
        }
        AuthError::AuthExecStart(error) => format!("the program that gives them was not started: {error}"),
        AuthError::AuthExecParse(_) => "the program that gives them printed something else".to_owned(),
        other => Said::by(other).0,
    })
}

/// The cause of this type, however deep it lies.
fn cause_of<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut current = Some(error);
    while let Some(error) = current {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        // What is wrapped into an input-output error is not its source.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        current = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

fn tls<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    cause_of::<rustls::Error>(error)
}
