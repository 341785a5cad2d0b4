//! The rule languages of the Linux packet filter: one model, and what it does with a packet.
