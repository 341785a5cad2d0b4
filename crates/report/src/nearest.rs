//! What a person who mistyped a name may have meant.

/// Names that are as near as this to what was written are offered, 1 being equal.
const LIKENESS: f64 = 0.75;
/// What divides a name into parts.
const PARTS: [char; 3] = ['-', '/', '.'];
/// How many are offered.
const MOST: usize = 3;

/// The names that look most like `written`, the likest first; none where nothing does.
pub fn nearest<'a>(written: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let written = written.to_lowercase();
    let mut likely: Vec<(f64, &str)> = names
        .into_iter()
        .map(|it| (likeness(&written, it), it))
        .filter(|(likeness, _)| *likeness >= LIKENESS)
        .collect();
    likely.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    likely.dedup_by(|a, b| a.1 == b.1);
    // One that stands out is the only one to offer.
    let best = likely.first().map_or(0.0, |it| it.0);
    likely.into_iter().filter(|it| it.0 > best - 0.1).take(MOST).map(|(_, name)| name).collect()
}

fn likeness(written: &str, name: &str) -> f64 {
    let name = name.to_lowercase();
    let whole = strsim::normalized_damerau_levenshtein(written, &name);
    if written.len() < 4 {
        return whole;
    }
    // A part of a name is a good hint at the whole: `ip-forward` at `node-ip-forward-off`.
    let words: Vec<&str> = name.split(PARTS).collect();
    let n_words = written.split(PARTS).count().min(words.len());
    let parts =
        words.windows(n_words).map(|it| strsim::normalized_damerau_levenshtein(written, &it.join("-")));
    parts.fold(whole, |best, it| best.max(it * 0.9))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 4] =
        ["node-ip-forward-off", "node-resolvconf-empty", "pod/default/echo-w1", "pod/default/echo-w2"];

    #[test]
    fn a_slip_of_the_finger_finds_its_name() {
        assert_eq!(nearest("node-ip-foward-off", NAMES), ["node-ip-forward-off"]);
        assert_eq!(nearest("pod/default/ecoh-w1", NAMES), ["pod/default/echo-w1", "pod/default/echo-w2"]);
    }

    #[test]
    fn a_part_of_a_name_finds_the_whole() {
        assert_eq!(nearest("resolvconf", NAMES), ["node-resolvconf-empty"]);
        assert_eq!(nearest("ip-foward", NAMES), ["node-ip-forward-off"]);
    }

    #[test]
    fn what_looks_like_nothing_offers_nothing() {
        assert_eq!(nearest("zzzz", NAMES), [] as [&str; 0]);
    }
}
