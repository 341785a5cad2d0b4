//! Certificates of both sides.

use std::{io::Write, net::TcpStream, sync::Arc};

use hopwise_api::ApiServer;
use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use serde_json::json;

use crate::fake::{Fake, Wrap, empty, status};

/// An authority.
struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    /// A server that shows a certificate for this name.
    fn server(&self, name: &str) -> Wrap {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let own = params.signed_by(&key, &self.issuer).unwrap();
        let chain: Vec<CertificateDer<'static>> = vec![own.der().clone()];
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
        let config = Arc::new(config);
        Arc::new(move |stream: TcpStream| {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(connection, stream);
            // A client that does not trust it hangs up here.
            stream.flush().ok()?;
            Some(Box::new(stream))
        })
    }
}

fn base64(text: &str) -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut coded = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let mut held = 0u32;
        (0..3).for_each(|n| held = held << 8 | u32::from(chunk.get(n).copied().unwrap_or(0)));
        for n in 0..4 {
            let digit = alphabet[(held >> (18 - 6 * n) & 63) as usize];
            coded.push(if n <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    coded
}

#[test]
fn a_server_of_the_authority_in_the_kubeconfig_is_trusted() {
    let authority = Authority::new();
    let fake = Fake::wrapped(empty, authority.server("127.0.0.1"));
    let server = format!("https://{}", fake.address);
    let cluster =
        json!({"server": server, "certificate-authority-data": base64(&authority.certificate.pem())});
    fake.write_kubeconfig(&cluster, &json!({"token": "t"}));
    assert_eq!(fake.connect().address(), server);
}

#[test]
fn a_server_of_another_authority_is_not_trusted() {
    let fake = Fake::wrapped(empty, Authority::new().server("127.0.0.1"));
    let server = format!("https://{}", fake.address);
    let other = Authority::new().certificate.pem();
    fake.write_kubeconfig(
        &json!({"server": server, "certificate-authority-data": base64(&other)}),
        &json!({"token": "t"}),
    );
    let told = ApiServer::connect(&fake.access()).unwrap_err().to_string();
    assert!(
        told.starts_with(&format!("the certificate of the API server at {server} is not trusted: it")),
        "{told}"
    );
    assert!(fake.requests().is_empty(), "no token was sent");
}

#[test]
fn a_server_with_another_name_is_not_trusted() {
    let authority = Authority::new();
    let fake = Fake::wrapped(empty, authority.server("other.example.test"));
    let server = format!("https://{}", fake.address);
    let cluster =
        json!({"server": server, "certificate-authority-data": base64(&authority.certificate.pem())});
    fake.write_kubeconfig(&cluster, &json!({"token": "t"}));
    let told = ApiServer::connect(&fake.access()).unwrap_err().to_string();
    assert!(told.contains("is not trusted") && told.contains("other.example.test"), "{told}");
}

#[test]
fn a_client_certificate_that_has_ended_is_told_with_its_end() {
    let authority = Authority::new();
    let fake = Fake::wrapped(|_| status(401, "Unauthorized", "Unauthorized"), authority.server("127.0.0.1"));
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 2, 3));
    let own = params.signed_by(&key, &authority.issuer).unwrap();
    let server = format!("https://{}", fake.address);
    let cluster =
        json!({"server": server, "certificate-authority-data": base64(&authority.certificate.pem())});
    let user = json!({"client-certificate-data": base64(&own.pem()), "client-key-data": base64(&key.serialize_pem())});
    fake.write_kubeconfig(&cluster, &user);
    assert_eq!(
        ApiServer::connect(&fake.access()).unwrap_err().to_string(),
        format!(
            "the client certificate of user `jane` was valid until 2021-02-03T00:00:00Z: the API server at {server} \
             refuses it"
        )
    );
}

#[test]
fn what_speaks_no_tls_is_no_api_server() {
    let fake = Fake::new(empty);
    let server = format!("https://{}", fake.address);
    fake.write_kubeconfig(&json!({"server": server}), &json!({"token": "t"}));
    let told = ApiServer::connect(&fake.access()).unwrap_err().to_string();
    assert!(told.contains("is no API server") || told.contains("does not answer"), "{told}");
}
