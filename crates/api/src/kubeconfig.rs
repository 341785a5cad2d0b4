//! Which cluster is meant, and as whom: kubeconfigs as kubectl reads them.
//!
//! The order is kubectl's: the file that is named; else the files of `$KUBECONFIG`, of which those that are not there are
//! passed over and the first to say something wins; else `~/.kube/config`; else the service account of the pod that this
//! runs in.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use kube::{
    Config,
    config::{AuthInfo, InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError},
};

use crate::{
    error::{ApiError, Said},
    proxy::Proxies,
};

/// What the program's environment says about kubeconfigs.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `$KUBECONFIG`.
    pub kubeconfig: Option<OsString>,
    /// The user's home.
    pub home: Option<PathBuf>,
    /// What it says about proxies.
    pub proxies: Proxies,
}

impl Environment {
    /// The environment of this process.
    pub fn of_process() -> Self {
        Self {
            kubeconfig: std::env::var_os("KUBECONFIG"),
            home: std::env::home_dir(),
            proxies: Proxies::of_process(),
        }
    }
}

/// A cluster, and who asks it.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) config: Config,
    /// The context's name; `in-cluster` for a pod's service account.
    pub(crate) context: String,
    /// The user's name in the kubeconfig.
    pub(crate) user: String,
    /// How to install the program that gives credentials, where the kubeconfig says it.
    pub(crate) hint: Option<String>,
}

/// The name of what is no context of a kubeconfig.
const IN_CLUSTER: &str = "in-cluster";

/// Finds out which cluster is meant.
pub(crate) async fn target(
    file: Option<&Path>,
    context: Option<&str>,
    environment: &Environment,
) -> Result<Target, ApiError> {
    let (files, is_named) = files(file, environment);
    let there: Vec<&PathBuf> = files.iter().filter(|it| is_named || it.exists()).collect();
    let names: Vec<String> = there.iter().map(|it| it.display().to_string()).collect();
    let name = names.join(", ");
    let mut merged = Kubeconfig::default();
    for path in &there {
        let failed = |error: KubeconfigError| ApiError::Kubeconfig {
            file: path.display().to_string(),
            source: Said(said(&error)),
        };
        merged = Kubeconfig::read_from(path).and_then(|it| merged.merge(it)).map_err(failed)?;
    }
    let wanted = context.map(str::to_owned).or_else(|| merged.current_context.clone());
    let Some(wanted) = wanted.filter(|it| !it.is_empty()) else {
        // A file without a context says nothing, as does no file: then the pod that this runs in does.
        return match in_cluster() {
            Some(target) => target,
            None if there.is_empty() => Err(nowhere(&files)),
            None => Err(ApiError::NoContext { file: name, contexts: contexts(&merged) }),
        };
    };
    if there.is_empty() {
        return Err(nowhere(&files));
    }
    let own_proxy = own_proxy(&merged, &wanted);
    let mut target = of_context(merged, wanted, name.clone()).await?;
    // The library takes $HTTPS_PROXY for every server, also for those that $NO_PROXY spares.
    let proxy = own_proxy.or_else(|| environment.proxies.proxy_for(&target.config.cluster_url));
    let wrong = |it: http::uri::InvalidUri| ApiError::Kubeconfig {
        file: name,
        source: Said(format!("its proxy: {it}")),
    };
    target.config.proxy_url = proxy.map(|it| it.parse()).transpose().map_err(wrong)?;
    Ok(target)
}

/// The proxy that a kubeconfig names for the cluster of a context.
fn own_proxy(kubeconfig: &Kubeconfig, context: &str) -> Option<String> {
    let context = kubeconfig.contexts.iter().find(|it| it.name == context)?.context.as_ref()?;
    let cluster = kubeconfig.clusters.iter().find(|it| it.name == context.cluster)?.cluster.as_ref()?;
    cluster.proxy_url.clone().filter(|it| !it.is_empty())
}

/// The files to read, and whether they were named one by one, so that they must be there.
fn files(file: Option<&Path>, environment: &Environment) -> (Vec<PathBuf>, bool) {
    if let Some(file) = file {
        return (vec![file.to_owned()], true);
    }
    let listed = environment.kubeconfig.iter().flat_map(std::env::split_paths);
    let listed: Vec<PathBuf> = listed.filter(|it| !it.as_os_str().is_empty()).collect();
    if !listed.is_empty() {
        return (listed, false);
    }
    (environment.home.iter().map(|it| it.join(".kube/config")).collect(), false)
}

fn nowhere(files: &[PathBuf]) -> ApiError {
    let looked_for = match files {
        [] => "none, as neither KUBECONFIG nor HOME is set".to_owned(),
        files => files.iter().map(|it| it.display().to_string()).collect::<Vec<_>>().join(", "),
    };
    ApiError::NoKubeconfig { looked_for }
}

fn contexts(kubeconfig: &Kubeconfig) -> Vec<String> {
    let mut names: Vec<String> = kubeconfig.contexts.iter().map(|it| it.name.clone()).collect();
    names.sort();
    names
}

async fn of_context(kubeconfig: Kubeconfig, wanted: String, file: String) -> Result<Target, ApiError> {
    let found = kubeconfig.contexts.iter().find(|it| it.name == wanted);
    let Some(context) = found.and_then(|it| it.context.clone()) else {
        return Err(ApiError::UnknownContext { name: wanted, file, contexts: contexts(&kubeconfig) });
    };
    let dangling = |what, name: &str| ApiError::Dangling {
        context: wanted.clone(),
        file: file.clone(),
        what,
        name: name.to_owned(),
    };
    if !kubeconfig.clusters.iter().any(|it| it.name == context.cluster) {
        return Err(dangling("cluster", &context.cluster));
    }
    let user = context.user.clone().unwrap_or_default();
    let named = kubeconfig.auth_infos.iter().find(|it| it.name == user);
    if named.is_none() && !user.is_empty() {
        return Err(dangling("user", &user));
    }
    let hint = named.and_then(|it| it.auth_info.as_ref()).and_then(install_hint);
    let options = KubeConfigOptions { context: Some(wanted.clone()), ..KubeConfigOptions::default() };
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    let config = config.map_err(|error| ApiError::Kubeconfig { file, source: Said(said(&error)) })?;
    Ok(Target { config, context: wanted, user, hint })
}

fn install_hint(user: &AuthInfo) -> Option<String> {
    user.exec.as_ref()?.install_hint.clone().map(|it| it.trim().to_owned())
}

/// The cluster whose pod this runs in; none where it runs in no pod.
fn in_cluster() -> Option<Result<Target, ApiError>> {
    match Config::incluster() {
        Ok(config) => Some(Ok(Target {
            config,
            context: IN_CLUSTER.to_owned(),
            user: "the pod's service account".to_owned(),
            hint: None,
        })),
        Err(InClusterError::ReadEnvironmentVariable(_)) => None,
        Err(error) => Some(Err(ApiError::Kubeconfig {
            file: "of the pod's service account".to_owned(),
            source: Said::by(&error),
        })),
    }
}

/// What is wrong with a kubeconfig. The library's own errors repeat their causes.
fn said(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::ReadConfig(source, _) => source.to_string(),
        // The library shows the lines around the fault, which may hold a token.
        KubeconfigError::Parse(source) => match source.location() {
            Some(at) => {
                format!("line {}, column {}: it is not the YAML of a kubeconfig", at.line(), at.column())
            }
            None => "it is not the YAML of a kubeconfig".to_owned(),
        },
        other => Said::by(other).0,
    }
}
