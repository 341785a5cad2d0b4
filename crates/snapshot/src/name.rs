//! Names of the things that have a network stack.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A node's name, as the API server spells it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeName(pub String);

impl NodeName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for NodeName {
    fn from(name: &str) -> Self {
        Self(name.to_owned())
    }
}

/// A pod's namespace and name. Written `NAMESPACE/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodName {
    /// The Kubernetes namespace.
    pub namespace: String,
    /// The pod's own name.
    pub name: String,
}

impl PodName {
    /// A pod's name from its two parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for PodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl FromStr for PodName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok(Self::new(namespace, name))
            }
            _ => Err(format!("expected NAMESPACE/NAME, found `{text}`")),
        }
    }
}

/// A place that has a network stack of its own: a node, or a pod that does not use its node's.
///
/// Written as in [`crate::Element`]: `node/w1`, `pod/default/echo`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// The initial network namespace of a node.
    Node(NodeName),
    /// The network namespace of a pod's sandbox.
    Pod(PodName),
}

impl Place {
    /// The place of the node called `name`.
    pub fn node(name: &str) -> Self {
        Self::Node(NodeName::from(name))
    }

    /// The place of the pod called `namespace/name`.
    pub fn pod(namespace: &str, name: &str) -> Self {
        Self::Pod(PodName::new(namespace, name))
    }

    /// The node's name, where this is a node.
    pub fn as_node(&self) -> Option<&NodeName> {
        match self {
            Self::Node(name) => Some(name),
            Self::Pod(_) => None,
        }
    }

    /// The pod's name, where this is a pod.
    pub fn as_pod(&self) -> Option<&PodName> {
        match self {
            Self::Pod(name) => Some(name),
            Self::Node(_) => None,
        }
    }

    /// The last part of the name, for one line of a path: `w1`, `echo-w1`.
    pub fn short(&self) -> &str {
        match self {
            Self::Node(name) => name.as_str(),
            Self::Pod(name) => &name.name,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(name) => write!(f, "node/{name}"),
            Self::Pod(name) => write!(f, "pod/{name}"),
        }
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some(("node", name)) if !name.is_empty() && !name.contains('/') => Ok(Self::node(name)),
            Some(("pod", rest)) => rest.parse().map(Self::Pod),
            _ => Err(format!("expected node/NAME or pod/NAMESPACE/NAME, found `{text}`")),
        }
    }
}

/// Serialises a type as the text that its [`fmt::Display`] and [`FromStr`] speak.
macro_rules! serde_as_text {
    ($type:ty) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use serde_as_text;

serde_as_text!(PodName);
serde_as_text!(Place);

/// The index of a network interface in its namespace. Unique there, meaningless elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IfIndex(pub u32);

impl fmt::Display for IfIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "if{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_written_as_elements_begin() {
        for text in ["node/w1", "pod/kube-system/coredns-1"] {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn half_a_name_is_refused() {
        for text in ["w1", "node/", "pod/default", "pod//x", "pod/a/b/c", "node/a/b"] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }
}
