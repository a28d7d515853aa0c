//! Cases about partial reads taken as whole messages: a stream has no message boundaries, and the
//! kernel may hand over any piece.

use std::thread;
use std::time::Duration;

use super::bench::{Bench, Change, failed, own_pid, write};
use super::session::Session;
use super::{Case, Trouble};
use crate::numbers::{grouped, plural};
use crate::tracking::{Layout, Message};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "torn-end",
        about: "a partial read taken as a whole message: a client that ends inside a frame",
        sent: "the first 48 bytes of an ALLOC, then the connection is closed",
        expected: "totals as before",
        run: torn_end,
    },
    Case {
        name: "split-frames",
        about: "a partial read taken as a whole message: frames split at odd places",
        sent: "ALLOC, ALLOC, FREE in pieces of 12, 1, 33 and almost or more than a frame's bytes, 2 ms apart",
        expected: "the one buffer that is left",
        run: split_frames,
    },
    Case {
        name: "byte-by-byte",
        about: "a partial read taken as a whole message: single bytes",
        sent: "ALLOC, ALLOC, FREE, one byte a write",
        expected: "the one buffer that is left",
        run: byte_by_byte,
    },
    Case {
        name: "large-writes",
        about: "a partial read taken as a whole message: a write above 64 KB desynchronises the server",
        sent: "1 MiB of ALLOCs (64 B each) in one write, then their FREEs in one write; four times",
        expected: "every one counted, then as before",
        run: large_writes,
    },
    Case {
        name: "longer-frames",
        about: "frames of a longer layout cut as the server's own: a burst of them is other messages",
        sent: "128 ALLOCs (64 B each) in one write by a client of each longer layout, then their FREEs",
        expected: "every one counted, or, where that layout is not answered, none; then as before",
        run: longer_frames,
    },
];

fn torn_end(bench: &mut Bench<'_>) -> Result<String, Trouble> {
    /// Type, device, size, process, address and time: what an incautious server needs to count it.
    const SENT_BYTES: usize = 48;
    let mut session = bench.open()?;
    let address = bench.address();
    let alloc = bench.alloc(&session, address, 4096);
    let bytes = bench.bytes(&session, &[alloc]);
    write(&mut session, &bytes[..SENT_BYTES])?;
    session.end();
    let mut other = bench.open()?;
    let when = format!("{SENT_BYTES} of {} bytes and the end", bytes.len());
    bench.expect(&mut other, &when, Change::default())?;
    // Nothing was allocated, so there is nothing to release.
    let free = bench.free(&other, address);
    bench.owe(bench.site.layout, &[free]);
    Ok("half an ALLOC, and nothing counted".to_owned())
}

/// Two ALLOCs, of 4096 and 64 B, and a FREE of the first; and the FREE of what is left.
fn three(bench: &mut Bench<'_>, session: &Session) -> ([Message; 3], Message) {
    let (first, second) = (bench.address(), bench.address());
    let messages = [
        bench.alloc(session, first, 4096),
        bench.alloc(session, second, 64),
        bench.free(session, first),
    ];
    (messages, bench.free(session, second))
}

fn split_frames(bench: &mut Bench<'_>) -> Result<String, Trouble> {
    let mut session = bench.open()?;
    let (messages, last) = three(bench, &session);
    let bytes = bench.bytes(&session, &messages);
    let frame = session.layout.frame_bytes();
    let mut rest = bytes.as_slice();
    let mut writes = 0;
    for length in [12, 1, 33, frame - 1, frame + 1].into_iter().cycle() {
        let (piece, after) = rest.split_at(length.min(rest.len()));
        write(&mut session, piece)?;
        writes += 1;
        rest = after;
        if rest.is_empty() {
            break;
        }
        thread::sleep(Duration::from_millis(2));
    }
    let when = format!("3 messages in {writes} pieces");
    bench.expect(&mut session, &when, Change::dram(64))?;
    bench.send(&mut session, &[last])?;
    bench.expect(&mut session, "the last FREE", Change::default())?;
    Ok(format!("3 messages in {writes} pieces, all counted"))
}

fn byte_by_byte(bench: &mut Bench<'_>) -> Result<String, Trouble> {
    let mut session = bench.open()?;
    let (messages, last) = three(bench, &session);
    let bytes = bench.bytes(&session, &messages);
    for byte in &bytes {
        write(&mut session, std::slice::from_ref(byte))?;
        // So that a reader is likely to see single bytes.
        thread::sleep(Duration::from_micros(20));
    }
    bench.expect(&mut session, "3 messages byte by byte", Change::dram(64))?;
    bench.send(&mut session, &[last])?;
    bench.expect(&mut session, "the last FREE", Change::default())?;
    Ok(format!("3 messages in {} writes, all counted", bytes.len()))
}

fn large_writes(bench: &mut Bench<'_>) -> Result<String, Trouble> {
    const BYTES: usize = 1 << 20;
    const SIZE_BYTES: u64 = 64;
    /// Whether a read ends inside a message is a race of reader and writer.
    const ROUNDS: usize = 4;
    let mut session = bench.open()?;
    let count = BYTES.div_ceil(session.layout.frame_bytes()) as u64;
    for _ in 0..ROUNDS {
        let addresses: Vec<u64> = (0..count).map(|_| bench.address()).collect();
        let allocs: Vec<Message> = addresses
            .iter()
            .map(|address| bench.alloc(&session, *address, SIZE_BYTES))
            .collect();
        bench.send(&mut session, &allocs)?;
        let when = format!("{count} ALLOCs in one write");
        bench.expect(&mut session, &when, Change::dram(count * SIZE_BYTES))?;
        let frees: Vec<Message> = addresses
            .iter()
            .map(|address| bench.free(&session, *address))
            .collect();
        bench.send(&mut session, &frees)?;
        bench.expect(&mut session, "their FREEs in one write", Change::default())?;
    }
    Ok(format!(
        "{ROUNDS} times {} ALLOCs in a write of {}, and their FREEs, all counted",
        grouped(count),
        plural(count * session.layout.frame_bytes() as u64, "byte")
    ))
}

fn longer_frames(bench: &mut Bench<'_>) -> Result<String, Trouble> {
    const COUNT: u64 = 128;
    const SIZE_BYTES: u64 = 64;
    let own_bytes = bench.site.layout.frame_bytes();
    let is_longer = |layout: &Layout| layout.frame_bytes() > own_bytes;
    let mut layouts: Vec<Layout> = Layout::LEGACY.into_iter().filter(is_longer).collect();
    if layouts.is_empty() {
        layouts.push(bench.site.layout);
    }
    let mut other = bench.open()?;
    let mut answered = 0;
    for layout in &layouts {
        let mut session = bench.connect(*layout, own_pid())?;
        let addresses: Vec<u64> = (0..COUNT).map(|_| bench.address()).collect();
        let of = |free: bool| -> Vec<Message> {
            let message = |address: &u64| match free {
                true => bench.free(&session, *address),
                false => bench.alloc(&session, *address, SIZE_BYTES),
            };
            addresses.iter().map(message).collect()
        };
        let (allocs, frees) = (of(false), of(true));
        bench.send(&mut session, &allocs)?;
        // Behind them, so that an answer shows that they were taken.
        let is_answered = session.greet(bench.site.device).is_ok();
        answered += usize::from(is_answered);
        let left = if is_answered { COUNT * SIZE_BYTES } else { 0 };
        let when = match is_answered {
            true => format!("{COUNT} ALLOCs in the {layout} layout"),
            false => format!("{COUNT} ALLOCs in the {layout} layout, which is not answered"),
        };
        bench.expect(&mut other, &when, Change::dram(left))?;
        if is_answered {
            bench.send(&mut session, &frees)?;
            let taken = session.query(bench.site.device);
            taken.map_err(|error| failed("QUERY", &error))?;
        }
        let when = format!("their FREEs in the {layout} layout");
        bench.expect(&mut other, &when, Change::default())?;
    }
    Ok(format!(
        "{answered} of {} longer layouts answered, each message counted once",
        layouts.len()
    ))
}
