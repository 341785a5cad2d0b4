//! A new cause: its source, its page, and the lines that register it.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};
use hopwise_diagnose::causes;

const CAUSES: &str = "crates/diagnose/src/causes";

/// Writes the files; what was written, one line each.
pub fn write(root: &Path, group: &str, name: &str, code: Option<&str>) -> Result<Vec<String>> {
    let directory = root.join(CAUSES).join(group);
    let own: Vec<u16> =
        causes::all().map(|it| it.code).filter(|it| causes::group(*it) == group).map(|it| it.0).collect();
    let Some(highest) = own.iter().max() else {
        let mut groups: Vec<&str> = causes::all().map(|it| causes::group(it.code)).collect();
        groups.dedup();
        bail!(
            "there is no group {group}; there are {}. A new one needs its folder and a line in {CAUSES}/mod.rs",
            groups.join(", ")
        );
    };
    let is_name = !name.is_empty()
        && name.chars().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '-');
    if !is_name {
        bail!("`{name}` is no name of a cause: expected a to z, digits and `-`, as in node-ip-forward-off");
    }
    let code: u16 = match code {
        None => highest + 1,
        Some(text) => text
            .trim_start_matches("HW")
            .parse()
            .with_context(|| format!("`{text}` is no code: expected HW and four digits"))?,
    };
    if causes::group(hopwise_diagnose::Code(code)) != group {
        bail!("HW{code:04} is not a code of the group {group}");
    }
    if let Some(taken) = causes::all().find(|it| it.code.0 == code || it.name == name) {
        bail!("{} {} is there already", taken.code, taken.name);
    }
    let stem = name.replace('-', "_");
    let register = directory.join("mod.rs");
    let text =
        fs::read_to_string(&register).with_context(|| format!("cannot read {}", register.display()))?;
    let place = own.iter().filter(|it| **it < code).count();
    fs::write(&register, registered(&text, &stem, place)?)?;
    fs::write(directory.join(format!("{stem}.rs")), source(name, &stem, code))?;
    fs::write(directory.join(format!("{stem}.md")), page(name, code))?;
    Ok(vec![
        format!("{CAUSES}/{group}/{stem}.rs: write `detect`"),
        format!("{CAUSES}/{group}/{stem}.md: write what happens, and the cases"),
        format!("{CAUSES}/{group}/mod.rs: registered as HW{code:04}"),
        "then: cargo fmt, cargo xtask gen, cargo xtask tidy, cargo test -p hopwise-testkit --test cases"
            .to_owned(),
    ])
}

/// The text of a group's `mod.rs` with one more cause: its `mod` line by name, its entry at a place of the list.
fn registered(text: &str, stem: &str, place: usize) -> Result<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let own = format!("mod {stem};");
    let lines_of_mods: Vec<usize> = (0..lines.len()).filter(|at| lines[*at].starts_with("mod ")).collect();
    let Some(last) = lines_of_mods.last() else { bail!("the group's mod.rs has no `mod` line") };
    let at = lines_of_mods.iter().copied().find(|at| lines[*at] > own).unwrap_or(last + 1);
    lines.insert(at, own);
    let Some(entries_from) = lines.iter().position(|it| it.contains("static CAUSES: &[&Cause] = &[")) else {
        bail!("the group's mod.rs has no `static CAUSES: &[&Cause] = &[`");
    };
    // A list of one entry stands on one line.
    if let Some((head, entries)) =
        lines[entries_from].clone().split_once("= &[").filter(|(_, it)| it.ends_with("];"))
    {
        let entries = entries.trim_end_matches("];").split(", ").filter(|it| !it.is_empty());
        let mut all = vec![format!("{head}= &[")];
        all.extend(entries.map(|it| format!("    {it},")));
        all.push("];".to_owned());
        lines.splice(entries_from..=entries_from, all);
    }
    lines.insert(entries_from + 1 + place, format!("    &{stem}::CAUSE,"));
    Ok(lines.join("\n") + "\n")
}

fn source(name: &str, stem: &str, code: u16) -> String {
    format!(
        "//! `HW{code:04}`: say here what is wrong.

use crate::{{
    case::Case,
    cause::{{Cause, Code, Suspects}},
}};

pub(super) static CAUSE: Cause = Cause {{
    code: Code({code}),
    name: \"{name}\",
    summary: \"say here what it does to packets\",
    manual: include_str!(\"{stem}.md\"),
    detect,
}};

fn detect(_case: &Case<'_>, _suspects: &mut Suspects) {{}}
"
    )
}

fn page(name: &str, code: u16) -> String {
    format!(
        "# {name}

## What happens

## Why it is proven

## Repair

## Look-alikes

## Cases

### What was done
```scenario
base   = \"vxlan\"
inject = []
```
```expect
HW{code:04} node/w2
```
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_registered_by_name_and_in_order_of_codes() {
        let text =
            "//! X.\n\nmod a;\nmod c;\n\nstatic CAUSES: &[&Cause] = &[\n    &c::CAUSE,\n    &a::CAUSE,\n];\n";
        let expected = "//! X.\n\nmod a;\nmod b;\nmod c;\n\nstatic CAUSES: &[&Cause] = &[\n    &c::CAUSE,\n    &b::CAUSE,\n    &a::CAUSE,\n];\n";
        assert_eq!(registered(text, "b", 1).unwrap(), expected);
    }

    #[test]
    fn a_list_on_one_line_gets_lines() {
        let text = "mod a;\nstatic CAUSES: &[&Cause] = &[&a::CAUSE];\n";
        let expected = "mod a;\nmod b;\nstatic CAUSES: &[&Cause] = &[\n    &a::CAUSE,\n    &b::CAUSE,\n];\n";
        assert_eq!(registered(text, "b", 1).unwrap(), expected);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let root = hopwise_testkit::workspace();
        for (group, name, code, said) in [
            ("nowhere", "x", None, "there is no group nowhere; there are node, "),
            ("node", "X", None, "`X` is no name of a cause"),
            ("node", "x", Some("HW1101"), "HW1101 is not a code of the group node"),
            ("node", "x", Some("HW1001"), "HW1001 node-ip-forward-off is there already"),
            ("node", "x", Some("y"), "`y` is no code"),
        ] {
            let error = write(&root, group, name, code).unwrap_err().to_string();
            assert!(error.starts_with(said), "{error}");
        }
    }
}
