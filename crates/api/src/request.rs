//! One request to the API server, bounded in time and size.

use std::{error::Error, io, time::Duration};

use hopwise_snapshot::Reason;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use kube::{Client, client::Body};
use serde::Deserialize;
use tokio::time::Instant;

use crate::error::Said;

/// Asks the API server.
#[derive(Clone)]
pub(crate) struct Requests {
    pub(crate) client: Client,
    /// How long one answer may take; none means that only the deadline counts.
    pub(crate) timeout: Option<Duration>,
    /// When everything must be done.
    pub(crate) deadline: Instant,
}

/// Why a request was not answered as it should be.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The server said no, or that it cannot.
    Status(Status),
    /// No answer in time.
    TimedOut(Duration),
    /// The answer is larger than the limit in bytes.
    TooLarge(u64),
    /// The connection, or credentials.
    Broken(kube::Error),
    /// The answer is not what it should be.
    NotUnderstood(String),
}

/// What the API server says where it does not do what is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Status {
    pub(crate) code: u16,
    pub(crate) reason: String,
    pub(crate) message: String,
}

impl Status {
    /// Of an answer that is no success.
    fn of(code: StatusCode, body: &[u8]) -> Self {
        let own: Status = serde_json::from_slice(body).unwrap_or_default();
        let message = if own.message.is_empty() {
            // A proxy in between, or a kubelet, answers in words of its own.
            let text = String::from_utf8_lossy(body);
            let first = text.lines().map(str::trim).find(|it| !it.is_empty()).unwrap_or_default();
            first.chars().take(200).collect()
        } else {
            own.message
        };
        Self { code: code.as_u16(), reason: own.reason, message }
    }

    /// The answer as a line.
    pub(crate) fn told(&self) -> String {
        let name =
            StatusCode::from_u16(self.code).ok().and_then(|it| it.canonical_reason()).unwrap_or_default();
        match self.message.as_str() {
            "" => format!("{} {name}", self.code),
            message => format!("{} {name}: {message}", self.code),
        }
    }
}

impl Refusal {
    /// The status code, where the server answered with one.
    pub(crate) fn code(&self) -> Option<u16> {
        match self {
            Self::Status(status) => Some(status.code),
            _ => None,
        }
    }

    /// What a fact is that was not got for this. `right` is what reading it takes.
    pub(crate) fn reason(&self, right: &str) -> Reason {
        match self {
            Self::Status(status) if status.code == 403 => Reason::NotPermitted(right.to_owned()),
            Self::Status(status) if status.code == 404 => {
                Reason::Failed(format!("the API server does not have it ({})", status.told()))
            }
            Self::TimedOut(_) => Reason::TimedOut,
            Self::TooLarge(limit) => Reason::TooLarge { limit: *limit },
            Self::Status(_) | Self::Broken(_) | Self::NotUnderstood(_) => Reason::Failed(self.told()),
        }
    }

    /// In a line.
    pub(crate) fn told(&self) -> String {
        match self {
            Self::Status(status) => status.told(),
            Self::TimedOut(after) => format!("no answer within {} s", after.as_secs_f32()),
            Self::TooLarge(limit) => format!("the answer is larger than {limit} bytes"),
            Self::Broken(error) => transport(error),
            Self::NotUnderstood(what) => what.clone(),
        }
    }
}

impl Requests {
    /// Gets a resource. `most` bounds the answer, in bytes.
    pub(crate) async fn get(&self, path: &str, most: u64) -> Result<Vec<u8>, Refusal> {
        self.send(Method::GET, path, None, most).await
    }

    /// Sends a request, with a JSON document where there is one.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        document: Option<Vec<u8>>,
        most: u64,
    ) -> Result<Vec<u8>, Refusal> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let patience = self.timeout.map_or(left, |it| it.min(left));
        match tokio::time::timeout(patience, self.answer(method, path, document, most)).await {
            Ok(answer) => answer,
            Err(_) => Err(Refusal::TimedOut(patience)),
        }
    }

    /// Asks, and once more when a busy server says so.
    async fn answer(
        &self,
        method: Method,
        path: &str,
        document: Option<Vec<u8>>,
        most: u64,
    ) -> Result<Vec<u8>, Refusal> {
        loop {
            let response =
                self.client.send(request(&method, path, document.clone())?).await.map_err(Refusal::Broken)?;
            if response.status() != StatusCode::TOO_MANY_REQUESTS {
                return body(response, most).await;
            }
            let after =
                response.headers().get(header::RETRY_AFTER).and_then(|it| it.to_str().ok()?.parse().ok());
            tokio::time::sleep(Duration::from_secs(after.unwrap_or(1).clamp(1, 10))).await;
        }
    }
}

fn request(method: &Method, path: &str, document: Option<Vec<u8>>) -> Result<Request<Body>, Refusal> {
    let mut request = Request::builder().method(method).uri(path).header(header::ACCEPT, "application/json");
    if document.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    request
        .body(document.map_or_else(Body::empty, Body::from))
        .map_err(|error| Refusal::NotUnderstood(error.to_string()))
}

/// The body of an answer, as far as it may go.
async fn body(response: Response<Body>, most: u64) -> Result<Vec<u8>, Refusal> {
    let (code, mut body) = (response.status(), response.into_body());
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(Refusal::Broken)?;
        let Ok(data) = frame.into_data() else { continue };
        if (bytes.len() + data.len()) as u64 > most {
            return Err(Refusal::TooLarge(most));
        }
        bytes.extend_from_slice(&data);
    }
    if code.is_success() { Ok(bytes) } else { Err(Refusal::Status(Status::of(code, &bytes))) }
}

/// What the network said, without the layers that it was passed through.
pub(crate) fn transport(error: &kube::Error) -> String {
    let mut innermost: &(dyn Error + 'static) = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    // What is wrapped into an input-output error is not its source.
    if let Some(inner) = innermost.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        return Said::by(inner).0;
    }
    innermost.to_string()
}

/// A value as part of a query.
pub(crate) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let digit = |it: u8| char::from_digit(u32::from(it), 16).unwrap_or('0').to_ascii_uppercase();
            encoded.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    encoded
}

/// Is this the name of an object, as the API server lets one be called (RFC 1123, 253 characters)?
///
/// Names that come from the server become part of paths. Encoding would not do: the server decodes a path before it looks
/// which object is meant, so that a pod called `../secrets/x` would be one.
pub(crate) fn is_name(text: &str) -> bool {
    let is_edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= 253
        && is_edge(bytes.first())
        && is_edge(bytes.last())
        && bytes.iter().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || b"-.".contains(it))
        && !text.contains("..")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_cannot_lead_elsewhere() {
        assert!(is_name("kube-proxy-x7.1") && is_name("a"));
        for bad in
            ["", ".", "..", "a/b", "../../secrets", "a..b", "-a", "a-", "a%2fb", "a?b", "ä", "a b", "A"]
        {
            assert!(!is_name(bad), "{bad}");
        }
        assert_eq!(encoded("a=b&c/../d e"), "a%3Db%26c%2F..%2Fd%20e");
    }

    #[test]
    fn an_answer_of_somebody_else_is_told_in_a_line() {
        let status = Status::of(StatusCode::BAD_GATEWAY, b"\n<html>\n<body>no</body>");
        assert_eq!(status.told(), "502 Bad Gateway: <html>");
        let status = Status::of(
            StatusCode::FORBIDDEN,
            br#"{"kind":"Status","message":"pods is forbidden","reason":"Forbidden","code":403}"#,
        );
        assert_eq!(status.told(), "403 Forbidden: pods is forbidden");
    }

    proptest! {
        #[test]
        fn what_is_encoded_ends_no_query(text in ".*") {
            prop_assert!(encoded(&text).bytes().all(|it| it.is_ascii_alphanumeric() || b"-_.~%".contains(&it)));
        }

        #[test]
        fn no_body_makes_it_panic(code in 100u16..1000, body in any::<Vec<u8>>()) {
            let _ = Status::of(StatusCode::from_u16(code).unwrap(), &body).told();
        }
    }
}
