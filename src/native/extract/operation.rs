//! What one thread did to allocate or to release one buffer, read from the events of an execution.
//!
//! Where an operation begins and ends is what the program says (`hb_op_begin`, `hb_op_end`). Of
//! operations inside of others the outermost counts. Where it says nothing, [`unmarked`] tells them
//! from each other. Not here: what the actions mean together.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use heisenbed_runtime::protocol::op_mark;

use super::unmarked;
use crate::lifecycle::ProgramKind;
use crate::native::execution::VisibleAction;
use crate::oracle::traffic::Spoken;
use crate::tracking::{Message, MessageKind};

/// One operation of one thread.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    /// Which execution it was in.
    pub(super) execution: u64,
    /// What it does to the buffer.
    pub(super) kind: ProgramKind,
    /// The buffer's handle; 0: not known.
    pub(super) buffer: u64,
    /// What was done, in order.
    pub(super) acts: Vec<Act>,
}

/// One visible action of an operation.
#[derive(Clone, Debug)]
pub(super) struct Act {
    pub(super) what: What,
    /// The lock, the memory, or the buffer's address on its device; 0 for others.
    pub(super) address: u64,
    /// Where it was done: innermost first, without what called the operation.
    pub(super) site: Rc<[u64]>,
}

/// What an action is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Lock,
    /// A lock that was held when the operation began.
    Held,
    Unlock,
    Alloc {
        device: u32,
    },
    Free {
        device: u32,
    },
    Send {
        kind: MessageKind,
        device: u32,
    },
    Load,
    Store,
    Update,
    Publish,
    Log,
    /// What is no step of the language.
    Other(&'static str),
}

impl What {
    /// The device that the allocator or a message names.
    pub(super) fn device(self) -> Option<u32> {
        match self {
            What::Alloc { device } | What::Free { device } | What::Send { device, .. } => {
                Some(device)
            }
            _ => None,
        }
    }
}

impl Operation {
    /// Devices in the order in which they come.
    pub(super) fn devices(&self) -> Vec<u32> {
        let mut devices = Vec::new();
        for device in self.acts.iter().filter_map(|act| act.what.device()) {
            if !devices.contains(&device) {
                devices.push(device);
            }
        }
        devices
    }
}

/// What one execution shows.
#[derive(Debug, Default)]
pub(super) struct ReadOperations {
    /// Those that came to their end.
    pub(super) whole: Vec<Operation>,
    /// How many did not.
    pub(super) cut: u64,
    /// Addresses that the allocator handed out or took back outside of all operations.
    pub(super) outside: u64,
    /// None is marked: these are inferred.
    pub(super) inferred: bool,
}

/// Reads the operations of one execution.
pub(super) fn read(
    execution: u64,
    events: &[VisibleAction],
    spoken: &BTreeMap<usize, Spoken>,
) -> ReadOperations {
    let mut threads: HashMap<u32, Follower> = HashMap::new();
    let mut found = ReadOperations::default();
    for event in events {
        let thread = threads.entry(event.thread).or_default();
        thread.follow(execution, event, spoken, &mut found);
    }
    found.cut = threads.values().filter(|one| one.at_hand.is_some()).count() as u64;
    if !threads.values().any(|thread| thread.marks) {
        let mut all: Vec<(u32, Follower)> = threads.into_iter().collect();
        all.sort_by_key(|(thread, _)| *thread);
        let operations = all
            .iter()
            .flat_map(|(_, thread)| unmarked::cut(execution, &thread.all));
        found.whole = operations.collect();
        found.inferred = !found.whole.is_empty();
    }
    found
}

/// One thread.
#[derive(Default)]
struct Follower {
    /// Locks that it holds, with where it took them.
    held: Vec<(u64, Vec<u64>)>,
    at_hand: Option<Begun>,
    /// It said where an operation begins.
    marks: bool,
    /// All that it did, as long as it did not.
    all: Vec<Act>,
}

struct Begun {
    operation: Operation,
    /// The stack of its beginning.
    stack: Vec<u64>,
    depth: u32,
    held: Vec<u64>,
}

impl Follower {
    fn follow(
        &mut self,
        execution: u64,
        event: &VisibleAction,
        spoken: &BTreeMap<usize, Spoken>,
        found: &mut ReadOperations,
    ) {
        if event.action() == "mark" {
            return self.mark(execution, event, found);
        }
        let said = match event.action() {
            "track" | "truth" => spoken.get(&(event.value as usize)),
            _ => None,
        };
        for (what, address) in meanings(event, said) {
            match what {
                What::Lock => self.held.push((address, event.stack.clone())),
                What::Unlock => {
                    let at = self.held.iter().rposition(|(lock, _)| *lock == address);
                    at.map(|at| self.held.remove(at));
                }
                What::Alloc { .. } | What::Free { .. } if self.at_hand.is_none() => {
                    found.outside += 1;
                }
                _ => {}
            }
            if !self.marks {
                self.all.push(Act {
                    what,
                    address,
                    site: event.stack[..].into(),
                });
            }
            if let Some(begun) = &mut self.at_hand {
                begun.add(what, address, &event.stack);
            }
        }
    }

    fn mark(&mut self, execution: u64, event: &VisibleAction, found: &mut ReadOperations) {
        let kind = match event.value {
            op_mark::ALLOCATES => ProgramKind::Allocate,
            op_mark::RELEASES => ProgramKind::Deallocate,
            op_mark::ENDS => return self.end(event, found),
            op_mark::PUBLISHES | op_mark::LOGS => {
                let what = match event.value {
                    op_mark::PUBLISHES => What::Publish,
                    _ => What::Log,
                };
                if let Some(begun) = &mut self.at_hand {
                    begun.add(what, 0, &event.stack);
                }
                return;
            }
            _ => return,
        };
        self.marks = true;
        self.all = Vec::new();
        if let Some(begun) = &mut self.at_hand {
            begun.depth += 1;
            return;
        }
        let mut begun = Begun {
            operation: Operation {
                execution,
                kind,
                buffer: event.address,
                acts: Vec::new(),
            },
            stack: event.stack.clone(),
            depth: 1,
            held: self.held.iter().map(|(lock, _)| *lock).collect(),
        };
        for (lock, stack) in &self.held {
            begun.add(What::Held, *lock, stack);
        }
        self.at_hand = Some(begun);
    }

    fn end(&mut self, event: &VisibleAction, found: &mut ReadOperations) {
        let Some(begun) = &mut self.at_hand else {
            return;
        };
        begun.depth -= 1;
        if begun.depth > 0 {
            return;
        }
        let Some(mut begun) = self.at_hand.take() else {
            return;
        };
        for lock in std::mem::take(&mut begun.held).into_iter().rev() {
            if self.held.iter().any(|(held, _)| *held == lock) {
                begun.add(What::Unlock, lock, &event.stack);
            }
        }
        if event.address != 0 {
            begun.operation.buffer = event.address;
        }
        found.whole.push(begun.operation);
    }
}

impl Begun {
    fn add(&mut self, what: What, address: u64, stack: &[u64]) {
        let same = stack.iter().rev().zip(self.stack.iter().rev());
        let common = same.take_while(|(one, other)| one == other).count();
        self.operation.acts.push(Act {
            what,
            address,
            site: stack[..stack.len() - common].into(),
        });
    }
}

/// What an event means to an operation, and what it is about.
fn meanings(event: &VisibleAction, said: Option<&Spoken>) -> Vec<(What, u64)> {
    let refused = event.value != 0;
    let what = match event.action() {
        "lock" | "try-lock" | "write-lock" | "spin-lock" if !refused => What::Lock,
        "unlock" | "spin-unlock" | "rw-unlock" => What::Unlock,
        "read" | "atomic-load" => What::Load,
        "write" | "atomic-store" => What::Store,
        "atomic-update" => What::Update,
        // To another descriptor than the tracking socket: a pipe, a terminal, a device.
        "send" => What::Log,
        "track" | "truth" => match said {
            Some(Spoken::Sent(messages)) => return messages.iter().map(sent).collect(),
            Some(Spoken::Dropped(message)) => return message.iter().map(sent).collect(),
            Some(Spoken::Truth {
                allocates,
                device,
                address,
            }) => {
                let what = match allocates {
                    true => What::Alloc { device: *device },
                    false => What::Free { device: *device },
                };
                return vec![(what, *address)];
            }
            None => return Vec::new(),
        },
        // Of these nothing is shared with others.
        "yield" | "sleep" | "start" | "end" | "fence" | "lock" | "try-lock" | "spin-lock" => {
            return Vec::new();
        }
        other => What::Other(other),
    };
    vec![(what, event.address)]
}

fn sent(message: &Message) -> (What, u64) {
    let what = match u32::try_from(message.device) {
        Ok(device) if is_of_buffers(message.kind) => What::Send {
            kind: message.kind,
            device,
        },
        _ => What::Other("send of another message"),
    };
    (what, message.address)
}

fn is_of_buffers(kind: MessageKind) -> bool {
    matches!(
        kind,
        MessageKind::Alloc | MessageKind::Free | MessageKind::CbAlloc | MessageKind::CbFree
    )
}
