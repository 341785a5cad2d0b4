//! Asking by UDP: anybody who answers at all, and name servers.

use std::{io, net::SocketAddr, os::fd::AsFd, str::FromStr, thread, time::Instant};

use hickory_proto::{
    op::{Message, MessageType, Query, ResponseCode},
    rr::{Name, RecordType},
};
use hopwise_snapshot::Answers;
use nix::poll::PollFlags;
use socket2::{Domain, Protocol, Socket, Type};

use super::{refused_by_kernel, wait_until};
use crate::{N_PACKETS, PACE, PATIENCE, wire::Mark};

/// What a packet that came back says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// What was asked for.
    Answer,
    /// That there is none.
    Refusal,
    /// Nothing of ours.
    Alien,
}

/// Sends a mark to a port, and takes whatever comes back from there for an answer.
pub(crate) fn anything(to: SocketAddr, probe: u64) -> io::Result<Answers> {
    let packet = |number| Mark { probe, kind: 0, number }.bytes().to_vec();
    ask(to, &packet, &|_, _| Reply::Answer)
}

/// Asks a name server for the addresses of a name.
pub(crate) fn name(to: SocketAddr, name: &str) -> io::Result<Answers> {
    let invalid = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
    let name = Name::from_str(&format!("{}.", name.trim_end_matches('.'))).map_err(invalid)?;
    let kind = if to.is_ipv6() { RecordType::AAAA } else { RecordType::A };
    let first = (getrandom::u32().map_err(io::Error::other)? & 0xffff) as u16;
    let id = |number: u16| first.wrapping_add(number);
    let packet = |number: u16| {
        let mut message = Message::query();
        message.metadata.id = id(number);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(name.clone(), kind));
        message.to_vec().unwrap_or_default()
    };
    ask(to, &packet, &|number, bytes| answer(bytes, id(number)))
}

/// What a name server says to the question of a number: an answer where it says that there is such a name, whether or not
/// that has addresses of this family (RFC 2308 §2.2).
pub(crate) fn answer(bytes: &[u8], id: u16) -> Reply {
    match Message::from_vec(bytes) {
        Ok(message) if is_reply(&message, id) => match message.metadata.response_code {
            ResponseCode::NoError => Reply::Answer,
            _ => Reply::Refusal,
        },
        _ => Reply::Alien,
    }
}

fn is_reply(message: &Message, id: u16) -> bool {
    message.metadata.id == id && message.metadata.message_type == MessageType::Response
}

/// Sends packets, each from a port of its own: behind a Service they may go to different endpoints.
fn ask(
    to: SocketAddr,
    packet: &dyn Fn(u16) -> Vec<u8>,
    judge: &dyn Fn(u16, &[u8]) -> Reply,
) -> io::Result<Answers> {
    let mut answers = Answers::default();
    let mut open: Vec<(u16, Socket)> = Vec::new();
    for number in 0..N_PACKETS {
        answers.n_sent += 1;
        match send(to, &packet(number)) {
            Ok(socket) => open.push((number, socket)),
            Err(error) => {
                refused_by_kernel(error)?;
                answers.n_refused += 1;
            }
        }
        thread::sleep(PACE);
    }
    let limit = Instant::now() + PATIENCE;
    let mut buffer = vec![0; 64 << 10];
    while !open.is_empty() && Instant::now() < limit {
        let descriptors: Vec<_> = open.iter().map(|(_, it)| it.as_fd()).collect();
        wait_until(&descriptors, PollFlags::POLLIN, limit)?;
        let mut waiting = Vec::new();
        for (number, socket) in open {
            match receive(&socket, &mut buffer).map(|length| judge(number, &buffer[..length])) {
                Ok(Reply::Answer) => answers.n_answered += 1,
                Ok(Reply::Refusal) => answers.n_refused += 1,
                Ok(Reply::Alien) => waiting.push((number, socket)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => waiting.push((number, socket)),
                Err(error) => {
                    refused_by_kernel(error)?;
                    answers.n_refused += 1;
                }
            }
        }
        open = waiting;
    }
    Ok(answers)
}

fn send(to: SocketAddr, packet: &[u8]) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(to), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.connect(&to.into())?;
    socket.send(packet)?;
    Ok(socket)
}

fn receive(mut socket: &Socket, buffer: &mut [u8]) -> io::Result<usize> {
    io::Read::read(&mut socket, buffer)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn response(id: u16, code: ResponseCode) -> Vec<u8> {
        let mut message = Message::query();
        message.metadata.id = id;
        message.metadata.message_type = MessageType::Response;
        message.metadata.response_code = code;
        message.to_vec().unwrap()
    }

    #[test]
    fn only_who_answers_the_question_counts() {
        assert_eq!(answer(&response(7, ResponseCode::NoError), 7), Reply::Answer);
        assert_eq!(answer(&response(7, ResponseCode::NXDomain), 7), Reply::Refusal);
        assert_eq!(answer(&response(7, ResponseCode::ServFail), 7), Reply::Refusal);
        assert_eq!(answer(&response(8, ResponseCode::NoError), 7), Reply::Alien);
        assert_eq!(answer(b"", 7), Reply::Alien);
    }

    proptest! {
        #[test]
        fn no_bytes_are_taken_for_an_answer_to_another(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let id = bytes.first_chunk::<2>().map(|it| u16::from_be_bytes(*it));
            let other = id.map_or(1, |it| it.wrapping_add(1));
            prop_assert_eq!(answer(&bytes, other), Reply::Alien);
        }
    }
}
