//! The server's side of a program in a pod, as the API server speaks of it: websocket messages whose first byte is the
//! stream (0 input, 1 output, 2 complaints, 3 the end, 255 the end of a stream), subprotocol `v5.channel.k8s.io`.

use std::io::{BufReader, Write};

use serde_json::json;
use tungstenite::{Message, WebSocket, handshake::derive_accept_key, protocol::Role};

use crate::fake::{Request, Stream};

fn upgrade(mut stream: BufReader<Box<dyn Stream>>, request: &Request) -> WebSocket<Box<dyn Stream>> {
    assert_eq!(request.header("upgrade"), Some("websocket"));
    assert!(request.header("sec-websocket-protocol").unwrap().contains("v5.channel.k8s.io"));
    let accept = derive_accept_key(request.header("sec-websocket-key").unwrap().as_bytes());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n"
    );
    stream.get_mut().write_all(answer.as_bytes()).unwrap();
    assert!(stream.buffer().is_empty(), "the client waits for the answer");
    WebSocket::from_raw_socket(stream.into_inner(), Role::Server, None)
}

/// A message of a stream.
fn of(stream: u8, bytes: &[u8]) -> Message {
    Message::binary([&[stream], bytes].concat())
}

/// Writes what it reads until its input ends, as `cat` does.
pub(crate) fn echo(stream: BufReader<Box<dyn Stream>>, request: &Request) {
    let mut socket = upgrade(stream, request);
    while let Ok(message) = socket.read() {
        match message.into_data().as_ref() {
            [0, bytes @ ..] => socket.send(of(1, bytes)).unwrap(),
            [255, 0] => {
                socket.send(of(3, json!({"status": "Success"}).to_string().as_bytes())).unwrap();
                let _ = socket.close(None);
            }
            _ => {}
        }
    }
}

/// Complains, and ends.
pub(crate) fn fail(stream: BufReader<Box<dyn Stream>>, request: &Request, complaint: &str, message: &str) {
    let mut socket = upgrade(stream, request);
    socket.send(of(2, complaint.as_bytes())).unwrap();
    let status = json!({"status": "Failure", "message": message, "reason": "NonZeroExitCode"});
    socket.send(of(3, status.to_string().as_bytes())).unwrap();
    let _ = socket.close(None);
    while socket.read().is_ok() {}
}
