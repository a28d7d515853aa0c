//! Processes: which were swept, which began anew under an old id, where the pattern of lives says
//! that one must have, and which generations each has allocated.
//!
//! A process that ends takes its buffers with it and sends no FREE. If its id is given to another
//! one before the server notices, the server sees one process go on: every buffer that was live at
//! that moment is never released. The new process, whose allocator starts empty, allocates the same
//! addresses again. Such a moment is a *cut*: no life that got its FREE reaches across it. A cut
//! alone proves nothing (a program that holds nothing for a moment shows one, too); a cut that
//! explains many lives without FREE does.
//!
//! Memory is bounded: [`MAX_CLIENTS`] processes, and [`MAX_POINTS`] points over all of them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rustc_hash::{FxHashMap, FxHashSet};

use super::address::{AddressLife, DeviceGeneration};
use super::numbers_seen::{NumberSeen, NumbersSeen};
use super::sightings::{RecordPoint, Sighting};

/// Processes that are followed; of more, only the messages are.
const MAX_CLIENTS: usize = 1 << 16;
/// Points that are kept, over all processes.
const MAX_POINTS: usize = 1 << 20;
/// Devices of a process whose generations are followed.
const MAX_DEVICES: usize = 64;
/// Messages without a number that a new process may send before its first with one.
const FIRST_WITHOUT_NUMBER: u64 = 4;
/// Lives that a cut must explain: two end together by chance.
const MIN_LIVES: usize = 3;
/// Cuts that are looked for in one process.
const MAX_CUTS: usize = 8;

/// A moment at which a process seems to have been followed by another one of the same id.
#[derive(Clone, Debug)]
pub(super) struct ProcessCut {
    pub at: RecordPoint,
    pub pid: i32,
    /// The record shows that its connections were closed and another one opened.
    pub reconnected: bool,
    /// Lives that it explains: allocated before, never released, their address allocated again
    /// after.
    pub lives: Vec<Sighting>,
    /// Lives from before that are still there when the record ends.
    pub left: u64,
    /// Before it the process had held nothing more than once.
    pub is_often_empty: bool,
}

/// How the lives of a process ended without FREE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientEnd {
    /// The server swept them.
    Swept(RecordPoint),
    /// The process began anew.
    Restarted,
}

/// All processes that were heard of.
#[derive(Debug, Default)]
pub(super) struct Clients {
    table: FxHashMap<i32, ClientState>,
    /// Who was heard on a connection that is open.
    connections: FxHashMap<u32, HeardConnection>,
    /// Of those: the ones of a process that another one of its id seems to have followed.
    replaced: FxHashSet<u32>,
    /// Messages over such a connection: both are there.
    pub two_of_one_id: u64,
    /// Processes that began anew over a connection that their predecessor had.
    pub counted_anew: u64,
    /// Points that are kept, over all processes.
    points: usize,
}

/// A connection that is open.
#[derive(Clone, Copy, Debug)]
struct HeardConnection {
    pid: i32,
    messages: u64,
}

#[derive(Debug, Default)]
struct ClientState {
    /// Counts endings: a life of an earlier epoch has ended with it.
    epoch: u32,
    ending: Option<ClientEnd>,
    live: u64,
    /// The number of its last message.
    last_heard: u64,
    /// How often it began a life when it had none.
    begun_empty: u64,
    /// The record shows its connections.
    shows_connections: bool,
    /// How many connections it has, where the record shows that.
    connections: u32,
    /// Every connection it had is closed.
    gone: bool,
    /// The generations that were allocated, by device.
    allocated: Vec<(i32, NumbersSeen)>,
    /// Points before an ALLOC, or at a new connection, that may be cuts, in order.
    cuts: Vec<PossibleCut>,
    lost: Vec<LifeWithoutFree>,
}

/// A moment that no life reaches across so far.
#[derive(Clone, Copy, Debug)]
struct PossibleCut {
    at: RecordPoint,
    /// All connections of the process were closed, and it opened another one.
    reconnected: bool,
}

/// A life that never got its FREE.
#[derive(Debug)]
struct LifeWithoutFree {
    /// The numbers of its ALLOC and of the next one at its address, the lower first.
    from: u64,
    to: u64,
    sighting: Sighting,
}

impl Clients {
    /// The epoch that a life of `pid` begins in, which is counted as live.
    pub(super) fn begin_life(&mut self, pid: i32, at: RecordPoint) -> u32 {
        let room = self.points < MAX_POINTS;
        let Some(client) = self.client(pid) else {
            return 0;
        };
        let mut added = 0;
        // Where nothing is live a cut explains nothing.
        if client.live > 0 && room {
            client.cuts.push(PossibleCut {
                at,
                reconnected: false,
            });
            added = 1;
        }
        client.begun_empty += u64::from(client.live == 0);
        client.live += 1;
        let epoch = client.epoch;
        self.points += added;
        epoch
    }

    /// `pid` allocated this generation: whether it had before, where that is followed.
    pub(super) fn see_generation(
        &mut self,
        pid: i32,
        generation: DeviceGeneration,
    ) -> Option<NumberSeen> {
        let client = self.client(pid)?;
        let DeviceGeneration { device, number } = generation;
        let mut followed = client.allocated.iter_mut();
        if let Some((_, numbers)) = followed.find(|(followed, _)| *followed == device) {
            return Some(numbers.insert(number));
        }
        if client.allocated.len() >= MAX_DEVICES {
            return None;
        }
        let mut numbers = NumbersSeen::default();
        let seen = numbers.insert(number);
        client.allocated.push((device, numbers));
        Some(seen)
    }

    /// `pid` is another process from here on, which counts its generations anew.
    pub(super) fn forget_generations(&mut self, pid: i32) {
        if let Some(client) = self.table.get_mut(&pid) {
            client.allocated.clear();
        }
    }

    /// Whether `pid` is known to have allocated it.
    pub(super) fn has_allocated(&self, pid: i32, generation: DeviceGeneration) -> bool {
        let of_device = self.table.get(&pid).and_then(|client| {
            let mut followed = client.allocated.iter();
            followed.find(|(device, _)| *device == generation.device)
        });
        of_device.is_some_and(|(_, numbers)| numbers.contains(generation.number))
    }

    /// `life` got its FREE.
    pub(super) fn end_life(&mut self, life: &AddressLife) {
        let Some(client) = self.table.get_mut(&life.pid) else {
            return;
        };
        client.drop_live(life.epoch);
        self.bridge(life);
    }

    /// `life` reaches from its ALLOC to now: there is no cut between.
    pub(super) fn bridge(&mut self, life: &AddressLife) {
        let Some(client) = self.table.get_mut(&life.pid) else {
            return;
        };
        let kept = client
            .cuts
            .partition_point(|cut| cut.at.number <= life.at.number);
        self.points -= client.cuts.len() - kept;
        client.cuts.truncate(kept);
    }

    /// `life` never got its FREE, and its address was allocated again at `next`.
    pub(super) fn lose_life(&mut self, life: &AddressLife, next: RecordPoint, sighting: Sighting) {
        let room = self.points < MAX_POINTS;
        let Some(client) = self.table.get_mut(&life.pid) else {
            return;
        };
        client.drop_live(life.epoch);
        if room {
            client.lost.push(LifeWithoutFree {
                // Generations may have another order than messages.
                from: life.at.number.min(next.number),
                to: life.at.number.max(next.number),
                sighting,
            });
            self.points += 1;
        }
    }

    /// How `life` ended, if the lives of its process have.
    pub(super) fn ending(&self, life: &AddressLife) -> Option<ClientEnd> {
        let client = self.table.get(&life.pid)?;
        (client.epoch != life.epoch).then_some(client.ending)?
    }

    /// The server drops what `pid` owns.
    pub(super) fn sweep(&mut self, pid: i32, at: RecordPoint) {
        self.end_all(pid, ClientEnd::Swept(at));
    }

    /// A connection was closed.
    pub(super) fn closed(&mut self, conn: u32) {
        let owner = self.connections.remove(&conn).map(|heard| heard.pid);
        self.replaced.remove(&conn);
        if let Some(client) = owner.and_then(|pid| self.table.get_mut(&pid)) {
            client.connections = client.connections.saturating_sub(1);
            client.gone = client.connections == 0;
        }
    }

    /// A message of `pid` came over `conn`, where the record says which, at `at`.
    ///
    /// Whether it is the first on a new connection after all that the process had were closed. That
    /// is a client that connects again, or a new process under the old id: which of both, its
    /// numbers say or the lives that reach across.
    pub(super) fn heard(&mut self, pid: i32, conn: Option<u32>, at: RecordPoint) -> bool {
        if let Some(client) = self.client(pid) {
            client.last_heard = at.number;
        }
        let Some(conn) = conn else {
            return false;
        };
        self.two_of_one_id += u64::from(self.replaced.contains(&conn));
        let is_full = self.connections.len() >= MAX_CLIENTS;
        if let Some(heard) = self.connections.get_mut(&conn) {
            heard.messages += 1;
            return false;
        }
        if is_full {
            return false;
        }
        let room = self.points < MAX_POINTS;
        let Some(client) = self.client(pid) else {
            return false;
        };
        client.connections += 1;
        client.shows_connections = true;
        let reconnected = std::mem::take(&mut client.gone);
        let is_cut = reconnected && client.live > 0 && room;
        if is_cut {
            client.cuts.push(PossibleCut {
                at,
                reconnected: true,
            });
        }
        self.points += usize::from(is_cut);
        self.connections
            .insert(conn, HeardConnection { pid, messages: 1 });
        reconnected
    }

    /// How often the lives of `pid` have ended.
    pub(super) fn epoch(&self, pid: i32) -> u32 {
        self.table.get(&pid).map_or(0, |client| client.epoch)
    }

    /// Whether `pid` sent a message after `at`.
    pub(super) fn has_spoken_since(&self, pid: i32, at: RecordPoint) -> bool {
        let client = self.table.get(&pid);
        client.is_some_and(|client| client.last_heard > at.number)
    }

    /// A new process begins under the id `pid`, over `conns`. How many buffers the old one left
    /// behind.
    pub(super) fn begin_anew(&mut self, pid: i32, conns: &[u32]) -> u64 {
        let of_old = |(conn, heard): (&u32, &HeardConnection)| {
            (heard.pid == pid && !conns.contains(conn)).then_some(*conn)
        };
        // What was kept back came over it by now, and somewhat more that has no number.
        let kept = conns.len() as u64 + FIRST_WITHOUT_NUMBER;
        let goes_on = |conn: &u32| {
            let heard = self.connections.get(conn);
            heard.is_some_and(|heard| heard.pid == pid && heard.messages > kept)
        };
        self.counted_anew += u64::from(conns.iter().any(goes_on));
        self.replaced
            .extend(self.connections.iter().filter_map(of_old));
        self.end_all(pid, ClientEnd::Restarted)
    }

    /// The server began with nothing: nobody's buffers are live, and nobody is connected.
    pub(super) fn clear(&mut self) {
        *self = Clients {
            two_of_one_id: self.two_of_one_id,
            counted_anew: self.counted_anew,
            ..Clients::default()
        };
    }

    /// How many lives that never got their FREE were there at one moment, at the most, of processes
    /// whose connections the record does not show.
    pub(super) fn lost_at_once(&self) -> u64 {
        let hidden = self.table.values().filter(|it| !it.shows_connections);
        hidden.map(ClientState::lost_at_once).max().unwrap_or(0)
    }

    /// The cuts that explain lives without FREE, by process. Those lives are taken out of the ones
    /// that a loss explains.
    pub(super) fn cuts(&mut self) -> Vec<ProcessCut> {
        let mut pids: Vec<i32> = self.table.keys().copied().collect();
        pids.sort_unstable();
        let mut found = Vec::new();
        for pid in pids {
            // Generations show a new process by themselves.
            let without_generations = |client: &&mut ClientState| client.allocated.is_empty();
            let Some(client) = self.table.get_mut(&pid).filter(without_generations) else {
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

    /// All that `pid` has ends; how many lives that is.
    fn end_all(&mut self, pid: i32, ending: ClientEnd) -> u64 {
        let Some(client) = self.client(pid) else {
            return 0;
        };
        client.epoch += 1;
        client.ending = Some(ending);
        // What a sweep takes may have been left by an earlier process of this id.
        let kept = match ending {
            ClientEnd::Swept(_) => client.cuts.len(),
            ClientEnd::Restarted => 0,
        };
        let dropped = client.cuts.len() - kept;
        client.cuts.truncate(kept);
        let live = std::mem::take(&mut client.live);
        self.points -= dropped;
        live
    }

    fn client(&mut self, pid: i32) -> Option<&mut ClientState> {
        if self.table.len() >= MAX_CLIENTS && !self.table.contains_key(&pid) {
            return None;
        }
        Some(self.table.entry(pid).or_default())
    }
}

impl ClientState {
    /// One life of `epoch` less is live.
    fn drop_live(&mut self, epoch: u32) {
        if self.epoch == epoch {
            self.live = self.live.saturating_sub(1);
        }
    }

    fn lost_at_once(&self) -> u64 {
        let mut from: Vec<u64> = self.lost.iter().map(|lost| lost.from).collect();
        let mut to: Vec<u64> = self.lost.iter().map(|lost| lost.to).collect();
        from.sort_unstable();
        to.sort_unstable();
        let mut ended = 0;
        let open = (0u64..).zip(&from).map(|(begun, from)| {
            while to.get(ended).is_some_and(|to| to <= from) {
                ended += 1;
            }
            begun + 1 - ended as u64
        });
        open.max().unwrap_or(0)
    }

    /// The cut that explains the most lives.
    fn best_cut(&mut self, pid: i32) -> Option<ProcessCut> {
        self.lost.sort_unstable_by_key(|lost| lost.from);
        let mut ends = BinaryHeap::new();
        let mut next = 0;
        let mut best: Option<(usize, PossibleCut)> = None;
        // Where connections are shown, a new process has a new one.
        let shown = |cut: &&PossibleCut| cut.reconnected || !self.shows_connections;
        for cut in self.cuts.iter().filter(shown) {
            let number = cut.at.number;
            while let Some(lost) = self.lost.get(next).filter(|lost| lost.from < number) {
                debug_assert!(lost.from <= lost.to);
                ends.push(Reverse(lost.to));
                next += 1;
            }
            while ends.peek().is_some_and(|end| end.0 < number) {
                ends.pop();
            }
            let least = if cut.reconnected { 1 } else { MIN_LIVES };
            if ends.len() >= least && best.is_none_or(|(most, _)| ends.len() > most) {
                best = Some((ends.len(), *cut));
            }
        }
        let (_, PossibleCut { at, reconnected }) = best?;
        let spans = |lost: &LifeWithoutFree| lost.from < at.number && at.number <= lost.to;
        let (explained, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.lost).into_iter().partition(spans);
        self.lost = rest;
        Some(ProcessCut {
            at,
            pid,
            reconnected,
            left: 0,
            is_often_empty: self.begun_empty > 1,
            lives: explained.into_iter().map(|lost| lost.sighting).collect(),
        })
    }
}
