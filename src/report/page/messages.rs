//! The pictures of a record of messages: a server's log, a capture, a journal. Its truth is not
//! known. There is a lane for each process or connection that sent, and the memory is the server's
//! picture: what it said of a message decides, and where it said nothing, what a server makes of
//! it.

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::events::{EventMark, EventRow, EventTable, MOST_LANES};
use super::kinds::{EventWord, Remark};
use super::memory::{LifeNumber, MemoryPictures, Spot};
use super::picture::{DivergenceRow, LaneShown, Picture};
use crate::numbers::grouped;
use crate::oracle::message_check::FirstFinding;
use crate::trace::observation::{Observation, Observed, RefsLeft, ServerAnswer};
use crate::tracking::entry::{BUFFER_TYPE_NAMES, Class};
use crate::tracking::{Message, MessageKind};

/// Follows a record of messages.
pub(crate) struct MessageWalk {
    position: &'static str,
    events: EventTable,
    memory: MemoryPictures,
    lanes: LanesByKey,
    /// What the server shows: by key the memories, and the process whose it is.
    open: FxHashMap<(i32, Class, u64), OwnedSpots>,
    findings: std::vec::IntoIter<FirstFinding>,
    next: Option<FirstFinding>,
    rows: Vec<DivergenceRow>,
}

/// Where a key is shown, with the process that owns it there.
type OwnedSpots = SmallVec<[(Spot, i32); 1]>;

/// Who sent, and the lane of each.
#[derive(Debug, Default)]
pub(super) struct LanesByKey {
    lanes: Vec<LaneShown>,
    ids: FxHashMap<(u8, i64), u16>,
}

impl LanesByKey {
    /// The lane of a key; its name is asked for where it is new.
    pub(super) fn of(&mut self, key: (u8, i64), name: impl FnOnce() -> String) -> u16 {
        if let Some(lane) = self.ids.get(&key) {
            return *lane;
        }
        if self.lanes.len() == MOST_LANES {
            self.lanes[MOST_LANES - 1].name = "all others".to_owned();
            return MOST_LANES as u16 - 1;
        }
        let lane = self.lanes.len() as u16;
        self.lanes.push(LaneShown::thread(name()));
        self.ids.insert(key, lane);
        lane
    }

    pub(super) fn into_lanes(mut self) -> Vec<LaneShown> {
        if self.lanes.is_empty() {
            self.lanes.push(LaneShown::thread("nobody"));
        }
        self.lanes
    }
}

impl MessageWalk {
    /// `findings` are what a check found, by position; positions count `position`s.
    pub(crate) fn new(position: &'static str, findings: Vec<FirstFinding>) -> MessageWalk {
        let mut findings = findings.into_iter();
        MessageWalk {
            position,
            events: EventTable::new(None),
            memory: MemoryPictures::of_server(),
            lanes: LanesByKey::default(),
            open: FxHashMap::default(),
            next: findings.next(),
            findings,
            rows: Vec::new(),
        }
    }

    /// Takes the next observation.
    pub(crate) fn observe(&mut self, seen: &Observation) {
        self.memory.tick(self.events.count());
        let lane = self.lane(seen);
        let plain = |word| (word, Remark::None, 0, 0);
        let (word, remark, life, arg) = match &seen.what {
            Observed::Message {
                message,
                server_answer,
                ..
            } => self.message(message, *server_answer, EventWord::Message),
            Observed::TookEffect {
                message,
                server_answer,
            } => self.message(message, *server_answer, EventWord::TookEffect),
            Observed::MixedFrame => plain(EventWord::MixedFrame),
            Observed::UnknownFrame { .. } => plain(EventWord::UnknownFrame),
            Observed::TornFrame { .. } => plain(EventWord::TornFrame),
            Observed::Dropped { message } => {
                let life = self.life_at(message).unwrap_or(0);
                (EventWord::Dropped, remark_of_kind(message.kind), life, 0)
            }
            Observed::Opened => plain(EventWord::Opened),
            Observed::Closed => plain(EventWord::Closed),
            Observed::Swept { pid, .. } => {
                self.sweep(|owner| owner == *pid);
                plain(EventWord::Swept)
            }
            Observed::ServerStarted => {
                self.sweep(|_| true);
                plain(EventWord::Started)
            }
        };
        self.events.push(EventRow {
            lane,
            word,
            remark,
            life,
            arg,
            position: seen.position,
            mark: EventMark::default(),
        });
        self.note(seen.position, lane);
    }

    /// The record has ended.
    pub(crate) fn finish(mut self) -> (Picture, Vec<DivergenceRow>) {
        let now = self.events.count();
        let late = self.next.take().into_iter().chain(self.findings);
        let late: Vec<DivergenceRow> =
            (late.map(|found| row(&found, self.position, None, None))).collect();
        self.rows.extend(late);
        let picture = Picture {
            position: self.position,
            lanes: self.lanes.into_lanes(),
            locks: Vec::new(),
            texts: Vec::new(),
            text: None,
            stacks: Vec::new(),
            deciding: None,
            left_out: self.events.left_out(),
            events: self.events.pack(),
            memory: self.memory.pack(now, false, true),
        };
        (picture, self.rows)
    }

    /// What was found at this position, or before where that had no event.
    fn note(&mut self, position: u64, lane: u16) {
        while let Some(found) = self.next.filter(|found| found.line <= position) {
            self.events.look_here();
            let name = self.lanes.lanes.get(usize::from(lane));
            let name = name.map(|lane| lane.name.clone());
            let event = self.events.count() - 1;
            self.rows
                .push(row(&found, self.position, Some(event), name));
            self.next = self.findings.next();
        }
    }

    fn lane(&mut self, seen: &Observation) -> u16 {
        let pid = match &seen.what {
            Observed::Message { message, .. }
            | Observed::TookEffect { message, .. }
            | Observed::Dropped { message } => message.pid,
            Observed::Swept { pid, .. } => *pid,
            _ => 0,
        };
        match (pid, seen.conn) {
            (0, Some(conn)) => {
                (self.lanes).of((1, i64::from(conn)), || format!("connection {conn}"))
            }
            (0, None) => self.lanes.of((2, 0), || "server".to_owned()),
            (pid, _) => self
                .lanes
                .of((0, i64::from(pid)), || format!("process {pid}")),
        }
    }

    fn message(
        &mut self,
        message: &Message,
        answer: Option<ServerAnswer>,
        word: EventWord,
    ) -> (EventWord, Remark, LifeNumber, u32) {
        let says = answer.map_or(Remark::None, remark_of_answer);
        let remark = remark_of_kind(message.kind);
        let life = match message.kind.role() {
            Some((class, true)) => self.began(message, class, answer),
            Some((class, false)) => self.ended(message, class, answer),
            None => 0,
        };
        (word, remark, life, says as u32)
    }

    fn began(
        &mut self,
        message: &Message,
        class: Class,
        answer: Option<ServerAnswer>,
    ) -> LifeNumber {
        let now = self.events.count();
        let spot = self.spot(message);
        let kept = match answer {
            Some(ServerAnswer::Held | ServerAnswer::Rejected) => true,
            Some(ServerAnswer::RefCount(count)) => count > 1,
            Some(ServerAnswer::Incremented) => true,
            _ => false,
        };
        let there = self.memory.shown_at(spot, class);
        if kept && (there.is_some() || answer == Some(ServerAnswer::Rejected)) {
            return there.unwrap_or(0);
        }
        let life = self.memory.stillborn();
        (self.memory).show(now, spot, class, message.size_bytes, life);
        let key = (message.device, class, message.address);
        let open = self.open.entry(key).or_default();
        open.retain(|(other, _)| *other != spot);
        open.push((spot, message.pid));
        life
    }

    fn ended(
        &mut self,
        message: &Message,
        class: Class,
        answer: Option<ServerAnswer>,
    ) -> LifeNumber {
        let now = self.events.count();
        let key = (message.device, class, message.address);
        let stays = matches!(
            answer,
            Some(
                ServerAnswer::UnknownFree
                    | ServerAnswer::AlreadyFreed
                    | ServerAnswer::Held
                    | ServerAnswer::Decremented
                    | ServerAnswer::Freed(RefsLeft::Remaining(1..))
            )
        );
        let Some(open) = self.open.get_mut(&key).filter(|open| !open.is_empty()) else {
            // An entry of no length: the place of a message that met nothing.
            let spot = self.spot(message);
            let life = self.memory.stillborn();
            self.memory.show(now, spot, class, 0, life);
            self.memory.hide(now, spot, class);
            return life;
        };
        let (spot, _) = open[0];
        if stays {
            return self.memory.shown_at(spot, class).unwrap_or(0);
        }
        open.remove(0);
        if open.is_empty() {
            self.open.remove(&key);
        }
        self.memory.hide(now, spot, class).unwrap_or(0)
    }

    fn life_at(&mut self, message: &Message) -> Option<LifeNumber> {
        let class = message.kind.class()?;
        let open = self.open.get(&(message.device, class, message.address))?;
        let (spot, _) = open.first()?;
        self.memory.shown_at(*spot, class)
    }

    /// The server drops what these processes own.
    fn sweep(&mut self, is_gone: impl Fn(i32) -> bool) {
        let now = self.events.count();
        let mut gone: Vec<(Spot, Class)> = Vec::new();
        self.open.retain(|(_, class, _), open| {
            let all = open.iter().filter(|(_, pid)| is_gone(*pid));
            gone.extend(all.map(|(spot, _)| (*spot, *class)));
            open.retain(|(_, pid)| !is_gone(*pid));
            !open.is_empty()
        });
        gone.sort_unstable();
        for (spot, class) in gone {
            self.memory.hide(now, spot, class);
        }
    }

    fn spot(&mut self, message: &Message) -> Spot {
        let (device, buffer_type) = (message.device, message.buffer_type);
        let space = match message.kind.class() {
            Some(Class::Kernel) => {
                (self.memory).space(0, device, u8::MAX, || format!("device {device} kernels"))
            }
            Some(Class::Circular) => {
                let name = || format!("device {device} L1 (circular)");
                self.memory.space(0, device, u8::MAX - 1, name)
            }
            _ => self
                .memory
                .space(0, device, buffer_type, || space_of(device, buffer_type)),
        };
        Spot {
            space,
            address: message.address,
        }
    }
}

/// A space in words.
pub(super) fn space_of(device: i32, buffer_type: u8) -> String {
    match BUFFER_TYPE_NAMES.get(usize::from(buffer_type)) {
        Some(memory) => format!("device {device} {memory}"),
        None => format!("device {device} type {buffer_type}"),
    }
}

/// A finding as a row; positions count `word`s.
pub(super) fn row(
    found: &FirstFinding,
    word: &str,
    event: Option<u32>,
    lane: Option<String>,
) -> DivergenceRow {
    DivergenceRow {
        kind: found.kind.name().to_owned(),
        says: String::new(),
        event,
        at: format!("{word} {}", grouped(found.line)),
        space: found
            .device
            .map_or_else(String::new, |device| format!("device {device}")),
        address: Some(format!("{:#x}", found.address)),
        lane,
        op: None,
    }
}

fn remark_of_kind(kind: MessageKind) -> Remark {
    match kind {
        MessageKind::Alloc => Remark::Alloc,
        MessageKind::Free => Remark::Free,
        MessageKind::CbAlloc => Remark::CbAlloc,
        MessageKind::CbFree => Remark::CbFree,
        MessageKind::KernelLoad => Remark::KernelLoad,
        MessageKind::KernelUnload => Remark::KernelUnload,
        _ => Remark::Other,
    }
}

fn remark_of_answer(answer: ServerAnswer) -> Remark {
    match answer {
        ServerAnswer::Inserted => Remark::Inserted,
        ServerAnswer::RefCount(0 | 1) => Remark::Inserted,
        ServerAnswer::RefCount(_) | ServerAnswer::Incremented => Remark::Incremented,
        ServerAnswer::Replaced => Remark::Replaced,
        ServerAnswer::Freed(RefsLeft::Remaining(1..)) | ServerAnswer::Decremented => {
            Remark::Decremented
        }
        ServerAnswer::Freed(_) => Remark::Removed,
        ServerAnswer::UnknownFree => Remark::UnknownFree,
        ServerAnswer::AlreadyFreed => Remark::AlreadyFreed,
        ServerAnswer::Held => Remark::Held,
        ServerAnswer::Rejected => Remark::Rejected,
        ServerAnswer::Total(_) => Remark::None,
    }
}
