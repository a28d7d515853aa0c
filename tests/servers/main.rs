//! Servers on real sockets, ours and others, and what stands before them: the proxy and the C
//! interface.

mod any_server;
mod client;
mod client_conformance;
#[path = "../common/mod.rs"]
mod common;
mod conformance;
mod full_disk;
mod legacy_log;
#[path = "../naive/mod.rs"]
mod naive;
mod programs;
mod proxy;
mod served;
mod server;
mod server_hostile;
mod server_journal;
