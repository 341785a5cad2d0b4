//! Names that people write.

use hopwise_lab::fault::Fault;
use hopwise_report::Endpoint;
use hopwise_snapshot::{Element, Mac, Place, PodName, Scope, SysctlKey};

use crate::text;

/// Names of elements, places, pods, kernel switches and Ethernet addresses.
pub fn element(data: &[u8]) {
    let text = text(data);
    if let Ok(element) = text.parse::<Element>() {
        assert_eq!(element.to_string(), text);
        assert!(element.covers(&element));
        // A name that was made of these parts reads as these parts.
        let (scope, parts) = (element.scope(), element.parts());
        let made = Element::new(&scope, &parts);
        if !parts.is_empty() && !matches!(scope, Scope::Place(_)) {
            assert_eq!((made.scope(), made.parts()), (scope, parts));
        }
    }
    if let Ok(place) = text.parse::<Place>() {
        assert_eq!(place.to_string(), text);
        let element = Element::new(&Scope::Place(place.clone()), [&*text, "%2F", "a/b"]);
        assert_eq!(element.parts()[0], text);
        assert_eq!(element.parts()[1..], ["%2F", "a/b"]);
    }
    if let Ok(pod) = text.parse::<PodName>() {
        assert_eq!(pod.to_string(), text);
    }
    if let Ok(mac) = text.parse::<Mac>() {
        assert_eq!(mac.to_string().parse::<Mac>().ok(), Some(mac));
    }
    let key = SysctlKey::from_dotted(&text);
    let _ = (key.spelled(), key.dotted(), key.link_and_leaf());
    assert_eq!(SysctlKey::from_path(key.path()), key);
}

/// The end of a flow, as a person writes it. What is shown is read as the same end.
pub fn endpoint(data: &[u8]) {
    if let Ok(endpoint) = text(data).parse::<Endpoint>() {
        assert_eq!(endpoint.to_string().parse::<Endpoint>().as_ref(), Ok(&endpoint), "{endpoint}");
    }
}

/// A fault that a lab is asked for. What is shown is read as the same fault.
pub fn fault(data: &[u8]) {
    if let Ok(fault) = text(data).parse::<Fault>() {
        let shown = fault.to_string();
        let read = shown.parse::<Fault>().unwrap_or_else(|error| panic!("{shown}: {error}"));
        assert_eq!(read.to_string(), shown);
    }
}
