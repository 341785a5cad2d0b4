//! `cargo xtask cluster`: a real Kubernetes cluster in namespaces of one machine, by the scripts in `test/cluster`.
//!
//! The scripts do the work and say what is wrong with the machine; here is only how their arguments are written. A
//! script takes this process's place, so its standard streams, its exit code and signals to it are the caller's.

use std::{os::unix::process::CommandExt, path::Path, process::Command};

use anyhow::{Context, Result, bail};

/// How it is called.
pub const USAGE: &str = "\
cargo xtask cluster COMMAND

  build                  build what nodes need, once; a second run does nothing
  up [--cni vxlan|hostgw|static] [--proxy iptables|nftables] [--demo]
                         start three nodes; --demo adds the pods that `check` measures from
  down [--any]           end it and leave nothing; --any: also when it is another clone's
  status [-o json]       what runs; exit code 0 when all nodes are ready
  check [--wait SECONDS] measure 18 paths from the pods of --demo
  exec NODE -- CMD...    run a command in a node (n1, n2, n3), or in the underlay (fab)
  reboot NODE            boot a node anew: its disk stays, nothing else does
  import IMAGE.tar       bring an image into every node
  test subset|all [NAME] break it by the lines of test/cluster/cases; is each found, alone, and repaired?
  kubectl -- ARGS...     kubectl as administrator; the kubeconfig is target/cluster/kubeconfig

By ssh: ssh -F target/cluster/ssh/config n2, as root, or as ops who may use sudo.";

/// A script of `test/cluster/scripts`, and what it is told.
#[derive(Debug, PartialEq, Eq)]
struct Call {
    script: &'static str,
    words: Vec<String>,
    variables: Vec<(&'static str, String)>,
}

/// Runs a command; comes back only when it cannot be started.
pub fn run(root: &Path, words: &[&str]) -> Result<()> {
    let call = call(words)?;
    if call.script == "build" {
        // What is missing is installed or told before minutes are spent.
        let status = Command::new(root.join("script/setup")).arg("cluster").status();
        if !status.context("cannot run script/setup")?.success() {
            bail!("what the cluster needs is not there");
        }
    }
    let script = root.join("test/cluster/scripts").join(call.script).with_extension("sh");
    let error = Command::new(&script).args(call.words).envs(call.variables).exec();
    Err(error).with_context(|| format!("cannot run {}", script.display()))
}

fn call(words: &[&str]) -> Result<Call> {
    let of = |script, words: &[&str]| Call {
        script,
        words: words.iter().map(|&it| it.to_owned()).collect(),
        variables: Vec::new(),
    };
    Ok(match words {
        ["build"] => of("build", &[]),
        ["up", options @ ..] => Call { script: "up", words: Vec::new(), variables: up(options)? },
        ["down"] => of("down", &[]),
        ["down", "--any"] => of("down", &["--any"]),
        ["status"] => of("status", &[]),
        ["status", "-o", "json"] => {
            Call { variables: vec![("FORMAT", "json".to_owned())], ..of("status", &[]) }
        }
        ["check"] => of("check", &[]),
        ["check", "--wait", seconds] => {
            let seconds: u32 =
                seconds.parse().with_context(|| format!("expected seconds, found `{seconds}`"))?;
            Call { variables: vec![("WAIT", seconds.to_string())], ..of("check", &[]) }
        }
        ["exec", _, "--"] => bail!("expected a command after `--`\n\n{USAGE}"),
        ["exec", node, "--", command @ ..] => of("exec", &[&[*node], command].concat()),
        ["reboot", node] => of("reboot", &[node]),
        ["import", archive] => of("import", &[archive]),
        ["test", which @ ("subset" | "all"), part @ ..] if part.len() < 2 => {
            of("cases", &[&[*which], part].concat())
        }
        ["kubectl", "--", rest @ ..] => of("kubectl", rest),
        _ => bail!("{USAGE}"),
    })
}

/// The options of `up` as the script's variables.
fn up(mut options: &[&str]) -> Result<Vec<(&'static str, String)>> {
    let mut variables = Vec::new();
    loop {
        let (name, value, rest) = match options {
            [] => return Ok(variables),
            ["--demo", rest @ ..] => ("DEMO", "1", rest),
            ["--cni", it @ ("vxlan" | "hostgw" | "static"), rest @ ..] => ("CNI", *it, rest),
            ["--proxy", it @ ("iptables" | "nftables"), rest @ ..] => ("PROXY", *it, rest),
            [other, ..] => {
                bail!("`{other}` does not belong here, or lacks a word that belongs to it\n\n{USAGE}")
            }
        };
        variables.push((name, value.to_owned()));
        options = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(words: &[&str]) -> Vec<(&'static str, String)> {
        call(words).unwrap().variables
    }

    #[test]
    fn options_become_the_variables_of_the_scripts() {
        assert_eq!(variables(&["up"]), []);
        assert_eq!(
            variables(&["up", "--proxy", "nftables", "--demo", "--cni", "static"]),
            [("PROXY", "nftables".to_owned()), ("DEMO", "1".to_owned()), ("CNI", "static".to_owned())]
        );
        assert_eq!(variables(&["status", "-o", "json"]), [("FORMAT", "json".to_owned())]);
        assert_eq!(variables(&["check", "--wait", "60"]), [("WAIT", "60".to_owned())]);
    }

    #[test]
    fn a_command_for_a_node_is_handed_on_word_by_word() {
        let found = call(&["exec", "n2", "--", "sh", "-c", "echo  a; exit 3", "--"]).unwrap();
        assert_eq!((found.script, found.words.len()), ("exec", 5));
        assert_eq!(found.words[3], "echo  a; exit 3");
        assert_eq!(call(&["kubectl", "--", "get", "-o", "json"]).unwrap().words, ["get", "-o", "json"]);
    }

    #[test]
    fn what_is_not_understood_is_told_with_the_usage() {
        for words in [
            &["up", "--cni", "calico"][..],
            &["up", "--cni"],
            &["exec", "n2"],
            &["exec", "n2", "--"],
            &["exec", "n2", "ls"],
            &["reboot"],
            &["start"],
            &[],
        ] {
            let error = call(words).unwrap_err().to_string();
            assert!(error.contains("cargo xtask cluster COMMAND"), "{words:?}: {error}");
        }
        assert!(call(&["check", "--wait", "soon"]).unwrap_err().to_string().contains("soon"));
    }

    #[test]
    fn every_script_that_is_called_is_there() {
        let root = hopwise_testkit::workspace();
        for script in ["build", "up", "down", "status", "check", "exec", "reboot", "import", "kubectl"] {
            let path = root.join("test/cluster/scripts").join(script).with_extension("sh");
            assert!(path.exists(), "{}", path.display());
        }
    }
}
