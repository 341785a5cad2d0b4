//! The languages of name resolution: resolv.conf, hosts, Corefile.
