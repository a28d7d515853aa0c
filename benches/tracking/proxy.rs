//! What the proxy adds to a message: queries and their answers, straight to our server and through
//! the proxy, recorded.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use heisenbed::proxy::{Proxy, ProxyConfig};
use heisenbed::registry::Semantics;
use heisenbed::server::listener::{Server, ServerConfig};
use heisenbed::tracking::Layout;
use heisenbed::tracking::transport::Connection;

use super::row::{Effort, Row, median};

/// A query goes through the proxy twice: as a message and as its answer.
const WAYS: f64 = 2.0;

/// The median of what one way costs.
pub fn added_latency(effort: Effort) -> Vec<Row> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    let server =
        Server::start(ServerConfig::new(path("real"), Semantics::Typed)).expect("a server");
    let proxy = Proxy::start(ProxyConfig {
        listen: path("proxy"),
        upstream: path("real"),
        record: Some(File::create_new(path("run.hb")).expect("a file")),
        faults: Vec::new(),
        seed: 0,
        layout: None,
        max_connections: 16,
    })
    .expect("a proxy");
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stop);
    let forwarding = std::thread::spawn(move || proxy.run(&seen));
    let open = |name: &str| Connection::open(&path(name), Layout::V112, None).expect("a server");
    let (straight, through) = (open("real"), open("proxy"));
    let (mut direct_us, mut proxied_us) = (Vec::new(), Vec::new());
    for _ in 0..effort.pick(20_000, 100_000) {
        direct_us.push(query_us(&straight));
        proxied_us.push(query_us(&through));
    }
    stop.store(true, Ordering::Relaxed);
    let report = forwarding.join().expect("the proxy ends");
    assert!(report.record_error.is_none());
    drop(server);
    let (direct, proxied) = (median(&direct_us), median(&proxied_us));
    let added_us = (proxied - direct) / WAYS;
    vec![Row {
        what: "proxy, recorded: added to a message, median".to_owned(),
        peer: format!("query and answer straight {direct:.1} µs"),
        ours: format!("{added_us:.1} µs ({proxied:.1} µs through it)"),
        ratio: format!("{:.1}", proxied / direct),
        target: "≤ 20 µs a message".to_owned(),
        met: Some(added_us <= 20.0),
    }]
}

fn query_us(connection: &Connection) -> f64 {
    let asked = Instant::now();
    connection
        .query(0, Duration::from_secs(10))
        .expect("an answer");
    asked.elapsed().as_secs_f64() * 1e6
}
