//! Cases about sweeps: a server that drops what dead clients left must not drop what living ones
//! hold.
//!
//! A sweep cannot be asked for, only waited for. Each case therefore has a *control*: a buffer of a
//! process that dies. When it goes, a sweep has been; if it never does, the case is skipped.

use std::thread;
use std::time::{Duration, Instant};

use super::bench::{Bench, Change, other_pid};
use super::relay::Mortal;
use super::session::Session;
use super::{Case, Trouble};
use crate::tracking::Message;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "sweep-namespace",
        about: "a live client in another pid namespace swept as dead",
        sent: "ALLOC (4,096 B) by a client that stays, under a pid that no process has here; ALLOC by a process that dies",
        expected: "when the dead process's buffer is swept, the live client's stays",
        run: namespace,
    },
    Case {
        name: "sweep-pid-reuse",
        about: "pid re-use: the pid of a dead client is a living process's",
        sent: "ALLOC (4,096 B) by a process that dies, under the pid of one that lives; ALLOC by a process that dies",
        expected: "when the other dead process's buffer is swept, this one is too",
        run: pid_reuse,
    },
    Case {
        name: "sweep-zombie",
        about: "a zombie held for alive: a dead process whose parent has not asked how it ended",
        sent: "ALLOC (4,096 B) by a process that dies and stays a zombie; ALLOC by a process that dies",
        expected: "when the other dead process's buffer is swept, this one is too",
        run: zombie,
    },
    Case {
        name: "sweep-shared-key",
        about: "a shared key swept with its first owner",
        sent: "ALLOC of one key (4,096 B) by a process that dies, then by a client that stays; ALLOC by a process that dies",
        expected: "when the dead process's other buffer is swept, the key stays for the client that lives",
        run: shared_key,
    },
];

/// No process can have it: it is above the limit of Linux.
const NOBODYS_PID: i32 = (1 << 22) + 1;
const CONTROL_BYTES: u64 = 1 << 20;
const POLL: Duration = Duration::from_millis(20);
/// What is swept at once may be dropped a moment after it is seen that a client has died.
const AT_LEAST: Duration = Duration::from_millis(200);

fn namespace(bench: &mut Bench<'_>) -> Result<String, Trouble> {
    let mut live = bench.open_as(bench.site.layout, NOBODYS_PID)?;
    let address = bench.address();
    let alloc = bench.alloc(&live, address, 4096);
    bench.send(&mut live, &[alloc])?;
    let mortal = Mortal::start(bench, bench.site.layout)?;
    after_sweep(bench, mortal, &[], &mut live)?;
    bench.expect(&mut live, "a sweep", Change::dram(4096))?;
    let free = bench.free(&live, address);
    bench.send(&mut live, &[free])?;
    bench.expect(&mut live, "the FREE", Change::default())?;
    Ok("a sweep was seen, the live client's buffer stayed".to_owned())
}

fn pid_reuse(bench: &mut Bench<'_>) -> Result<String, Trouble> {
    let mut live = bench.open()?;
    let mortal = Mortal::start(bench, bench.site.layout)?;
    let address = bench.address();
    let reused = Message {
        pid: other_pid(),
        ..bench.alloc(&live, address, 4096)
    };
    after_sweep(bench, mortal, &[reused], &mut live)?;
    bench.expect(&mut live, "a sweep", Change::default())?;
    Ok("a sweep was seen, and nothing of the dead was left".to_owned())
}

fn zombie(bench: &mut Bench<'_>) -> Result<String, Trouble> {
    let mut live = bench.open()?;
    let mut zombie = Mortal::start(bench, bench.site.layout)?;
    let address = bench.address();
    let alloc = Message {
        pid: zombie.pid,
        ..bench.alloc(&live, address, 4096)
    };
    bench.owe(live.layout, std::slice::from_ref(&alloc));
    zombie.send(&[alloc])?;
    let mortal = Mortal::start(bench, bench.site.layout)?;
    zombie.die_unseen();
    after_sweep(bench, mortal, &[], &mut live)?;
    bench.expect(&mut live, "a sweep", Change::default())?;
    Ok("a sweep was seen, and the zombie's buffer went too".to_owned())
}

fn shared_key(bench: &mut Bench<'_>) -> Result<String, Trouble> {
    let mut live = bench.open()?;
    let mut mortal = Mortal::start(bench, bench.site.layout)?;
    let address = bench.address();
    let alloc = bench.alloc(&live, address, 4096);
    let first = Message {
        pid: mortal.pid,
        ..alloc.clone()
    };
    bench.owe(live.layout, std::slice::from_ref(&first));
    mortal.send(&[first])?;
    bench.send(&mut live, &[alloc])?;
    bench.change(&mut live)?;
    after_sweep(bench, mortal, &[], &mut live)?;
    bench.expect(&mut live, "a sweep", Change::dram(4096))?;
    let free = bench.free(&live, address);
    bench.send(&mut live, &[free])?;
    bench.expect(&mut live, "the FREE", Change::default())?;
    Ok("a sweep was seen, the key stayed for who lives".to_owned())
}

/// Lets `mortal` send `messages` and a control, and die; waits until the control is swept.
fn after_sweep(
    bench: &mut Bench<'_>,
    mut mortal: Mortal,
    messages: &[Message],
    live: &mut Session,
) -> Result<(), Trouble> {
    let address = bench.address();
    let control = Message {
        pid: mortal.pid,
        ..bench.alloc(live, address, CONTROL_BYTES)
    };
    let sent = [messages, &[control]].concat();
    bench.owe(live.layout, &sent);
    mortal.send(&sent)?;
    let shown = bench.change(live)?;
    if shown.dram < i128::from(CONTROL_BYTES) {
        return Err(Trouble::Failed(format!(
            "before anybody died: {shown} (expected: DRAM {CONTROL_BYTES:+} B and more)"
        )));
    }
    mortal.die();
    let patience = bench.site.sweep.max(AT_LEAST);
    let began = Instant::now();
    while began.elapsed() < patience {
        thread::sleep(POLL);
        if bench.change(live)?.dram < i128::from(CONTROL_BYTES) {
            // A sweep need not be one step.
            thread::sleep(POLL);
            return Ok(());
        }
    }
    Err(Trouble::Skipped(format!(
        "no sweep was seen in {} s: if the server has one, give --sweep-wait a time above its interval",
        patience.as_secs_f64()
    )))
}
