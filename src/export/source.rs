//! Reads any input, and hands what it holds to a sink.
//!
//! Of a run, what happened to buffers is the allocators' own history, and messages are those that
//! the server took. Of what shows messages only, what happened to buffers is what the messages say,
//! which is what a server was told and no more; of what shows allocations only, messages are those
//! that a runtime would have sent.

use std::ops::ControlFlow;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::{ExportError, ExportSink, Exported, LeftOut, Wants};
use crate::import::allocation::{self, AllocationEvent, AllocationRecord, Buffer};
use crate::import::stacks::StackTable;
use crate::observe::{self, RunMessages};
use crate::registry::{Limits, Registry, Semantics};
use crate::scenario::Scenario;
use crate::scenario::objects::LockId;
use crate::trace::event::{Event, FreeOutcome};
use crate::trace::file::{Header, ImportFormat, ImportHeader, RunHeader, SERVER_STREAM, TraceFile};
use crate::trace::merge::{Merge, MergeEnd, MergedEvent};
use crate::trace::observation::{Observation, Observed};
use crate::trace::sends::Senders;
use crate::trace::text::TextReader;
use crate::tracking::sent::Handle;
use crate::tracking::{Message, MessageKind};

/// What is exported.
pub(crate) enum ExportInput<'a> {
    /// A trace of any kind.
    Trace(&'a TraceFile),
    /// A run that is at hand: of a reproducer.
    Run {
        /// What was run.
        scenario: &'a Scenario,
        /// What happened, in order.
        events: &'a [MergedEvent],
        /// Whether it came to its end.
        completed: bool,
    },
}

/// What an input says of itself.
pub(crate) struct SourceAbout {
    /// A name for people: the scenario's and its discipline's, or that of the imported file.
    pub(super) name: String,
    /// Of a run, or `None`.
    pub(super) run: Option<RunAbout>,
    /// Whether it is about messages only.
    pub(super) messages_only: bool,
    /// A registry like the one that took the messages, with nothing in it.
    pub(super) registry: Registry,
}

/// What a run says of itself.
pub(crate) struct RunAbout {
    /// How many threads.
    pub(super) threads: u16,
    /// How many writes make a frame.
    pub(super) writes_per_frame: u8,
    /// The names of its locks, by number.
    pub(super) locks: Vec<String>,
}

/// A step of a run, with what it follows from.
pub(crate) struct ExportStep<'a> {
    /// Its number, from 1.
    pub(super) number: u64,
    /// The thread; `None`: the server.
    pub(super) thread: Option<u16>,
    /// The thread's operation, from 0, once it has begun one.
    pub(super) operation: Option<u64>,
    /// What happened.
    pub(super) event: &'a Event,
    /// The buffer at hand, where the event is about one.
    pub(super) handle: Option<Handle>,
}

/// Reads `input` once and hands what it holds to `sink`. `progress` is told how far it has come.
pub(super) fn feed(
    input: &ExportInput<'_>,
    sink: &mut dyn ExportSink,
    progress: &mut dyn FnMut(u64),
) -> Result<Exported, ExportError> {
    match input {
        ExportInput::Run {
            scenario,
            events,
            completed,
        } => {
            let mut run = RunFeed::begin(scenario, true, sink, progress)?;
            for event in *events {
                run.take(event)?;
            }
            let damage = (!completed).then(|| "the run did not come to its end".to_owned());
            run.end(*completed, damage)
        }
        ExportInput::Trace(trace) => match trace.header() {
            Header::Run(header) => feed_run(trace, header, sink, progress),
            Header::Import(header) if header.format != ImportFormat::ServerLog => {
                feed_allocations(trace, header, sink, progress)
            }
            _ => feed_messages(trace, sink, progress),
        },
    }
}

fn feed_run(
    trace: &TraceFile,
    header: &RunHeader,
    sink: &mut dyn ExportSink,
    progress: &mut dyn FnMut(u64),
) -> Result<Exported, ExportError> {
    header.scenario.check()?;
    let mut run = RunFeed::begin(&header.scenario, header.server_recorded, sink, progress)?;
    let mut merge = Merge::new(trace, header);
    while let Some(merged) = merge.next_in_place() {
        run.take(merged)?;
    }
    let damage = match merge.end()? {
        MergeEnd::Complete => None,
        MergeEnd::Prefix { why } => Some(why),
    };
    let completed = trace.end().is_some_and(|end| end.completed);
    let given_up = || (!completed).then(|| "the run did not come to its end".to_owned());
    let complete = damage.is_none() && completed;
    run.end(complete, damage.or_else(given_up))
}

/// Feeds the events of a run.
struct RunFeed<'a> {
    sink: &'a mut dyn ExportSink,
    progress: &'a mut dyn FnMut(u64),
    wants: Wants,
    senders: Senders,
    messages: RunMessages,
    stacks: StackTable,
    left_out: LeftOut,
    number: u64,
}

/// Events between two reports of progress.
const PROGRESS_EVENTS: u64 = 1 << 18;

impl<'a> RunFeed<'a> {
    fn begin(
        scenario: &Scenario,
        server_recorded: bool,
        sink: &'a mut dyn ExportSink,
        progress: &'a mut dyn FnMut(u64),
    ) -> Result<RunFeed<'a>, ExportError> {
        let objects = scenario.objects();
        let locks = (0..objects.locks()).map(|lock| objects.lock_name(LockId(lock)));
        let about = SourceAbout {
            name: format!("{} under {}", scenario.name, scenario.discipline.name),
            run: Some(RunAbout {
                threads: scenario.threads,
                writes_per_frame: scenario.writes_per_frame(),
                locks: locks.collect(),
            }),
            messages_only: false,
            registry: scenario.registry(),
        };
        Ok(RunFeed {
            wants: sink.begin(&about)?,
            sink,
            progress,
            senders: Senders::new(scenario),
            messages: RunMessages::new(scenario, server_recorded),
            stacks: StackTable::default(),
            left_out: LeftOut::default(),
            number: 0,
        })
    }

    #[inline]
    fn take(&mut self, merged: &MergedEvent) -> Result<(), ExportError> {
        self.number += 1;
        if self.number.is_multiple_of(PROGRESS_EVENTS) {
            (self.progress)(self.number);
        }
        let thread = usize::from(merged.stream);
        let is_thread = merged.stream != SERVER_STREAM && thread < self.senders.threads();
        // What does not fit its operation is shown as it is, without a buffer.
        let fits = is_thread && self.senders.observe(thread, &merged.event).is_ok();
        let handle = match fits {
            true => self.senders.handle(thread),
            false => None,
        };
        if self.wants.steps {
            let began = || self.senders.position(thread).is_some_and(|at| at.ops > 0);
            self.sink.step(&ExportStep {
                number: self.number,
                thread: (merged.stream != SERVER_STREAM).then_some(merged.stream),
                operation: (is_thread && began()).then(|| self.senders.op(thread)),
                event: &merged.event,
                handle,
            })?;
        }
        if self.wants.allocations {
            self.allocation(merged, handle)?;
        }
        if self.wants.observations {
            let (sink, mut result) = (&mut *self.sink, Ok(()));
            self.messages.observe(merged, &mut |seen| {
                if result.is_ok() {
                    result = sink.observation(&seen);
                }
            });
            result?;
        }
        Ok(())
    }

    fn allocation(
        &mut self,
        merged: &MergedEvent,
        handle: Option<Handle>,
    ) -> Result<(), ExportError> {
        let buffer = |handle: Handle| Buffer {
            device: i32::from(handle.device.0),
            buffer_type: handle.memory.buffer_type(),
            address: handle.address,
            size_bytes: Some(handle.size_bytes),
            ..Buffer::default()
        };
        let what = match (&merged.event, handle) {
            (Event::Alloc { .. }, Some(handle)) => AllocationEvent::Allocated(buffer(handle)),
            (Event::Free { outcome, .. }, Some(handle)) => match outcome {
                FreeOutcome::Freed => AllocationEvent::Released(buffer(handle)),
                // What is live there is another buffer, of perhaps another size.
                FreeOutcome::FreedAnother => AllocationEvent::Released(Buffer {
                    size_bytes: None,
                    ..buffer(handle)
                }),
                FreeOutcome::NotAllocated => {
                    self.left_out.count("releases of what was not live");
                    return Ok(());
                }
            },
            (Event::AllocFailed { device, .. }, _) => {
                let request = self.senders.request(usize::from(merged.stream));
                AllocationEvent::Failed {
                    device: i32::from(device.0),
                    size_bytes: request.map_or(0, |request| request.size_bytes),
                }
            }
            (Event::Alloc { .. } | Event::Free { .. }, None) => {
                self.left_out.count("allocations outside of an operation");
                return Ok(());
            }
            _ => return Ok(()),
        };
        let record = AllocationRecord {
            position: self.number,
            at_ns: None,
            thread: Some(u64::from(merged.stream)),
            what,
        };
        self.sink.allocation(&record, &self.stacks)
    }

    fn end(mut self, complete: bool, damage: Option<String>) -> Result<Exported, ExportError> {
        if self.wants.observations && complete {
            let (sink, mut result) = (&mut *self.sink, Ok(()));
            self.messages.finish(&mut |seen| {
                if result.is_ok() {
                    result = sink.observation(&seen);
                }
            });
            result?;
        }
        (self.progress)(self.number);
        let mut exported = self.sink.end(&self.stacks)?;
        for (what, count) in std::mem::take(&mut self.left_out).iter() {
            exported.left_out.count_many(what, count);
        }
        exported.damage = damage;
        Ok(exported)
    }
}

fn feed_allocations(
    trace: &TraceFile,
    header: &ImportHeader,
    sink: &mut dyn ExportSink,
    progress: &mut dyn FnMut(u64),
) -> Result<Exported, ExportError> {
    let wants = sink.begin(&SourceAbout {
        name: header.source.clone(),
        run: None,
        messages_only: false,
        registry: Registry::new(Semantics::Typed, Limits::default()),
    })?;
    let mut text = TextReader::new(trace);
    let Some(mut source) = allocation::source(header, &mut text) else {
        unreachable!("a server's log is read as messages")
    };
    while let Some(record) = source.next() {
        let record = record?;
        if wants.allocations {
            sink.allocation(&record, source.stacks())?;
        }
        if wants.observations
            && let Some(seen) = record.observation()
        {
            sink.observation(&seen)?;
        }
        progress(source.accounting().lines);
    }
    if let Some(table) = source.table() {
        sink.table(table);
    }
    let mut exported = sink.end(source.stacks())?;
    let lost = source.accounting().lost(header.format);
    exported
        .left_out
        .count_many("records that were not understood", lost);
    exported
        .left_out
        .count_many("buffers of no bytes", source.left_out());
    drop(source);
    exported.damage = text.damage().map(str::to_owned);
    Ok(exported)
}

fn feed_messages(
    trace: &TraceFile,
    sink: &mut dyn ExportSink,
    progress: &mut dyn FnMut(u64),
) -> Result<Exported, ExportError> {
    let (name, registry) = match trace.header() {
        Header::Import(header) => {
            let registry = Registry::new(Semantics::Overwrite, Limits::default());
            (header.source.clone(), registry)
        }
        Header::Journal(header) => {
            let registry = Registry::new(header.semantics, header.limits);
            ("a server's journal".to_owned(), registry)
        }
        header => {
            let registry = Registry::new(Semantics::Overwrite, Limits::default());
            (header.what().to_owned(), registry)
        }
    };
    let wants = sink.begin(&SourceAbout {
        name,
        run: None,
        messages_only: true,
        registry,
    })?;
    let (stacks, mut left_out) = (StackTable::default(), LeftOut::default());
    let mut memories = LiveMemories::default();
    let mut result: Result<(), ExportError> = Ok(());
    let seen = observe::each(trace, &mut |seen| {
        progress(seen.position);
        result = (|| {
            if wants.observations {
                sink.observation(&seen)?;
            }
            if wants.allocations {
                match told(&seen) {
                    Told::Allocation(mut record) => {
                        memories.of_release(&mut record, &seen);
                        sink.allocation(&record, &stacks)?;
                    }
                    Told::LeftOut(what) => left_out.count(what),
                    Told::Nothing => {}
                }
            }
            Ok(())
        })();
        match result {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    });
    result?;
    let seen = seen?;
    let mut exported = sink.end(&stacks)?;
    for (what, count) in left_out.iter() {
        exported.left_out.count_many(what, count);
    }
    exported
        .left_out
        .count_many("records that were not understood", seen.lost);
    exported.damage = seen.damage;
    Ok(exported)
}

/// The memories of what is live. A FREE of most layouts does not say which it means: it is of the
/// buffer that is live at its address.
#[derive(Default)]
struct LiveMemories(FxHashMap<(Option<u32>, i32, u64), SmallVec<[u8; 1]>>);

impl LiveMemories {
    /// Takes note of an allocation, and gives a release the memory of what it releases.
    fn of_release(&mut self, record: &mut AllocationRecord, seen: &Observation) {
        let says_memory = matches!(
            &seen.what,
            Observed::Message { message, .. } if message.extension.is_some()
        );
        match &mut record.what {
            _ if says_memory => {}
            AllocationEvent::Allocated(buffer) => {
                let live = self
                    .0
                    .entry((buffer.process, buffer.device, buffer.address));
                live.or_default().push(buffer.buffer_type);
            }
            AllocationEvent::Released(buffer) => {
                let key = (buffer.process, buffer.device, buffer.address);
                if let Some(live) = self.0.get_mut(&key) {
                    buffer.buffer_type = live.pop().unwrap_or(buffer.buffer_type);
                    if live.is_empty() {
                        self.0.remove(&key);
                    }
                }
            }
            _ => {}
        }
    }
}

/// What a message says of a buffer.
enum Told {
    Allocation(AllocationRecord),
    LeftOut(&'static str),
    Nothing,
}

fn told(seen: &Observation) -> Told {
    let message = match &seen.what {
        Observed::Message { message, .. } => message,
        Observed::Swept { .. } => return Told::LeftOut("sweeps of dead processes"),
        Observed::MixedFrame | Observed::UnknownFrame { .. } | Observed::TornFrame { .. } => {
            return Told::LeftOut("frames that are no message");
        }
        Observed::Dropped { .. } => return Told::LeftOut("messages that were not sent"),
        Observed::TookEffect { .. }
        | Observed::Opened
        | Observed::Closed
        | Observed::ServerStarted => return Told::Nothing,
    };
    let complete = matches!(seen.what, Observed::Message { complete, .. } if complete);
    let what = match message.kind {
        MessageKind::Alloc | MessageKind::CbAlloc if complete => {
            AllocationEvent::Allocated(buffer_of(message))
        }
        MessageKind::Free | MessageKind::CbFree if complete => {
            AllocationEvent::Released(buffer_of(message))
        }
        kind if kind.class().is_some() => {
            return Told::LeftOut("messages that name no address, or a kernel");
        }
        _ => return Told::Nothing,
    };
    Told::Allocation(AllocationRecord {
        position: seen.position,
        at_ns: seen.at_ns,
        thread: message
            .extension
            .map(|extension| u64::from(extension.thread)),
        what,
    })
}

fn buffer_of(message: &Message) -> Buffer {
    let opens = message.kind.opens();
    let typed = message.extension.map(|e| e.memory.buffer_type());
    Buffer {
        process: u32::try_from(message.pid).ok(),
        device: message.device,
        buffer_type: typed.unwrap_or(message.buffer_type),
        address: message.address,
        size_bytes: opens.then_some(message.size_bytes),
        ..Buffer::default()
    }
}
