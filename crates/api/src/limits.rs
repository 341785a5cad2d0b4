//! How much reading an API server may cost.

use std::time::Duration;

/// How much reading an API server may cost in time and memory. What goes beyond is a fact that was not collected.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How long everything may take.
    pub whole: Duration,
    /// How many objects are asked for at a time.
    pub page: u32,
    /// The largest list, in bytes.
    pub list: u64,
    /// How many pages of events are read.
    pub event_pages: usize,
    /// How many events are kept: the newest, warnings first.
    pub events: usize,
    /// How many logs are read.
    pub logs: usize,
    /// How many lines of each.
    pub log_lines: u32,
    /// How many bytes of each.
    pub log: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            whole: Duration::from_mins(2),
            page: 500,
            list: 1 << 30,
            event_pages: 20,
            events: 1000,
            logs: 100,
            log_lines: 200,
            log: 64 * 1024,
        }
    }
}
