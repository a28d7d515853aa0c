//! Reads the runtime's debug log: a block for each allocation and each release, with its call
//! stack.
//!
//! Several processes may append to one log, each in pieces of its own buffer's size. So a block can
//! be cut by others, in the middle of a line even, and go on behind them. [`DebugLogReader`] puts
//! such a block together again where its rest fits what is missing; a block that was cut more than
//! once, or whose rest does not come, is reported with its lines. So is a block with a line that is
//! damaged or missing: once a line comes that belongs to no block, none that waits is gone on with.
//!
//! What holds:
//! - Every line is counted once, as used, as known-other or as unrecognised; a line of a block is
//!   counted when the block is settled.
//! - Records come in the order in which their blocks begin.
//! - Memory does not grow with the length of the log: at most [`MAX_WAITING`] blocks are kept, the
//!   distinct call stacks, and the buffers that do not own their memory while they exist.
//!
//! Buffers that do not own their memory allocate and release nothing: their blocks are known-other.
//!
//! What cannot be told: frames of a cut block that come behind a whole one are taken for that
//! one's; and a block that was cut at the end of a line, and whose rest never comes, is gone on
//! with by a later block's lines where that one lacks a line.

mod block;

use std::collections::VecDeque;
use std::io::{self, BufRead};

use rustc_hash::FxHashSet;

use super::accounting::{Accounting, LineClass, UnrecognisedReason, excerpt};
use super::allocation::{AllocationRecord, AllocationSource};
use super::clock::DayClock;
use super::lines::{ReadLine, read_line};
use super::stacks::StackTable;
use block::{DebugBlock, HOLDER, Heading};

/// How many blocks wait at most for one before them that was cut.
pub(crate) const MAX_WAITING: usize = 64;
/// How many buffers that do not own their memory are known at most; more are taken for buffers that
/// do when they end.
const MAX_BORROWED: usize = 1 << 20;

/// The line that begins a block.
const SEPARATOR: &str = "═══════════════════════════════════════════════════════════";

/// Iterates over the blocks of a debug log.
pub(crate) struct DebugLogReader<R> {
    source: R,
    accounting: Accounting,
    stacks: StackTable,
    clock: DayClock,
    /// Holders of buffers that do not own their memory.
    borrowed: FxHashSet<u64>,
    line: Vec<u8>,
    line_number: u64,
    /// Blocks that are not told yet, by their beginning; the first has the number `told`.
    blocks: VecDeque<DebugBlock>,
    visited: u64,
    /// The block that the last line belongs to.
    current: Option<u64>,
    /// A block that another one cut and that may go on.
    suspended: Option<u64>,
    ready: VecDeque<AllocationRecord>,
    ended: bool,
}

impl<R: BufRead> DebugLogReader<R> {
    /// Reads from `source`, which is at the start of a line.
    pub(crate) fn new(source: R) -> DebugLogReader<R> {
        DebugLogReader {
            source,
            accounting: Accounting::default(),
            stacks: StackTable::default(),
            clock: DayClock::default(),
            borrowed: FxHashSet::default(),
            line: Vec::new(),
            line_number: 0,
            blocks: VecDeque::new(),
            visited: 0,
            current: None,
            suspended: None,
            ready: VecDeque::new(),
            ended: false,
        }
    }

    fn next_record(&mut self) -> io::Result<Option<AllocationRecord>> {
        while self.ready.is_empty() && !self.ended {
            match read_line(&mut self.source, &mut self.line)? {
                ReadLine::End => {
                    self.ended = true;
                    self.settle_all();
                }
                ReadLine::Overlong => {
                    self.line_number += 1;
                    let line = std::mem::take(&mut self.line);
                    self.report("unrecognised", UnrecognisedReason::Overlong, &line);
                    self.line = line;
                }
                ReadLine::Whole { ended } => {
                    self.line_number += 1;
                    let line = std::mem::take(&mut self.line);
                    let text = String::from_utf8_lossy(&line);
                    if !ended && text.starts_with(HOLDER) {
                        // The log was cut: what is left of an address is another one.
                        self.report("unrecognised", UnrecognisedReason::CutBlock, &line);
                    } else {
                        self.take_line(text.trim_end_matches('\r'));
                    }
                    self.line = line;
                }
            }
        }
        Ok(self.ready.pop_front())
    }

    fn take_line(&mut self, text: &str) {
        if let Some((before, after)) = text.split_once(SEPARATOR) {
            self.begin(before, text);
            if !after.is_empty() {
                // The first piece of what follows the separator stands on its line.
                self.offer(self.current, "", after);
            }
            return;
        }
        if text.trim().is_empty() {
            self.count_other("other-blank", text);
        } else if self.offer(self.current, text, text) || self.offer_joined(text) {
            // A block has taken it, and counts it when it is settled.
        } else if text.chars().all(|c| c == '═') {
            self.count_other("other-separator-piece", text);
        } else if Heading::parse(text).is_some() {
            self.begin_without_separator(text);
        } else {
            if DebugBlock::is_field(text) {
                self.lose_track();
            }
            self.report(
                "unrecognised",
                UnrecognisedReason::NoKnownForm,
                text.as_bytes(),
            );
        }
    }

    /// A separator: a block begins. `before`: what stands before it on its line, the beginning of a
    /// line that it cut off.
    fn begin(&mut self, before: &str, line: &str) {
        if let Some(id) = self.current {
            before.clone_into(&mut self.block(id).partial);
            self.interrupt(id);
        }
        self.push_block();
        let id = self.visited + self.blocks.len() as u64 - 1;
        let line = (self.line_number, excerpt(line.as_bytes()));
        self.block(id).lines.push(line);
    }

    fn begin_without_separator(&mut self, text: &str) {
        if let Some(id) = self.current {
            self.interrupt(id);
        }
        self.push_block();
        self.offer(self.current, text, text);
    }

    /// A block's line came that no block lacks: what comes now may be any block's.
    fn lose_track(&mut self) {
        if let Some(id) = self.current {
            self.block(id).doubtful = true;
        }
        if let Some(id) = self.suspended.take() {
            self.settle(id);
        }
    }

    fn push_block(&mut self) {
        if self.blocks.len() >= MAX_WAITING
            && let Some(id) = self.suspended.take()
        {
            self.settle(id);
        }
        self.blocks.push_back(DebugBlock::new(self.line_number));
        self.current = Some(self.visited + self.blocks.len() as u64 - 1);
    }

    /// Another block's line comes while block `id` is the current one.
    fn interrupt(&mut self, id: u64) {
        self.current = None;
        let block = self.block(id);
        if block.is_whole() || block.doubtful {
            self.settle(id);
            return;
        }
        block.interruptions += 1;
        if block.interruptions > 1 {
            self.settle(id);
        } else if let Some(older) = self.suspended.replace(id) {
            self.settle(older);
        }
    }

    /// Gives block `id` its next line, if `text` is that; `shown`: what the line adds to the
    /// account.
    fn offer(&mut self, id: Option<u64>, shown: &str, text: &str) -> bool {
        let Some(id) = id else { return false };
        let index = (id - self.visited) as usize;
        if !self.blocks[index].take(text, &mut self.stacks) {
            return false;
        }
        if !shown.is_empty() {
            let line = (self.line_number, excerpt(shown.as_bytes()));
            self.blocks[index].lines.push(line);
        }
        true
    }

    /// Gives the suspended block its next line, if `text` with what stood before the cut is that;
    /// it is the current one then.
    fn offer_joined(&mut self, text: &str) -> bool {
        let Some(id) = self.suspended else {
            return false;
        };
        let joined = std::mem::take(&mut self.block(id).partial) + text;
        if !self.offer(Some(id), text, &joined) {
            let kept = joined.len() - text.len();
            joined[..kept].clone_into(&mut self.block(id).partial);
            return false;
        }
        self.suspended = None;
        if let Some(other) = self.current.replace(id) {
            self.interrupt(other);
            self.current = Some(id);
        }
        true
    }

    fn block(&mut self, id: u64) -> &mut DebugBlock {
        &mut self.blocks[(id - self.visited) as usize]
    }

    fn settle_all(&mut self) {
        for id in [self.current.take(), self.suspended.take()]
            .into_iter()
            .flatten()
        {
            self.settle(id);
        }
    }

    /// Nothing more comes for block `id`.
    fn settle(&mut self, id: u64) {
        self.block(id).settled = true;
        while self.blocks.front().is_some_and(|block| block.settled) {
            let block = self.blocks.pop_front().expect("there is a first one");
            self.visited += 1;
            self.visit(&block);
        }
    }

    fn visit(&mut self, block: &DebugBlock) {
        let event = block
            .is_usable()
            .then(|| block.event(&mut self.stacks))
            .flatten();
        let Some((event, heading)) = event.zip(block.heading) else {
            let empty = block.heading.is_none() && block.lines.len() <= 1 && !block.doubtful;
            for (index, (line, text)) in block.lines.iter().enumerate() {
                let form = if index == 0 {
                    "cut-block"
                } else {
                    "cut-block-line"
                };
                if empty {
                    // A separator that nothing follows.
                    self.accounting
                        .count_at(*line, "other-separator", LineClass::KnownOther, &[]);
                } else {
                    let class = LineClass::Unrecognised(UnrecognisedReason::CutBlock);
                    self.accounting
                        .count_at(*line, form, class, text.as_bytes());
                }
            }
            return;
        };
        let owned = self.owns_memory(block, heading);
        for (index, (line, text)) in block.lines.iter().enumerate() {
            let class = if owned {
                LineClass::Parsed
            } else {
                LineClass::KnownOther
            };
            let form = match (index, Heading::parse(text)) {
                (0, None) if block.interruptions > 0 => "rejoined-block",
                (0, None) => "block",
                (_, Some(heading)) if owned => heading.form(),
                (_, Some(_)) => "other-borrowed",
                (_, None) => "block-line",
            };
            self.accounting.count_at(*line, form, class, &[]);
        }
        if owned {
            self.ready.push_back(AllocationRecord {
                position: block.first_line,
                at_ns: block.second_ns.map(|second_ns| self.clock.at(second_ns)),
                thread: None,
                what: event,
            });
        }
    }

    /// Whether the buffer of this block owns its memory; only the block of its allocation says so.
    fn owns_memory(&mut self, block: &DebugBlock, heading: Heading) -> bool {
        let Some(holder) = block.holder() else {
            return block.owns_data;
        };
        match heading {
            Heading::Allocated if block.owns_data => {
                self.borrowed.remove(&holder);
                true
            }
            Heading::Allocated => {
                if self.borrowed.len() < MAX_BORROWED {
                    self.borrowed.insert(holder);
                }
                false
            }
            Heading::Deallocated => !self.borrowed.remove(&holder),
            Heading::Destructor => !self.borrowed.contains(&holder),
        }
    }

    fn count_other(&mut self, form: &'static str, text: &str) {
        self.accounting.count_at(
            self.line_number,
            form,
            LineClass::KnownOther,
            text.as_bytes(),
        );
    }

    fn report(&mut self, form: &'static str, reason: UnrecognisedReason, text: &[u8]) {
        self.accounting.count_at(
            self.line_number,
            form,
            LineClass::Unrecognised(reason),
            text,
        );
    }
}

impl<R: BufRead> Iterator for DebugLogReader<R> {
    type Item = io::Result<AllocationRecord>;

    fn next(&mut self) -> Option<io::Result<AllocationRecord>> {
        let next = self.next_record();
        self.ended |= next.is_err();
        next.transpose()
    }
}

impl<R: BufRead> AllocationSource for DebugLogReader<R> {
    fn accounting(&self) -> &Accounting {
        &self.accounting
    }

    fn stacks(&self) -> &StackTable {
        &self.stacks
    }
}
