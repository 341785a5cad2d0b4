//! The kinds of changes, by what they change.

#![expect(clippy::unnecessary_wraps, reason = "all kinds are made by functions of one form; some always can")]

mod files;
mod firewalls;
mod links;
mod neighbours;
mod pods;
mod routes;
mod rules;
mod switches;
mod traffic_control;

use crate::fault::Kind;

/// All kinds.
pub fn all() -> Vec<Kind> {
    [
        switches::KINDS,
        links::KINDS,
        neighbours::KINDS,
        routes::KINDS,
        rules::KINDS,
        firewalls::KINDS,
        traffic_control::KINDS,
        pods::KINDS,
        files::KINDS,
    ]
    .concat()
}
