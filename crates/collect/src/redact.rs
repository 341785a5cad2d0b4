//! Cuts secrets out of files before they leave the node.
//!
//! Three passes: blocks of private keys; values whose name says that they are secret (`token: …`,
//! `--token=…`, `"password": "…"`, `PrivateKey=…`) in YAML, JSON, INI, environment files and command lines;
//! and values that give themselves away (JSON web tokens, bootstrap tokens, passwords in URLs). What is cut
//! is replaced by `[redacted]`, so that the file stays readable and shows that something was there. When in
//! doubt, it is cut.

/// What stands where a secret stood.
const MARK: &str = "[redacted]";

/// Parts of a name, in lower case and without `-` and `_`, that make its value a secret.
const SECRET_NAMES: [&str; 16] = [
    "token",
    "password",
    "passphrase",
    "secret",
    "privatekey",
    "presharedkey",
    "clientkeydata",
    "accesskey",
    "apikey",
    "authkey",
    "credential",
    "wepkey",
    "fastopenkey",
    "encryptionkey",
    "bearer",
    "psk",
];

/// Ends of such a name that make its value a path, a duration or a kind of secret instead.
const HARMLESS_ENDS: [&str; 10] =
    ["file", "path", "dir", "directory", "ttl", "name", "ref", "type", "flags", "seconds"];

/// How often a text is looked at again after something was cut.
const MOST_ROUNDS: usize = 8;

/// The text without its secrets, and how many were cut.
///
/// What is cut can make what stands around it look like a secret: the text is looked at until nothing is left to cut. Of a
/// text with which that does not end nothing is kept.
pub fn text(text: &str) -> (String, u32) {
    let mut n = 0;
    let mut text = text.to_owned();
    for _ in 0..MOST_ROUNDS {
        let kept = private_keys(&text, &mut n);
        let kept = named_values(&kept, &mut n);
        let kept = loose_values(&kept, &mut n);
        if kept == text {
            return (text, n);
        }
        text = kept;
    }
    (MARK.to_owned(), n.max(1))
}

/// The same for bytes that need not be UTF-8. All bytes that are kept stay as they are.
pub fn bytes(bytes: &[u8]) -> (Vec<u8>, u32) {
    if let Ok(utf8) = std::str::from_utf8(bytes) {
        let (kept, n) = text(utf8);
        return (kept.into_bytes(), n);
    }
    // One character a byte, and back.
    let wide: String = bytes.iter().map(|it| char::from(*it)).collect();
    let (kept, n) = text(&wide);
    (kept.chars().map(|it| u8::try_from(u32::from(it)).unwrap_or(b'?')).collect(), n)
}

/// Cuts what stands between the marks of a PEM private key. A key without an end goes to the end of the text.
fn private_keys(text: &str, n: &mut u32) -> String {
    let mut kept = String::with_capacity(text.len());
    let (mut in_key, mut is_counted) = (false, false);
    for line in text.split_inclusive('\n') {
        let is_mark = |mark: &str| line.contains(mark) && line.contains("PRIVATE KEY-----");
        if is_mark("-----BEGIN ") && !is_mark("-----END ") && !in_key {
            (in_key, is_counted) = (true, false);
            kept.push_str(line);
            let indent = &line[..line.len() - line.trim_start().len()];
            kept.push_str(indent);
            kept.push_str(MARK);
            kept.push('\n');
        } else if in_key && is_mark("-----END ") {
            in_key = false;
            kept.push_str(line);
        } else if in_key {
            // Cut before already, or cut now.
            *n += u32::from(!is_counted && line.trim() != MARK);
            is_counted |= line.trim() != MARK;
        } else {
            kept.push_str(&keys_in_one_line(line, n));
        }
    }
    kept
}

/// Cuts keys whose line breaks are escaped (`"-----BEGIN …-----\nMII…\n-----END …"`).
fn keys_in_one_line(line: &str, n: &mut u32) -> String {
    let mut kept = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((body, end)) = key_in_one_line(rest) {
        kept.push_str(&rest[..body]);
        kept.push_str(MARK);
        *n += u32::from(&rest[body..end] != MARK);
        rest = &rest[end..];
    }
    kept.push_str(rest);
    kept
}

/// Where the body of the first private key of a line begins and ends.
fn key_in_one_line(line: &str) -> Option<(usize, usize)> {
    const BEGIN_END: &str = "PRIVATE KEY-----";
    let begin = line.find("-----BEGIN ")?;
    let body = begin + line[begin..].find(BEGIN_END)? + BEGIN_END.len();
    let end = body + line[body..].find("-----END ")?;
    Some((body, end))
}

/// Cuts values whose names say that they are secret.
fn named_values(text: &str, n: &mut u32) -> String {
    let mut kept = String::with_capacity(text.len());
    // While set, lines that are indented further belong to a secret of several lines, and so do the items of
    // a list that are indented as far.
    let mut block: Option<usize> = None;
    let mut is_counted = false;
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim_start_matches([' ', '\t']);
        let indent = line.len() - trimmed.len();
        let is_inside = |outer| indent > outer || indent == outer && trimmed.starts_with("- ");
        if block.is_some_and(|outer| trimmed.trim_end().is_empty() || is_inside(outer)) {
            let cut = block_line(line, indent);
            // However many lines it has, it is one secret.
            *n += u32::from(!is_counted && cut != line);
            is_counted |= cut != line;
            kept.push_str(&cut);
            continue;
        }
        let before = *n;
        let (cut, goes_on) = named_values_in_line(line, n);
        kept.push_str(&cut);
        block = goes_on.then_some(indent);
        is_counted = *n > before;
    }
    kept
}

fn block_line(line: &str, indent: usize) -> String {
    if line.trim().is_empty() {
        return line.to_owned();
    }
    let end = if line.ends_with('\n') { "\n" } else { "" };
    let item = if line[indent..].starts_with("- ") { "- " } else { "" };
    format!("{}{item}{MARK}{end}", &line[..indent])
}

/// Cuts the secrets of one line. Does its last value go on in the lines below?
fn named_values_in_line(line: &str, n: &mut u32) -> (String, bool) {
    let mut kept = String::with_capacity(line.len());
    let mut rest = line;
    let mut goes_on = false;
    while let Some(name) = next_name(rest) {
        let (before, after) = rest.split_at(name.end);
        kept.push_str(before);
        rest = after;
        let Some(value) = value(&name, after) else { continue };
        goes_on = value.goes_on;
        kept.push_str(&rest[..value.start]);
        if &rest[value.start..value.end] != MARK && value.start < value.end {
            *n += 1;
        }
        if value.start < value.end {
            kept.push_str(MARK);
        }
        rest = &rest[value.end..];
    }
    kept.push_str(rest);
    (kept, goes_on)
}

/// A name in a text, with what decides about the value behind it.
struct Name<'a> {
    text: &'a str,
    /// Where the text goes on.
    end: usize,
    is_flag: bool,
    is_quoted: bool,
}

fn next_name(text: &str) -> Option<Name<'_>> {
    let is_part = |it: char| it.is_ascii_alphanumeric() || matches!(it, '_' | '-' | '.');
    let start = text.find(|it: char| it.is_ascii_alphabetic() || it == '_')?;
    let length = text[start..].find(|it| !is_part(it)).unwrap_or(text.len() - start);
    let before = &text[..start];
    Some(Name {
        text: &text[start..start + length],
        end: start + length,
        is_flag: before.ends_with('-'),
        is_quoted: before.ends_with(['"', '\'']),
    })
}

/// Where the value of a secret name lies in the text behind the name. Nothing lies between equal ends.
struct Value {
    start: usize,
    end: usize,
    /// May it go on in the lines below?
    goes_on: bool,
}

fn value(name: &Name<'_>, after: &str) -> Option<Value> {
    let line = after.trim_end_matches(['\n', '\r']);
    let unquoted = if name.is_quoted { line.strip_prefix(['"', '\''])? } else { line };
    let spaced = unquoted.trim_start_matches([' ', '\t']);
    let (separator, behind) = match spaced.chars().next() {
        Some(it @ (':' | '=')) => (it, &spaced[1..]),
        _ if name.is_flag && spaced.len() < unquoted.len() && !spaced.starts_with('-') => (' ', spaced),
        _ => return None,
    };
    let value = behind.trim_start_matches([' ', '\t']);
    if !is_secret(name, separator, value) {
        return None;
    }
    let start = line.len() - value.len();
    // YAML folds what is indented further into the value, whatever its form.
    let is_yaml = separator == ':' && !name.is_quoted;
    Some(match value.chars().next() {
        Some(quote @ ('"' | '\'')) => {
            let (length, is_closed) = quoted_length(&value[1..], quote);
            Value { start: start + 1, end: start + 1 + length, goes_on: is_yaml && !is_closed }
        }
        Some('[') if separator == ':' && !value.starts_with(MARK) => list(start, value),
        Some('|' | '>')
            if is_yaml && value[1..].chars().all(|it| matches!(it, '0'..='9' | '+' | '-' | ' ')) =>
        {
            Value { start, end: start, goes_on: true }
        }
        _ => Value { start, end: start + bare_length(name, value), goes_on: is_yaml },
    })
}

/// A list of values in brackets. One of objects is left: what is in them has names of its own.
fn list(start: usize, value: &str) -> Value {
    let inside = &value[1..];
    let mut is_quoted = false;
    let end = inside.find(|it: char| {
        is_quoted ^= it == '"';
        it == ']' && !is_quoted
    });
    let (length, is_closed) = (end.unwrap_or(inside.len()), end.is_some());
    let items = inside[..length].trim();
    if items.starts_with('{') || (items.is_empty() && is_closed) || inside.starts_with(MARK) {
        return Value { start, end: start, goes_on: false };
    }
    let (mut from, mut to) = (start + 1, start + 1 + length);
    if items.len() > 1 && inside.starts_with('"') && inside[..length].ends_with('"') {
        (from, to) = (from + 1, to - 1);
    }
    Value { start: from, end: to, goes_on: !is_closed }
}

/// How far a value goes up to its closing quote, or to the end of the line without one. A quote is closed
/// neither by an escaped one nor, in YAML, by a single one that is doubled.
fn quoted_length(text: &str, quote: char) -> (usize, bool) {
    let mut characters = text.char_indices().peekable();
    while let Some((at, it)) = characters.next() {
        let next = characters.peek().map(|(_, it)| *it);
        match it {
            '\\' if quote == '"' => {
                characters.next();
            }
            '\'' if quote == '\'' && next == Some('\'') => {
                characters.next();
            }
            it if it == quote => return (at, true),
            _ => {}
        }
    }
    (text.len(), false)
}

/// How far a value without quotes goes: to the next space on a command line, to the next comma in JSON, to
/// the end of the line elsewhere.
fn bare_length(name: &Name<'_>, value: &str) -> usize {
    let end = match () {
        () if name.is_flag => value.find([' ', '\t', '"', '\'']),
        () if name.is_quoted => {
            // What was cut before ends behind its mark.
            let from = if value.starts_with(MARK) { MARK.len() } else { 0 };
            value[from..].find([',', '}', ']', ' ']).map(|it| from + it)
        }
        () => None,
    };
    end.unwrap_or(value.trim_end().len())
}

fn is_secret(name: &Name<'_>, separator: char, value: &str) -> bool {
    let plain: String =
        name.text.chars().filter(|it| !matches!(it, '-' | '_')).map(|it| it.to_ascii_lowercase()).collect();
    let leaf = plain.rsplit('.').next().unwrap_or_default();
    // Switches are no secrets, and what is in an object has names of its own. Where `=` separates there are no
    // objects.
    let word = value.trim_end().trim_end_matches(',');
    if matches!(word, "true" | "false" | "null" | "~") || (separator == ':' && word.starts_with('{')) {
        return false;
    }
    if HARMLESS_ENDS.iter().any(|it| leaf.ends_with(it)) {
        return false;
    }
    let is_number = !word.is_empty() && word.chars().all(|it| it.is_ascii_digit() || it == '.');
    match leaf {
        // A database of nsswitch.conf; elsewhere a password.
        "passwd" => separator != ':' || name.is_quoted,
        // Docker keeps name and password together under this name. In YAML it is a section.
        "auth" => name.is_quoted,
        // A MACsec key; as a number the key of a GRE tunnel, which is none.
        "key" => separator == '=' && !is_number,
        leaf => SECRET_NAMES.iter().any(|it| leaf.contains(it)),
    }
}

/// Cuts values that give themselves away wherever they stand.
fn loose_values(text: &str, n: &mut u32) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    let is_part = |it: char| {
        it.is_ascii_alphanumeric() || matches!(it, '_' | '-' | '.' | '+' | '/' | '=' | ':' | '@' | '%')
    };
    let mut scheme: Option<&str> = None;
    while let Some(start) = rest.find(is_part) {
        let length = rest[start..].find(|it| !is_part(it)).unwrap_or(rest.len() - start);
        kept.push_str(&rest[..start]);
        let word = &rest[start..start + length];
        // `Authorization: Bearer TOKEN`, `Authorization: Basic NAME-AND-PASSWORD`.
        let is_credential = scheme.is_some() && rest[..start].chars().all(|it| it == ' ') && word != MARK;
        let found = if is_credential { Some((0, word.len())) } else { loose_secret(word) };
        scheme = Some(word).filter(|it| matches!(*it, "Bearer" | "Basic" | "bearer"));
        match found {
            Some((from, to)) => {
                kept.push_str(&word[..from]);
                kept.push_str(MARK);
                kept.push_str(&word[to..]);
                *n += 1;
            }
            None => kept.push_str(word),
        }
        rest = &rest[start + length..];
    }
    kept.push_str(rest);
    kept
}

/// Where in a word without spaces a secret lies.
fn loose_secret(word: &str) -> Option<(usize, usize)> {
    url_password(word).or_else(|| {
        // A word may be `NAME=VALUE` or `NAME:VALUE`.
        let start = word.rfind(['=', ':']).filter(|at| at + 1 < word.len()).map_or(0, |at| at + 1);
        let candidates = [(0, word), (start, &word[start..])];
        let (from, found) = candidates
            .into_iter()
            .find(|(_, it)| is_web_token(it) || is_bootstrap_token(it) || is_encoded_private_key(it))?;
        Some((from, from + found.len()))
    })
}

/// `SCHEME://USER:PASSWORD@HOST`.
fn url_password(word: &str) -> Option<(usize, usize)> {
    let host = word.find("://")? + 3;
    let at = host + word[host..].split('/').next()?.rfind('@')?;
    let colon = host + word[host..at].find(':')?;
    (colon + 1 < at && &word[colon + 1..at] != MARK).then_some((colon + 1, at))
}

/// A JSON web token: three parts in base64, the first of which encodes `{"`.
fn is_web_token(word: &str) -> bool {
    let parts: Vec<&str> = word.split('.').collect();
    let is_base64 =
        |it: &&str| it.len() >= 4 && it.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    parts.len() == 3 && parts[0].starts_with("eyJ") && parts.iter().all(is_base64)
}

/// A kubeadm bootstrap token: `[a-z0-9]{6}.[a-z0-9]{16}`.
fn is_bootstrap_token(word: &str) -> bool {
    let is_lower = |it: &str| it.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    word.split_once('.')
        .is_some_and(|(id, secret)| id.len() == 6 && secret.len() == 16 && is_lower(id) && is_lower(secret))
}

/// The beginnings of PEM private keys in base64: `-----BEGIN PRIVATE`, `… RSA PRIVATE`, `… EC PRIVATE`.
fn is_encoded_private_key(word: &str) -> bool {
    const BEGINNINGS: [&str; 3] =
        ["LS0tLS1CRUdJTiBQUklWQVRF", "LS0tLS1CRUdJTiBSU0EgUFJJVkFUR", "LS0tLS1CRUdJTiBFQyBQUklWQVRF"];
    BEGINNINGS.iter().any(|it| word.starts_with(it))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(before: &str, after: &str, n: u32) {
        assert_eq!(text(before), (after.to_owned(), n), "{before}");
        assert_eq!(text(after).0, after, "cutting again changed it");
    }

    #[test]
    fn what_looks_like_a_secret_only_once_something_is_cut_is_cut_too() {
        let before =
            b"{\"pass\"eyJhbGci-----BEGIN Ii.SflK\"}\0--cpive=acb https://u--JhbGciO\xb4\0\0END RSA \
                       PRIVATE KEY-----\0";
        let (once, _) = bytes(before);
        assert_eq!(bytes(&once), (once.clone(), 0), "{}", String::from_utf8_lossy(&once));
    }

    #[test]
    fn a_kubeconfig_keeps_its_server_and_loses_its_key() {
        check(
            "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t\n    \
             server: https://10.96.0.1:443\nusers:\n- name: calico\n  user:\n    token: \"abc.def\"\n    \
             client-key-data: LS0tLS1CRUdJTiBSU0E\n    tokenFile: /var/run/token\n",
            "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t\n    \
             server: https://10.96.0.1:443\nusers:\n- name: calico\n  user:\n    token: \"[redacted]\"\n    \
             client-key-data: [redacted]\n    tokenFile: /var/run/token\n",
            2,
        );
    }

    #[test]
    fn values_of_several_lines_are_cut_whole() {
        check(
            "a: 1\ntoken: |\n  first\n\n  second\nb: 2\n",
            "a: 1\ntoken: |\n  [redacted]\n\n  [redacted]\nb: 2\n",
            1,
        );
        check("password:\n  folded\nb: 2\n", "password:\n  [redacted]\nb: 2\n", 1);
    }

    #[test]
    fn json_is_cut_value_by_value() {
        check(
            r#"{"type":"calico","k8s_auth_token":"x\"y","mtu":1450,"auths":{"r.io":{"auth":"dXNlcg=="}},"ok":1}"#,
            r#"{"type":"calico","k8s_auth_token":"[redacted]","mtu":1450,"auths":{"r.io":{"auth":"[redacted]"}},"ok":1}"#,
            2,
        );
    }

    #[test]
    fn command_lines_keep_their_other_flags() {
        check(
            r#"KUBELET_EXTRA_ARGS="--node-ip=10.0.0.1 --token=abc --bootstrap-token def --cloud-provider=none""#,
            r#"KUBELET_EXTRA_ARGS="--node-ip=10.0.0.1 --token=[redacted] --bootstrap-token [redacted] --cloud-provider=none""#,
            2,
        );
    }

    #[test]
    fn a_secret_may_look_like_anything() {
        check("password=*star\n", "password=[redacted]\n", 1);
        check("TOKEN={brace\n", "TOKEN=[redacted]\n", 1);
        check("psk=[bracket]\n", "psk=[redacted]\n", 1);
        check("password: '&it''s'\n", "password: '[redacted]'\n", 1);
        check(
            r#"{"tokens": {"a": 1}, "secret": [], "x": 1}"#,
            r#"{"tokens": {"a": 1}, "secret": [], "x": 1}"#,
            0,
        );
    }

    #[test]
    fn lists_of_secrets_are_cut() {
        check(r#"{"tokens": ["a","b"], "mtu": 1}"#, r#"{"tokens": ["[redacted]"], "mtu": 1}"#, 1);
        check("tokens: [a, b]\nmtu: 1\n", "tokens: [[redacted]]\nmtu: 1\n", 1);
        check("tokens:\n- a\n- b\nmtu: 1\n", "tokens:\n- [redacted]\n- [redacted]\nmtu: 1\n", 1);
        check(
            "{\n  \"tokens\": [\n    \"a\",\n    \"b\"\n  ],\n  \"mtu\": 1\n}\n",
            "{\n  \"tokens\": [\n    [redacted]\n    [redacted]\n  ],\n  \"mtu\": 1\n}\n",
            1,
        );
    }

    #[test]
    fn what_was_cut_stays_cut_with_more_behind_it() {
        let line = r#"{"auth":[redacted]    token: [redacted]"#;
        assert_eq!(text(line).0, line);
        assert_eq!(text(r#"{"auth":[redacted]x, "a": 1}"#).0, r#"{"auth":[redacted], "a": 1}"#);
    }

    #[test]
    fn keys_of_tunnels_and_radio_links_are_cut() {
        check(
            "[WireGuard]\nPrivateKey=yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\nPrivateKeyFile=/etc/wg.key\nListenPort=51820\n",
            "[WireGuard]\nPrivateKey=[redacted]\nPrivateKeyFile=/etc/wg.key\nListenPort=51820\n",
            1,
        );
        check("psk=a pass phrase\nssid=home\n", "psk=[redacted]\nssid=home\n", 1);
        check("Key=42\nKey=00112233445566778899aabbccddeeff\n", "Key=42\nKey=[redacted]\n", 1);
        check("net.ipv4.tcp_fastopen_key = 1-2-3-4\n", "net.ipv4.tcp_fastopen_key = [redacted]\n", 1);
    }

    #[test]
    fn private_keys_are_cut_and_certificates_are_not() {
        check(
            "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n  -----BEGIN EC PRIVATE KEY-----\n  MHcC\n  AQ==\n  -----END EC PRIVATE KEY-----\nrest\n",
            "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n  -----BEGIN EC PRIVATE KEY-----\n  [redacted]\n  -----END EC PRIVATE KEY-----\nrest\n",
            1,
        );
        check("-----BEGIN PRIVATE KEY-----\nMHcC\nno end", "-----BEGIN PRIVATE KEY-----\n[redacted]\n", 1);
        check(
            r#"{"pem": "-----BEGIN PRIVATE KEY-----\nMHcC\n-----END PRIVATE KEY-----\n"}"#,
            r#"{"pem": "-----BEGIN PRIVATE KEY-----[redacted]-----END PRIVATE KEY-----\n"}"#,
            1,
        );
        let key =
            |body: &str| format!("\"-----BEGIN EC PRIVATE KEY-----{body}-----END EC PRIVATE KEY-----\"");
        check(&[key("MHc"), key("MHd")].join(","), &[key(MARK), key(MARK)].join(","), 2);
    }

    #[test]
    fn secrets_without_a_name_are_cut() {
        check("curl -H eyJhbGciOi.eyJpc3MiO.c2lnbmF0 x", "curl -H [redacted] x", 1);
        check("join 10.0.0.1:6443 abcdef.0123456789abcdef now", "join 10.0.0.1:6443 [redacted] now", 1);
        check("Authorization: Bearer abc.def/ghi\n", "Authorization: Bearer [redacted]\n", 1);
        check("header=Authorization: Basic dXNlcjpwdw== x", "header=Authorization: Basic [redacted] x", 1);
        check("HTTPS_PROXY=http://me:pw@proxy:3128/x", "HTTPS_PROXY=http://me:[redacted]@proxy:3128/x", 1);
        check("data: LS0tLS1CRUdJTiBSU0EgUFJJVkFURSBLRVktLS0t", "data: [redacted]", 1);
    }

    #[test]
    fn what_a_diagnosis_reads_is_left_alone() {
        for kept in [
            "passwd:         files systemd\nhosts:          files dns\n",
            "nameserver 10.96.0.10\nsearch default.svc.cluster.local\noptions ndots:5\n",
            "127.0.0.1 localhost\nfe80::1%eth0 a.b.c\n",
            "net.bridge.bridge-nf-call-iptables = 1\nnet.ipv4.ip_forward=1 # forwarding\n",
            "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.2.1/24\nFLANNEL_MTU=1450\n",
            "authentication:\n  anonymous:\n    enabled: false\n  webhook:\n    cacheTTL: 0s\n    enabled: true\n",
            "automountServiceAccountToken: false\nimagePullSecrets: []\n",
            "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -m comment --comment \"kubernetes service portals\" -j KUBE\n",
            "Network:\n  Address=10.0.0.1/24\n  Gateway=10.0.0.254\n",
            ".:53 {\n    errors\n    forward . /etc/resolv.conf {\n       max_concurrent 1000\n    }\n}\n",
        ] {
            assert_eq!(text(kept), (kept.to_owned(), 0));
        }
    }

    #[test]
    fn bytes_that_are_no_text_keep_all_but_the_secret() {
        assert_eq!(
            bytes(b"\xff\xfe=1\ntoken=abc\n\xe9"),
            (b"\xff\xfe=1\ntoken=[redacted]\n\xe9".to_vec(), 1)
        );
    }

    proptest! {
        #[test]
        fn nothing_panics_and_cutting_twice_is_cutting_once(before in "[ -~\n]{0,200}") {
            let (once, _) = text(&before);
            prop_assert_eq!(&text(&once).0, &once);
        }

        #[test]
        fn any_bytes_are_taken(before in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = bytes(&before);
        }

        #[test]
        fn a_secret_of_an_environment_file_never_gets_through(
            name in "(TOKEN|DB_PASSWORD|client_secret|psk)",
            secret in "[!#-&(-~][!-~]{11,39}",
        ) {
            let (after, _) = text(&format!("A=1\n{name}={secret}\nB=2\n"));
            prop_assert_eq!(after, format!("A=1\n{name}=[redacted]\nB=2\n"));
        }

        #[test]
        fn a_named_secret_never_gets_through(
            name in "(token|password|client-secret|PrivateKey|psk|api_key)",
            separator in "( = |=|: |:)",
            secret in "[A-Za-z0-9+/]{12,40}",
            around in "[a-z ]{0,20}",
        ) {
            let before = format!("{around}\n{name}{separator}{secret}\n{around}\n");
            let (after, n) = text(&before);
            prop_assert!(!after.contains(&secret), "{}", after);
            prop_assert!(n >= 1);
        }
    }
}
