//! Processes: which were swept, which began anew under an old id, and where the pattern of lives
//! says that one must have.
//!
//! A process that ends takes its buffers with it and sends no FREE. If its id is given to another
//! one before the server notices, the server sees one process go on: every buffer that was live at
//! that moment is never released, and the new process, whose allocator starts empty, allocates the
//! same addresses again. Such a moment is a *cut*: no life that got its FREE reaches across it. A
//! cut alone proves nothing (a program that holds nothing for a moment shows one, too); a cut that
//! explains many lives without FREE does.
//!
//! Memory is bounded: [`MAX_CLIENTS`] processes, and [`MAX_MOMENTS`] moments over all of them.

use rustc_hash::FxHashMap;

use super::facts::{Facts, MessageAt, Sighting};

/// Processes that are followed; of more, only the messages are.
const MAX_CLIENTS: usize = 1 << 16;
/// Moments that are kept, over all processes.
const MAX_MOMENTS: usize = 1 << 20;
/// Lives that a cut must explain: two end together by chance.
const MIN_LIVES: usize = 3;
/// Cuts that are looked for in one process.
const MAX_CUTS: usize = 8;

/// A moment at which a process seems to have been followed by another one of the same id.
#[derive(Clone, Debug)]
pub(super) struct CutOff {
    pub at: MessageAt,
    pub pid: i32,
    /// Lives that it explains: allocated before, never released, their address allocated again
    /// after.
    pub lives: Vec<Sighting>,
    /// Lives from before that are still there when the record ends.
    pub left: u64,
}

/// How the lives of a process ended without FREE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LifeEnd {
    /// The server swept them.
    Swept(MessageAt),
    /// The process began anew.
    Restarted,
}

#[derive(Debug, Default)]
pub(super) struct Clients {
    table: FxHashMap<i32, Client>,
    /// Who was heard on a connection that is open.
    connections: FxHashMap<u32, i32>,
    moments: usize,
}

#[derive(Debug, Default)]
struct Client {
    /// Counts endings: a life of an earlier epoch has ended with it.
    epoch: u32,
    ending: Option<LifeEnd>,
    live: u64,
    /// How many connections it has, where the record shows that.
    connections: u32,
    /// Every connection it had is closed.
    gone: bool,
    /// The highest generation by device, for those few it uses.
    generations: Vec<(i32, u64)>,
    /// Moments before an ALLOC that may be cuts, in order.
    cuts: Vec<MessageAt>,
    /// Lives without FREE: the number of their ALLOC and of the next one at their address.
    lost: Vec<(u64, u64, Sighting)>,
}

impl Clients {
    /// The epoch that a life of `pid` begins in, which is counted as live.
    pub fn begin_life(&mut self, pid: i32, at: MessageAt) -> u32 {
        let room = self.moments < MAX_MOMENTS;
        let Some(client) = self.client(pid) else {
            return 0;
        };
        let mut added = 0;
        // Where nothing is live a cut explains nothing.
        if client.live > 0 && room {
            client.cuts.push(at);
            added = 1;
        }
        client.live += 1;
        let epoch = client.epoch;
        self.moments += added;
        epoch
    }

    /// A life of `pid` that began at `from` got its FREE.
    pub fn end_life(&mut self, pid: i32, epoch: u32, from: MessageAt) {
        let Some(client) = self.table.get_mut(&pid) else {
            return;
        };
        if client.epoch == epoch {
            client.live = client.live.saturating_sub(1);
        }
        self.bridge(pid, from);
    }

    /// A life of `pid` reaches from `from` to now.
    pub fn bridge(&mut self, pid: i32, from: MessageAt) {
        let Some(client) = self.table.get_mut(&pid) else {
            return;
        };
        let kept = client.cuts.partition_point(|cut| cut.number <= from.number);
        self.moments -= client.cuts.len() - kept;
        client.cuts.truncate(kept);
    }

    /// A life of `pid` never got its FREE.
    pub fn lose_life(
        &mut self,
        pid: i32,
        epoch: u32,
        from: MessageAt,
        to: MessageAt,
        sighting: Sighting,
    ) {
        let room = self.moments < MAX_MOMENTS;
        let Some(client) = self.table.get_mut(&pid) else {
            return;
        };
        if client.epoch == epoch {
            client.live = client.live.saturating_sub(1);
        }
        if room {
            client.lost.push((from.number, to.number, sighting));
            self.moments += 1;
        }
    }

    /// How a life ended, if its process' lives have.
    pub fn ending(&self, pid: i32, epoch: u32) -> Option<LifeEnd> {
        let client = self.table.get(&pid)?;
        (client.epoch != epoch).then_some(client.ending)?
    }

    /// The server drops what `pid` owns; how much that is.
    pub fn sweep(&mut self, pid: i32, at: MessageAt) -> u64 {
        self.end_all(pid, LifeEnd::Swept(at))
    }

    /// A connection was closed.
    pub fn closed(&mut self, conn: u32) {
        let owner = self.connections.remove(&conn);
        if let Some(client) = owner.and_then(|pid| self.table.get_mut(&pid)) {
            client.connections = client.connections.saturating_sub(1);
            client.gone = client.connections == 0;
        }
    }

    /// A message of `pid` came over `conn`, an ALLOC of `generation` on `device` if it says so.
    /// Notes a new process under the old id.
    pub fn heard(
        &mut self,
        pid: i32,
        conn: Option<u32>,
        generation: Option<(i32, u64)>,
        at: MessageAt,
        facts: &mut Facts,
    ) {
        let is_new = conn.is_some_and(|conn| {
            self.connections.len() < MAX_CLIENTS && !self.connections.contains_key(&conn)
        });
        let Some(client) = self.client(pid) else {
            return;
        };
        let mut anew = false;
        if is_new {
            client.connections += 1;
            anew = std::mem::take(&mut client.gone);
        }
        if let Some((device, generation)) = generation {
            let room = client.generations.len() < 64;
            match client.generations.iter_mut().find(|(of, _)| *of == device) {
                None if room => {
                    client.generations.push((device, generation));
                }
                None => {}
                // Messages overtake each other by some generations; they don't begin with the first
                // again.
                Some((_, highest)) if generation < *highest / 8 => {
                    anew = true;
                    *highest = generation;
                }
                Some((_, highest)) => *highest = generation.max(*highest),
            }
        }
        let left_behind = client.live > 0;
        if let Some(conn) = conn.filter(|_| is_new) {
            self.connections.insert(conn, pid);
        }
        if anew && left_behind {
            let left = self.end_all(pid, LifeEnd::Restarted);
            facts.abandoned += left;
            facts.restarts.add_proven(Sighting {
                positions: [at.position].into_iter().collect(),
                number: Some(i64::from(pid)),
                ..Sighting::default()
            });
        }
    }

    /// The server began with nothing: nobody's buffers are live.
    pub fn clear(&mut self) {
        self.table.clear();
        self.moments = 0;
    }

    /// The cuts that explain lives without FREE, by process. Those lives are taken out of the ones
    /// that a loss explains.
    pub fn cuts(&mut self) -> Vec<CutOff> {
        let mut pids: Vec<i32> = self.table.keys().copied().collect();
        pids.sort_unstable();
        let mut found = Vec::new();
        for pid in pids {
            let Some(client) = self.table.get_mut(&pid) else {
                continue;
            };
            for _ in 0..MAX_CUTS {
                let Some(cut) = client.best_cut(pid) else {
                    break;
                };
                found.push(cut);
            }
        }
        found
    }

    fn end_all(&mut self, pid: i32, ending: LifeEnd) -> u64 {
        let Some(client) = self.client(pid) else {
            return 0;
        };
        client.epoch += 1;
        client.ending = Some(ending);
        let dropped = client.cuts.len();
        client.cuts.clear();
        let live = std::mem::take(&mut client.live);
        self.moments -= dropped;
        live
    }

    fn client(&mut self, pid: i32) -> Option<&mut Client> {
        if self.table.len() >= MAX_CLIENTS && !self.table.contains_key(&pid) {
            return None;
        }
        Some(self.table.entry(pid).or_default())
    }
}

impl Client {
    /// The cut that explains the most lives.
    fn best_cut(&mut self, pid: i32) -> Option<CutOff> {
        self.lost.sort_unstable_by_key(|(from, ..)| *from);
        let mut ends = std::collections::BinaryHeap::new();
        let mut next = 0;
        let mut best: Option<(usize, MessageAt)> = None;
        for cut in &self.cuts {
            while let Some((from, to, _)) = self.lost.get(next).filter(|l| l.0 < cut.number) {
                debug_assert!(from <= to);
                ends.push(std::cmp::Reverse(*to));
                next += 1;
            }
            while ends.peek().is_some_and(|end| end.0 < cut.number) {
                ends.pop();
            }
            if ends.len() >= MIN_LIVES && best.is_none_or(|(most, _)| ends.len() > most) {
                best = Some((ends.len(), *cut));
            }
        }
        let (_, at) = best?;
        let spans = |lost: &(u64, u64, Sighting)| lost.0 < at.number && at.number <= lost.1;
        let (explained, rest) = std::mem::take(&mut self.lost).into_iter().partition(spans);
        self.lost = rest;
        let explained: Vec<(u64, u64, Sighting)> = explained;
        Some(CutOff {
            at,
            pid,
            left: 0,
            lives: explained.into_iter().map(|lost| lost.2).collect(),
        })
    }
}
