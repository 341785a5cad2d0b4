//! The table of all causes, and the manual page of one.

use hopwise_diagnose::{Cause, causes as catalogue};

use super::{
    Layout,
    page::{Page, STRONG, printable, width},
};

/// The section of a page that holds its tests; it is of interest to those who work on the cause.
const CASES: &str = "## Cases";

/// The table of all causes.
pub fn causes(layout: &Layout) -> String {
    let mut page = Page::new(layout);
    let name = catalogue::all().map(|it| width(it.name)).max().unwrap_or_default();
    let mut area = "";
    for cause in catalogue::all() {
        if catalogue::group(cause.code) != area {
            area = catalogue::group(cause.code);
            page.gap();
            page.styled(0, area, STRONG);
        }
        page.field(2, &format!("{} {}", cause.code, cause.name), 2 + 6 + 1 + name + 2, cause.summary);
    }
    page.done()
}

/// The manual page of a cause. Its cases are told only where the layout is verbose.
pub fn cause(cause: &Cause, layout: &Layout) -> String {
    let mut page = Page::new(layout);
    page.styled(0, &format!("{} {}", cause.code, cause.name), STRONG);
    page.line(0, &format!("In short: {}.", cause.summary));
    let manual = cause.manual.trim();
    let body = manual.strip_prefix(&format!("# {}", cause.name)).unwrap_or(manual).trim();
    let told = match body.split_once(CASES) {
        Some((told, _)) if !layout.is_verbose => told.trim(),
        _ => body,
    };
    page.gap();
    if told.is_empty() {
        page.line(0, "There is no manual page of this cause yet.");
        return page.done();
    }
    for line in told.lines() {
        match line.trim_start_matches('#') {
            title if title.len() < line.len() => page.styled(0, title.trim(), STRONG),
            _ if line.trim().is_empty() => page.gap(),
            _ => page.verbatim(0, &printable(line)),
        }
    }
    page.done()
}
