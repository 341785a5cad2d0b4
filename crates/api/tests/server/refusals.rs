//! What is said where nothing can be read.

use std::{fs, net::TcpListener, path::Path, time::Duration};

use hopwise_api::{Access, ApiError, ApiServer, Environment, Limits};
use serde_json::json;

use crate::fake::{Answer, Fake, empty, forbidden, status};

fn error(access: &Access) -> ApiError {
    ApiServer::connect(access).map(drop).unwrap_err()
}

/// The error and its causes.
fn told(error: &ApiError) -> String {
    let source = std::error::Error::source(error).map(|it| format!(": {it}")).unwrap_or_default();
    format!("{error}{source}")
}

#[test]
fn no_kubeconfig() {
    let nothing = Access {
        environment: Environment { home: Some("/nonexistent".into()), ..Environment::default() },
        ..Access::default()
    };
    let error = error(&nothing);
    assert_eq!(
        error.to_string(),
        "no kubeconfig was found: looked for /nonexistent/.kube/config, and this is no pod of a cluster"
    );
    assert!(error.next().unwrap().contains("--lab"));
}

#[test]
fn a_kubeconfig_that_is_named_must_be_there() {
    let access = Access { kubeconfig: Some("/nonexistent/config".into()), ..Access::default() };
    assert_eq!(
        told(&error(&access)),
        "failed to read the kubeconfig /nonexistent/config: No such file or directory (os error 2)"
    );
}

#[test]
fn a_kubeconfig_that_is_none_is_told_without_its_content() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config");
    for text in ["users: [{name: a, user: {token: s3cr3t}", "\tx", "users: s3cr3t", "\u{0}"] {
        fs::write(&path, text).unwrap();
        let told = told(&error(&Access { kubeconfig: Some(path.clone()), ..Access::default() }));
        assert!(told.starts_with("failed to read the kubeconfig "), "{text}: {told}");
        assert!(!told.contains("s3cr3t"), "{text}: {told}");
    }
}

#[test]
fn a_context_that_is_not_there_is_told_with_those_that_are() {
    let fake = Fake::new(empty);
    let file = fake.kubeconfig().display().to_string();
    let access = Access { context: Some("there".to_owned()), ..fake.access() };
    assert_eq!(
        error(&access).to_string(),
        format!("there is no context `there` in {file}: expected one of here")
    );
    fs::write(fake.kubeconfig(), json!({"apiVersion": "v1", "kind": "Config"}).to_string()).unwrap();
    assert_eq!(
        error(&fake.access()).to_string(),
        format!(
            "the kubeconfig {file} has no current context: expected --context with one of none, as it has no context"
        )
    );
    let dangling = json!({"current-context": "x", "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}]});
    fs::write(fake.kubeconfig(), dangling.to_string()).unwrap();
    assert_eq!(
        error(&fake.access()).to_string(),
        format!("context `x` of {file} names the cluster `c`, which is not there")
    );
}

#[test]
fn the_files_of_the_variable_are_merged_and_the_first_wins() {
    let (first, second) = (Fake::new(empty), Fake::new(empty));
    let listed =
        std::env::join_paths([Path::new("/nonexistent/config"), &first.kubeconfig(), &second.kubeconfig()]);
    let environment = Environment { kubeconfig: Some(listed.unwrap()), ..Environment::default() };
    let server = ApiServer::connect(&Access { environment, ..Access::default() }).unwrap();
    assert_eq!(server.address(), format!("http://{}", first.address));
}

#[test]
fn a_server_that_is_gone() {
    let fake = Fake::new(empty);
    // Nobody listens on a port that was just given back.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    fake.write_kubeconfig(&json!({"server": format!("https://{free}")}), &json!({}));
    let told = told(&error(&fake.access()));
    assert!(told.starts_with(&format!("the API server at https://{free} does not answer: ")), "{told}");
    assert!(told.contains("Connection refused"), "{told}");
}

#[test]
fn a_server_that_says_nothing() {
    let fake = Fake::new(|_| Answer::Nothing);
    let access = Access { timeout: Some(Duration::from_secs(1)), ..fake.access() };
    let address = fake.address;
    assert_eq!(
        error(&access).to_string(),
        format!("the API server at http://{address} did not answer within 1 s")
    );
}

#[test]
fn a_server_that_is_something_else() {
    let fake = Fake::new(|_| Answer::Says(502, b"<html>bad gateway</html>".to_vec()));
    let told = told(&error(&fake.access()));
    assert!(
        told.ends_with(
            "is no API server, or one that is not well: 502 Bad Gateway: <html>bad gateway</html>"
        ),
        "{told}"
    );
}

#[test]
fn credentials_that_are_not_accepted() {
    let fake = Fake::new(|_| status(401, "Unauthorized", "Unauthorized"));
    let told = told(&error(&fake.access()));
    let address = fake.address;
    assert_eq!(
        told,
        format!(
            "the API server at http://{address} does not accept the credentials of user `jane` (401 Unauthorized): \
             401 Unauthorized: Unauthorized"
        )
    );
}

#[test]
fn who_may_read_nothing_is_told_so() {
    let fake =
        Fake::new(|request| if request.path == "/version" { empty(request) } else { forbidden(request) });
    let error = fake.connect().read(&Limits::default(), &|_| {}).unwrap_err();
    let address = fake.address;
    assert_eq!(
        told(&error),
        format!(
            "the API server at http://{address} lets user `jane` read nothing (403 Forbidden): 403 Forbidden: User \
             \"jane\" cannot get /api/v1/pods"
        )
    );
    assert!(error.next().unwrap().contains("deploy/rbac.yaml"));
}

#[test]
fn a_program_that_gives_credentials_is_run() {
    let fake = Fake::new(empty);
    let cluster = json!({"server": format!("http://{}", fake.address)});
    let program = |command: &str, args: &[&str]| {
        json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": command, "args": args,
            "interactiveMode": "Never", "installHint": "install it from the vendor"}})
    };
    let gives = r#"echo '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"fresh"}}'"#;
    fake.write_kubeconfig(&cluster, &program("sh", &["-c", gives]));
    fake.connect();
    assert_eq!(fake.requests()[0].header("authorization"), Some("Bearer fresh"));

    fake.write_kubeconfig(&cluster, &program("/nonexistent/program", &[]));
    let missing = error(&fake.access());
    assert!(told(&missing).starts_with("failed to get credentials for user `jane`: "), "{}", told(&missing));
    assert_eq!(missing.next().as_deref(), Some("install it from the vendor"));

    fake.write_kubeconfig(&cluster, &program("sh", &["-c", "echo s3cr3t; echo log in first >&2; exit 3"]));
    let failing = told(&error(&fake.access()));
    assert!(failing.ends_with("ended with exit status: 3: log in first"), "{failing}");
    assert!(!failing.contains("s3cr3t"));
}
