//! Numbers with their nouns.

/// `1 flow`, `24 flows`.
pub(crate) fn count(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {}", plural(noun)) }
}

/// The verb of so many: `1 cause breaks`, `2 causes break`.
pub(crate) fn verb(n: usize, verb: &str) -> String {
    if n == 1 { format!("{verb}s") } else { verb.to_owned() }
}

fn plural(noun: &str) -> String {
    if let Some(stem) = noun.strip_suffix('y') {
        // No noun of the reports ends in a vowel and y but `way`.
        if noun != "way" {
            return format!("{stem}ies");
        }
    }
    let is_hissing = ["ch", "sh", "s", "x"].iter().any(|it| noun.ends_with(it));
    if is_hissing { format!("{noun}es") } else { format!("{noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_one_and_all_others_are_many() {
        let all: Vec<String> = [0, 1, 2].iter().map(|it| count(*it, "flow")).collect();
        assert_eq!(all, ["0 flows", "1 flow", "2 flows"]);
        assert_eq!((count(2, "policy"), count(2, "way")), ("2 policies".to_owned(), "2 ways".to_owned()));
        assert_eq!((verb(1, "break"), verb(2, "break")), ("breaks".to_owned(), "break".to_owned()));
    }
}
