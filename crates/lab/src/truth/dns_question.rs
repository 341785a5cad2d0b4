//! DNS messages that probes send and read.

use std::{net::IpAddr, str::FromStr};

use hickory_proto::{
    op::{Message, Query, ResponseCode},
    rr::{DNSClass, Name, RData, RecordType},
};

use crate::member::WHO;

/// The question who a server is and whom it sees.
pub(super) fn who() -> Vec<u8> {
    let mut query = Query::query(Name::from_ascii(WHO).expect("a constant name"), RecordType::TXT);
    query.set_query_class(DNSClass::CH);
    message(query)
}

/// The question for a name's addresses of one family. `None` where the text is no name.
pub(super) fn addresses(name: &str, is_v6: bool) -> Option<Vec<u8>> {
    let name = Name::from_str(&format!("{}.", name.trim_end_matches('.'))).ok()?;
    Some(message(Query::query(name, if is_v6 { RecordType::AAAA } else { RecordType::A })))
}

fn message(query: Query) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(query);
    message.to_vec().expect("a message with one question fits")
}

/// Is this the answer to that question?
pub(super) fn is_answer(answer: &[u8], question: &[u8]) -> bool {
    answer.len() >= 12 && question.len() >= 2 && answer[..2] == question[..2]
}

/// Who the server is, and the source address that it saw. Both unknown where the server does not tell.
pub(super) fn read_who(answer: &[u8]) -> (Option<String>, Option<IpAddr>) {
    let Ok(message) = Message::from_vec(answer) else { return (None, None) };
    let texts = message.answers.iter().find_map(|it| match &it.data {
        RData::TXT(it) => {
            Some(it.txt_data.iter().map(|it| String::from_utf8_lossy(it).into_owned()).collect())
        }
        _ => None,
    });
    let texts: Vec<String> = texts.unwrap_or_default();
    (texts.first().cloned(), texts.get(1).and_then(|it| it.parse().ok()))
}

/// What a server says about a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It has these addresses, or none of the family asked for.
    Addresses(Vec<IpAddr>),
    /// There is no such name.
    NoSuchName,
    /// The server could not tell.
    Failed,
}

/// The addresses in an answer.
pub(super) fn read_addresses(answer: &[u8]) -> Said {
    let Ok(message) = Message::from_vec(answer) else { return Said::Failed };
    match message.metadata.response_code {
        ResponseCode::NoError => {
            let addresses = message.answers.iter().filter_map(|it| match &it.data {
                RData::A(it) => Some(IpAddr::V4(it.0)),
                RData::AAAA(it) => Some(IpAddr::V6(it.0)),
                _ => None,
            });
            Said::Addresses(addresses.collect())
        }
        ResponseCode::NXDomain => Said::NoSuchName,
        _ => Said::Failed,
    }
}
