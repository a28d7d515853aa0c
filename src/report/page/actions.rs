//! The picture of a program's own actions: a lane a thread, each action with its source line. There
//! is no memory in it: the program's allocators are its own.

use std::collections::BTreeMap;

use super::columns::Column;
use super::events::{EventMark, EventRow, EventTable, MOST_LANES};
use super::kinds::{EventWord, Remark};
use super::memory::MemoryPictures;
use super::picture::{DivergenceRow, LaneShown, Picture};

/// What a thread did.
#[derive(Clone, Debug)]
pub(crate) struct ActionRow {
    /// Which.
    pub(crate) thread: u32,
    /// What is done to a lock, if anything.
    pub(crate) touch: LockTouch,
    /// In words, with the source line.
    pub(crate) text: String,
    /// The thread before could have gone on.
    pub(crate) preempts: bool,
    /// What is wrong, if this is where the failure shows: its kind, and what is said of it.
    pub(crate) wrong: Option<(String, String)>,
}

/// What an action does to a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LockTouch {
    /// Nothing.
    Nothing,
    /// It takes it.
    Takes(String),
    /// It gives it back.
    Gives(String),
    /// It waits, for good.
    Waits(String),
}

/// The picture, and where it fails.
pub(crate) fn picture(threads: u32, rows: &[ActionRow]) -> (Picture, Vec<DivergenceRow>) {
    let mut events = EventTable::new(Some(rows.len() as u64));
    let mut locks: Vec<String> = Vec::new();
    let mut lock = |name: &String| {
        let known = locks.iter().position(|lock| lock == name);
        let number = known.unwrap_or(locks.len());
        if known.is_none() {
            locks.push(name.clone());
        }
        number as u32
    };
    let mut texts: BTreeMap<&str, u32> = BTreeMap::new();
    let mut listed: Vec<String> = Vec::new();
    let mut text: Vec<u32> = Vec::new();
    let mut failures = Vec::new();
    let lanes = (threads.max(1) as usize).min(MOST_LANES);
    // Of several preemptions none can be said to decide.
    let mut preempting = (rows.iter()).enumerate().filter(|(_, row)| row.preempts);
    let deciding = match (preempting.next(), preempting.next()) {
        (Some((index, _)), None) => Some(index as u32),
        _ => None,
    };
    for (index, row) in rows.iter().enumerate() {
        let (word, arg) = match &row.touch {
            LockTouch::Nothing => (EventWord::Action, 0),
            LockTouch::Takes(name) => (EventWord::Lock, lock(name)),
            LockTouch::Gives(name) => (EventWord::Unlock, lock(name)),
            LockTouch::Waits(name) => (EventWord::WaitLock, lock(name)),
        };
        events.push(EventRow {
            lane: (row.thread as usize).min(lanes - 1) as u16,
            word,
            remark: Remark::None,
            life: 0,
            arg,
            position: index as u64 + 1,
            mark: EventMark {
                same_step: false,
                preempts: row.preempts,
                diverges: row.wrong.is_some(),
            },
        });
        let number = *texts.entry(&row.text).or_insert_with(|| {
            listed.push(row.text.clone());
            listed.len() as u32
        });
        text.push(number);
        if let Some((kind, says)) = &row.wrong {
            failures.push(DivergenceRow {
                kind: kind.clone(),
                says: says.clone(),
                event: Some(index as u32),
                at: format!("action {}", index + 1),
                space: String::new(),
                address: None,
                lane: Some(format!("thread {}", row.thread)),
                op: None,
            });
        }
    }
    let count = events.count();
    let names = (0..lanes).map(|thread| LaneShown::thread(format!("thread {thread}")));
    let picture = Picture {
        position: "action",
        lanes: names.collect(),
        locks,
        texts: listed,
        text: Some(Column::words(&text)),
        stacks: Vec::new(),
        deciding,
        left_out: events.left_out(),
        events: events.pack(),
        memory: MemoryPictures::new(false).pack(count, false, false),
    };
    (picture, failures)
}
