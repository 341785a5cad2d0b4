//! Lists of objects, page by page.

use hopwise_collect::kubectl::Objects;
use hopwise_snapshot::Reason;
use serde::Deserialize;

use crate::{
    Limits,
    request::{Refusal, Requests, encoded, is_name},
};

/// A kind of objects, as the API names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Resource {
    /// What stands before it in a path: `/api/v1`.
    pub(crate) version: &'static str,
    /// Its name in paths and rights: `pods`.
    pub(crate) name: &'static str,
    /// Its group in rights; empty for the core.
    pub(crate) group: &'static str,
    /// Do its objects lie in namespaces?
    pub(crate) is_namespaced: bool,
}

const fn core(name: &'static str, is_namespaced: bool) -> Resource {
    Resource { version: "/api/v1", name, group: "", is_namespaced }
}

const fn apps(name: &'static str) -> Resource {
    Resource { version: "/apis/apps/v1", name, group: "apps", is_namespaced: true }
}

pub(crate) const NODES: Resource = core("nodes", false);
pub(crate) const NAMESPACES: Resource = core("namespaces", false);
pub(crate) const PODS: Resource = core("pods", true);
pub(crate) const SERVICES: Resource = core("services", true);
pub(crate) const CONFIG_MAPS: Resource = core("configmaps", true);
pub(crate) const EVENTS: Resource = core("events", true);
pub(crate) const ENDPOINT_SLICES: Resource = Resource {
    version: "/apis/discovery.k8s.io/v1",
    name: "endpointslices",
    group: "discovery.k8s.io",
    is_namespaced: true,
};
pub(crate) const NETWORK_POLICIES: Resource = Resource {
    version: "/apis/networking.k8s.io/v1",
    name: "networkpolicies",
    group: "networking.k8s.io",
    is_namespaced: true,
};
pub(crate) const DAEMON_SETS: Resource = apps("daemonsets");
pub(crate) const DEPLOYMENTS: Resource = apps("deployments");

/// Of which namespaces objects are listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Where {
    /// All, and what lies in none.
    Everywhere,
    /// One.
    Namespace(String),
}

impl Resource {
    /// Its name as RBAC and `kubectl auth can-i` take it.
    fn full_name(&self) -> String {
        if self.group.is_empty() { self.name.to_owned() } else { format!("{}.{}", self.name, self.group) }
    }

    /// The right that listing it takes.
    pub(crate) fn right(&self, place: &Where) -> String {
        let name = self.full_name();
        match place {
            Where::Namespace(namespace) => format!("list {name} in namespace {namespace}"),
            Where::Everywhere if self.is_namespaced => format!("list {name} in all namespaces"),
            Where::Everywhere => format!("list {name}"),
        }
    }

    /// The path of the list.
    fn path(&self, place: &Where) -> Result<String, Refusal> {
        match place {
            Where::Everywhere => Ok(format!("{}/{}", self.version, self.name)),
            Where::Namespace(namespace) if is_name(namespace) => {
                Ok(format!("{}/namespaces/{namespace}/{}", self.version, self.name))
            }
            Where::Namespace(namespace) => {
                Err(Refusal::NotUnderstood(format!("`{namespace}` is no name of a namespace")))
            }
        }
    }
}

/// What a list says about itself.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Page {
    metadata: PageMetadata,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PageMetadata {
    #[serde(rename = "continue")]
    next: String,
}

/// A list that was read, as far as the limits allow.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    pub(crate) objects: Objects,
    /// Why it ends before its end.
    pub(crate) cut: Option<Reason>,
}

/// Lists the objects of a kind.
pub(crate) async fn list(
    requests: &Requests,
    resource: Resource,
    place: &Where,
    limits: &Limits,
) -> Result<Listed, Refusal> {
    match pages(requests, resource, place, limits, Some(limits.page)).await {
        // The token for the next page was too old for the server: what was read is of another time than what is left.
        // client-go's pager reads the list whole then, and so does this.
        Err(refusal) if refusal.code() == Some(410) => pages(requests, resource, place, limits, None).await,
        listed => listed,
    }
}

async fn pages(
    requests: &Requests,
    resource: Resource,
    place: &Where,
    limits: &Limits,
    page: Option<u32>,
) -> Result<Listed, Refusal> {
    let path = resource.path(place)?;
    let mut listed = Listed::default();
    let (mut next, mut n_pages, mut n_bytes) = (String::new(), 0, 0u64);
    loop {
        let mut query = page.map(|it| format!("?limit={it}")).unwrap_or_default();
        if !next.is_empty() {
            query.push_str("&continue=");
            query.push_str(&encoded(&next));
        }
        let bytes = requests.get(&format!("{path}{query}"), limits.list.saturating_sub(n_bytes)).await;
        let bytes = match bytes {
            Err(Refusal::TooLarge(_)) => return Err(Refusal::TooLarge(limits.list)),
            other => other?,
        };
        n_bytes += bytes.len() as u64;
        n_pages += 1;
        let name = format!("{path}, page {n_pages}");
        let wrong = |error: &dyn std::fmt::Display| Refusal::NotUnderstood(error.to_string());
        listed.objects.add(&name, &bytes).map_err(|it| wrong(&it))?;
        let read: Page = serde_json::from_slice(&bytes).map_err(|it| wrong(&format!("{name}: {it}")))?;
        if read.metadata.next.is_empty() {
            return Ok(listed);
        }
        if page.is_none() || read.metadata.next == next {
            return Err(Refusal::NotUnderstood(format!("{name}: it names a next page that leads nowhere")));
        }
        if resource == EVENTS && n_pages >= limits.event_pages {
            listed.cut = Some(Reason::Failed(format!("only the first {n_pages} pages were read")));
            return Ok(listed);
        }
        next = read.metadata.next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_is_named_as_rbac_names_it() {
        assert_eq!(NODES.right(&Where::Everywhere), "list nodes");
        assert_eq!(PODS.right(&Where::Everywhere), "list pods in all namespaces");
        let shop = Where::Namespace("shop".to_owned());
        assert_eq!(ENDPOINT_SLICES.right(&shop), "list endpointslices.discovery.k8s.io in namespace shop");
        assert_eq!(
            NETWORK_POLICIES.path(&shop).unwrap(),
            "/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies"
        );
        assert!(PODS.path(&Where::Namespace("../..".to_owned())).is_err());
    }
}
