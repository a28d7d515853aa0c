//! Cases about clients that misbehave: what one does must not be felt by another, nor end the
//! server.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use super::bench::{Bench, Change, write};
use super::session::Session;
use super::{Case, Trouble};
use crate::tracking::MessageKind;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "unknown-types",
        about: "unknown message types",
        sent: "ALLOC (64 B), a frame of type 0, 13, 99 or 255, ALLOC (64 B), in one write; then their FREEs",
        expected: "the frame is skipped whole: +128 B, answered on the same connection; then as before",
        run: unknown_types,
    },
    Case {
        name: "never-reads",
        about: "a client that never reads delays others, or makes the server grow without bound",
        sent: "32 MiB of QUERYs on one connection, as far as the server takes them, whose answers are not read",
        expected: "it stops taking them or drops that client; another is answered all the while, with the right totals",
        run: never_reads,
    },
    Case {
        name: "query-and-close",
        about: "SIGPIPE when a client queries and closes",
        sent: "200 KiB of QUERYs, as far as there is room for them, and close at once, on 20 connections",
        expected: "the server lives and answers another client",
        run: query_and_close,
    },
];

fn unknown_types(bench: &mut Bench<'_>) -> Result<String, Trouble> {
    const TYPES: [u8; 4] = [0, 13, 99, 255];
    let mut session = bench.open()?;
    for kind in TYPES {
        let addresses = [bench.address(), bench.address()];
        let allocs = addresses.map(|address| bench.alloc(&session, address, 64));
        let mut bytes = bench.bytes(&session, &allocs);
        let frame = session.layout.frame_bytes();
        let mut unknown = bytes[..frame].to_vec();
        unknown[0] = kind;
        bytes.splice(frame..frame, unknown);
        write(&mut session, &bytes)?;
        let when = format!("a frame of type {kind} between two ALLOCs");
        bench.expect(&mut session, &when, Change::dram(128))?;
        let frees = addresses.map(|address| bench.free(&session, address));
        bench.send(&mut session, &frees)?;
        bench.expect(&mut session, "their FREEs", Change::default())?;
    }
    Ok("types 0, 13, 99 and 255 skipped, all else counted".to_owned())
}

/// How often the other client asks after the last write.
const LAST_QUERIES: u32 = 10;
/// A server that takes so much has no bound that shows.
const ENOUGH_BYTES: usize = 32 << 20;
/// So little at a time, as long as each piece is answered before the next: no server has to read in
/// the middle of a message, which is another case.
const PIECE_BYTES: usize = 16 << 10;
/// No further answers come when none has come for so long: there is no room for them.
const STALLED_AFTER: Duration = Duration::from_millis(200);
/// The server takes no more after it has taken nothing for so long.
const FULL_AFTER: Duration = Duration::from_millis(300);

fn never_reads(bench: &mut Bench<'_>) -> Result<String, Trouble> {
    let mut other = bench.open()?;
    let mut greedy = bench.open()?;
    let address = bench.address();
    let alloc = bench.alloc(&other, address, 64);
    bench.send(&mut other, &[alloc])?;
    bench.expect(&mut other, "the ALLOC", Change::dram(64))?;
    let mut taken = 0;
    let bound = be_greedy(bench, &mut greedy, &mut other, &mut taken);
    // All that is left is read, or the server would have to write to who is gone: another case.
    greedy.end();
    let bounded = match bound {
        Ok(bounded) => bounded,
        Err(trouble) => {
            // The same: its answer may be on its way.
            other.end();
            return Err(trouble);
        }
    };
    let free = bench.free(&other, address);
    bench.send(&mut other, &[free])?;
    bench.expect(&mut other, "the end of that client", Change::default())?;
    if bounded {
        return Ok(
            "it took no more or dropped that client; another was answered all the while".to_owned(),
        );
    }
    Err(Trouble::Failed(format!(
        "it took {} MiB of QUERYs whose answers nobody reads: its memory has no bound that shows",
        taken >> 20
    )))
}

/// Asks and does not read, until the server has taken enough or takes no more, while `other` is
/// answered. Whether there was a bound.
fn be_greedy(
    bench: &Bench<'_>,
    greedy: &mut Session,
    other: &mut Session,
    taken: &mut usize,
) -> Result<bool, Trouble> {
    let queries = greedy
        .request(MessageKind::Query, bench.site.device)
        .repeat(PIECE_BYTES / greedy.layout.frame_bytes());
    let mut last_taken = Instant::now();
    let mut has_room = true;
    let bounded = loop {
        // From where the last write ended: frames stay whole.
        match greedy.write_some(&queries[*taken % queries.len()..]) {
            Ok(count) => {
                *taken += count;
                has_room = has_room && is_answered(greedy, *taken as u64);
                last_taken = Instant::now();
                if *taken >= ENOUGH_BYTES {
                    break false;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if last_taken.elapsed() > FULL_AFTER {
                    break true;
                }
                thread::sleep(Duration::from_millis(1));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break true,
        }
        ask(bench, other)?;
    };
    for _ in 0..LAST_QUERIES {
        ask(bench, other)?;
    }
    Ok(bounded)
}

/// Waits until all that was asked is answered, or until no more answers come.
fn is_answered(greedy: &Session, taken: u64) -> bool {
    let (mut came, mut last_came) = (0, Instant::now());
    let frame_bytes = greedy.layout.frame_bytes() as u64;
    while came < taken / frame_bytes * frame_bytes {
        let now = greedy.unread_bytes();
        if now > came {
            (came, last_came) = (now, Instant::now());
        } else if last_came.elapsed() > STALLED_AFTER {
            return false;
        } else {
            thread::sleep(Duration::from_micros(100));
        }
    }
    true
}

fn ask(bench: &Bench<'_>, other: &mut Session) -> Result<(), Trouble> {
    let when = "QUERYs whose answers nobody reads, another client";
    let answered = bench.expect(other, when, Change::dram(64));
    answered.map_err(|trouble| match trouble {
        Trouble::Failed(seen) if !seen.contains(when) => Trouble::Failed(format!("{when}: {seen}")),
        other => other,
    })
}

fn query_and_close(bench: &mut Bench<'_>) -> Result<String, Trouble> {
    const CONNECTIONS: usize = 20;
    /// More answers than any socket's buffer holds: the server is about to write when its client
    /// goes.
    const QUERY_BYTES: usize = 4 << 20;
    for _ in 0..CONNECTIONS {
        let mut session = bench.open()?;
        let query = session.request(MessageKind::Query, bench.site.device);
        let queries = query.repeat(QUERY_BYTES / CONNECTIONS / query.len());
        // As much as there is room for: a server that waits for its client to read takes no more.
        let _ = session.write_some(&queries);
    }
    // A server of several threads may still be about to write to who is gone.
    thread::sleep(Duration::from_millis(50));
    let mut other = bench.open()?;
    bench.expect(&mut other, "all that", Change::default())?;
    Ok(format!(
        "alive after {CONNECTIONS} clients that left their answers unread"
    ))
}
