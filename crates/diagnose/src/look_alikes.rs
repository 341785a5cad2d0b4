//! What a finding is not: the causes that its manual page takes for look-alikes, as far as they are ruled out.

use crate::{
    cause::{Cause, Suspect},
    causes,
    finding::{Finding, RuledOut},
};

/// Says of every finding which look-alikes it is not. `tried` are suspects whose repair helps nothing.
pub(crate) fn rule_out(findings: &mut [Finding], tried: &[Suspect]) {
    let found: Vec<&'static Cause> = findings.iter().map(|it| it.cause).collect();
    for finding in findings {
        let others = look_alikes(finding.cause).filter(|it| !found.contains(it));
        finding.ruled_out = others.map(|cause| RuledOut { cause, because: because(cause, tried) }).collect();
    }
}

fn because(cause: &Cause, tried: &[Suspect]) -> String {
    match tried.iter().find(|it| it.cause == cause) {
        Some(suspect) => {
            format!("{} is as suspected, and its repair in the model heals nothing here", suspect.elements[0])
        }
        None => "nothing that was read shows it".to_owned(),
    }
}

/// The causes that a manual page lists under `Look-alikes`, in its order.
fn look_alikes(cause: &Cause) -> impl Iterator<Item = &'static Cause> {
    let section = cause.manual.split_once("## Look-alikes").map_or("", |(_, it)| it);
    let section = section.split("\n## ").next().unwrap_or_default();
    let names = section.lines().filter_map(|it| it.strip_prefix("- `")?.split('`').next());
    names.filter_map(causes::find).collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_look_alikes_of_a_cause_are_those_of_its_page() {
        let cause = causes::find("node-ip-forward-off").unwrap();
        let names: Vec<&str> = look_alikes(cause).map(|it| it.name).collect();
        assert_eq!(names, ["fw-forward-policy-drop", "node-iface-forwarding-off", "node-resolvconf-empty"]);
    }

    #[test]
    fn no_page_takes_its_own_cause_for_a_look_alike() {
        for cause in causes::all() {
            assert!(look_alikes(cause).all(|it| it != cause), "{}", cause.name);
        }
    }
}
