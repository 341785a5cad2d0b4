//! What is being done, for the person at the terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A line on standard error that says what is being done. Nothing where that is no terminal.
///
/// It has a thread of its own, so that nothing may begin one before a lab's user namespace was entered.
#[derive(Debug)]
pub(crate) struct Step(ProgressBar);

impl Step {
    /// Begins to show what is being done.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        let bar = ProgressBar::new_spinner();
        let style = ProgressStyle::with_template("{spinner} {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.set_message(text.into());
        bar.enable_steady_tick(Duration::from_millis(80));
        Self(bar)
    }

    /// Goes on to the next thing.
    pub(crate) fn says(&self, text: impl Into<String>) {
        self.0.set_message(text.into());
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// A duration for a person: `3 ms`, `0.4 s`.
pub(crate) fn seconds(duration: Duration) -> String {
    match duration.as_millis() {
        millis @ 0..100 => format!("{millis} ms"),
        _ => format!("{:.1} s", duration.as_secs_f64()),
    }
}

/// What was proved and how long that took, for a person.
pub(crate) fn proved(n_promised: usize, took: Duration) -> String {
    let flows = if n_promised == 1 { "flow" } else { "flows" };
    format!("proved {n_promised} promised {flows} in {}", seconds(took))
}
