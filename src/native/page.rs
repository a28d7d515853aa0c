//! The page that heisenbed and the program share: what a schedule is to do, and what it came to.
//! What the program wrote is checked before it means anything.

mod memory;

use std::io;

use heisenbed_runtime::protocol as wire;

use super::aims;
use super::cores::SharedCore;
use super::execution::{VisibleAction, WaitingThread};
use super::plan::{RunPlan, RunStrategy};
use super::races::{CodeMap, SeenRaces};
use super::steps::Steps;
pub(crate) use memory::PageMemory;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Page {
    memory: PageMemory,
    /// The core that the threads share.
    core: SharedCore,
}

/// Why nothing of a schedule is to be believed.
pub(super) const WROTE_OVER: &str = "it wrote over the memory that it shares with heisenbed";

/// The result follows what is to be done.
const AT_RESULT: usize = (wire::AT_RESULT - wire::AT_CONFIG) as usize;

/// The steps of so many threads are read with all else.
const READ_THREADS: usize = 16;

/// What the runtime says of an execution, as it stands in the page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PageResult {
    pub(super) started: bool,
    pub(super) outcome: u32,
    pub(super) steps: u64,
    pub(super) threads: u32,
    /// How many steps each of them took.
    pub(super) thread_steps: Vec<u64>,
    pub(super) taken: u32,
    pub(super) events: u32,
    pub(super) culprit: Option<u32>,
    pub(super) signal: u32,
    pub(super) fault_address: u64,
    pub(super) outside: u32,
    pub(super) children: u32,
    pub(super) waits_outside: bool,
    /// Besides the thread that has its turn others could go on, so many.
    pub(super) others: u32,
    pub(super) refused: u32,
    pub(super) handlers: bool,
    pub(super) accesses: u64,
    pub(super) crash: Vec<u64>,
    pub(super) text: String,
    pub(super) waits: Vec<WaitingThread>,
    pub(super) races: SeenRaces,
    /// Why nothing of this is to be believed.
    pub(super) unusable: Option<String>,
}

impl Page {
    /// A page for one program.
    pub(crate) fn new() -> io::Result<Page> {
        Ok(Page {
            memory: PageMemory::new(wire::PAGE_SIZE)?,
            core: SharedCore::new(),
        })
    }

    /// What is shared.
    pub(crate) fn memory(&self) -> &PageMemory {
        &self.memory
    }

    /// The core that the threads share.
    pub(super) fn core(&self) -> &SharedCore {
        &self.core
    }

    /// Writes what the next execution is to do, and where.
    pub(crate) fn write(&self, plan: &RunPlan) -> io::Result<()> {
        let mut beginning = self.config(plan);
        // Of a result nothing is there yet.
        beginning.resize(AT_RESULT + wire::RESULT_THREAD_STEPS, 0);
        self.memory.write(wire::AT_CONFIG, &beginning)?;
        if matches!(plan.strategy, RunStrategy::Surw) {
            let mut expected = Vec::with_capacity(8 * (plan.expected.len() + 1));
            for (steps, creator) in plan.expected.iter().take(wire::MAX_THREADS) {
                let both = u64::from(*steps) | u64::from(*creator) << 32;
                expected.extend(both.to_le_bytes());
            }
            if plan.expected.len() < wire::MAX_THREADS {
                expected.extend(wire::EXPECTED_END.to_le_bytes());
            }
            self.memory.write(wire::AT_EXPECTED, &expected)?;
        }
        self.memory.write(wire::AT_AIMS, &aims::bytes(plan))?;
        let mut decisions = Vec::with_capacity(plan.steps.runs().len() * 8);
        for (thread, count) in plan.steps.runs().iter().take(wire::MAX_DECISIONS) {
            decisions.extend(thread.to_le_bytes());
            decisions.extend(count.to_le_bytes());
        }
        self.memory.write(wire::AT_DECISIONS, &decisions)?;
        if plan.every_action {
            super::exhaustive::record::prepare(&self.memory, plan)?;
        }
        self.memory.write(wire::AT_RACES, &plan.races.bytes())
    }

    fn config(&self, plan: &RunPlan) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(wire::CONFIG_BYTES);
        let runs = plan.steps.runs().len().min(wire::MAX_DECISIONS) as u32;
        let depth = match plan.strategy {
            RunStrategy::Pct { depth } => depth,
            _ => 1,
        };
        bytes.extend(wire::MAGIC.to_le_bytes());
        for number in [
            wire::VERSION,
            plan.strategy.mode(),
            plan.number(),
            plan.flags(),
        ] {
            bytes.extend(number.to_le_bytes());
        }
        for number in [
            plan.seed,
            plan.index,
            plan.max_steps,
            plan.expected_steps,
            plan.start_time_ns,
        ] {
            bytes.extend(number.to_le_bytes());
        }
        for number in [depth, runs, plan.early_percent, self.core.number()] {
            bytes.extend(number.to_le_bytes());
        }
        bytes
    }

    /// Reads what became of it; nothing where what was written for this plan is not there any more:
    /// the program wrote over it.
    pub(crate) fn result_of(&self, plan: &RunPlan) -> io::Result<Option<PageResult>> {
        let (config, result) = self.read()?;
        Ok((config == self.config(plan)).then_some(result))
    }

    /// What has become of it by now.
    pub(crate) fn result(&self) -> io::Result<PageResult> {
        Ok(self.read()?.1)
    }

    fn read(&self) -> io::Result<(Vec<u8>, PageResult)> {
        let mut config = vec![0; AT_RESULT + wire::RESULT_THREAD_STEPS + 8 * READ_THREADS];
        self.memory.read(wire::AT_CONFIG, &mut config)?;
        let mut bytes = config.split_off(AT_RESULT);
        config.truncate(wire::CONFIG_BYTES);
        let waiting = Bytes(&bytes).u32(wire::RESULT_WAITING) as usize;
        let waiting = waiting.min(wire::MAX_WAITING);
        let threads = Bytes(&bytes).u32(16).min(wire::MAX_THREADS as u32);
        if waiting > 0 || threads as usize > READ_THREADS {
            bytes.resize(wire::RESULT_WAITS + waiting * wire::WAITING_BYTES, 0);
            self.memory.read(wire::AT_RESULT, &mut bytes)?;
        }
        let bytes = Bytes(&bytes);
        let frames = bytes.u32(84).min(2 * wire::MAX_FRAMES as u32);
        let text = &bytes.0[wire::RESULT_TEXT..wire::RESULT_THREAD_STEPS];
        let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
        let result = PageResult {
            started: bytes.u32(0) != 0,
            outcome: bytes.u32(4),
            steps: bytes.u64(8),
            threads,
            thread_steps: (0..threads as usize)
                .map(|thread| bytes.u64(wire::RESULT_THREAD_STEPS + 8 * thread))
                .collect(),
            taken: bytes.u32(20),
            events: bytes.u32(24),
            culprit: Some(bytes.u32(wire::RESULT_CULPRIT))
                .filter(|thread| (*thread as usize) < wire::MAX_THREADS),
            signal: bytes.u32(40),
            fault_address: bytes.u64(48),
            outside: bytes.u32(56),
            children: bytes.u32(60),
            waits_outside: bytes.u32(wire::RESULT_WAITS_OUTSIDE) != 0,
            others: bytes.u32(wire::RESULT_OTHERS),
            refused: bytes.u32(wire::RESULT_REFUSED),
            handlers: bytes.u32(wire::RESULT_HANDLERS) != 0,
            accesses: bytes.u64(72),
            crash: (0..frames)
                .map(|at| bytes.u64(wire::RESULT_CRASH + 8 * at as usize))
                .collect(),
            text: String::from_utf8_lossy(text).into_owned(),
            races: SeenRaces::default(),
            unusable: None,
            waits: (0..waiting)
                .map(|at| waiting_at(&bytes, wire::RESULT_WAITS + at * wire::WAITING_BYTES))
                .collect(),
        };
        Ok((config, result))
    }

    /// The data races that showed.
    pub(super) fn races(&self, code: &CodeMap) -> io::Result<SeenRaces> {
        let mut bytes = vec![0; wire::RACES_LIST];
        self.memory.read(wire::AT_RACES, &mut bytes)?;
        let count = Bytes(&bytes).u32(wire::RACES_STOPPED + 4) as usize;
        let count = count.min(wire::MAX_RACES);
        if count > 0 {
            bytes.resize(wire::RACES_LIST + count * wire::RACE_BYTES, 0);
            self.memory.read(wire::AT_RACES, &mut bytes)?;
        }
        Ok(SeenRaces::parse(&bytes, code))
    }

    /// Who took the steps, and the runs that began by a preemption. Less than all, if there were
    /// more runs than the page holds.
    pub(crate) fn taken(&self, result: &PageResult) -> io::Result<(Steps, Vec<usize>)> {
        let count = (result.taken as usize).min(wire::MAX_DECISIONS);
        let mut bytes = vec![0; count * 8];
        self.memory.read(wire::AT_TAKEN, &mut bytes)?;
        let bytes = Bytes(&bytes);
        let (mut steps, mut preempted) = (Steps::new(), Vec::new());
        for at in 0..count {
            let thread = bytes.u32(at * 8);
            let number = thread & !wire::PREEMPTED;
            if number as usize >= wire::MAX_THREADS {
                break;
            }
            steps.push(number, bytes.u32(at * 8 + 4));
            if thread != number {
                preempted.push(steps.runs().len() - 1);
            }
        }
        Ok((steps, preempted))
    }

    /// Writes which instructions touch shared memory, as far as that is known: a bit each.
    pub(crate) fn write_hot(&self, hot: &[u8]) -> io::Result<()> {
        let known = hot.get(..wire::HOT_BYTES).unwrap_or(hot);
        self.memory.write(wire::AT_HOT, known)
    }

    /// The same, with what the last execution found.
    pub(crate) fn hot(&self) -> io::Result<Vec<u8>> {
        let mut hot = vec![0; wire::HOT_BYTES];
        self.memory.read(wire::AT_HOT, &mut hot)?;
        Ok(hot)
    }

    /// What was done, in order: the first `most`. Less than all, if there was more than the page
    /// holds.
    pub(crate) fn events(
        &self,
        result: &PageResult,
        most: usize,
    ) -> io::Result<Vec<VisibleAction>> {
        let count = (result.events as usize).min(wire::MAX_EVENTS).min(most);
        let mut bytes = vec![0; count * wire::EVENT_BYTES];
        self.memory.read(wire::AT_EVENTS, &mut bytes)?;
        let bytes = Bytes(&bytes);
        let mut events = Vec::with_capacity(count);
        for at in (0..count).map(|at| at * wire::EVENT_BYTES) {
            let (kind, number) = (bytes.u16(at), bytes.u32(at + 4));
            let is_op = kind == wire::KIND_OP;
            events.push(VisibleAction {
                kind,
                thread: (bytes.u16(at + 2) & !wire::AFTER_PREEMPTION).into(),
                after_preemption: bytes.u16(at + 2) & wire::AFTER_PREEMPTION != 0,
                object: Some(number).filter(|object| *object != u32::MAX && !is_op),
                own_steps: if is_op { number } else { 0 },
                pc: bytes.u64(at + 8),
                address: bytes.u64(at + 16),
                value: bytes.u32(at + 24),
                stack: self.stack(bytes.u32(at + 28))?,
            });
        }
        Ok(events)
    }

    fn stack(&self, number: u32) -> io::Result<Vec<u64>> {
        if number as usize >= wire::MAX_STACKS {
            return Ok(Vec::new());
        }
        let mut bytes = [0; wire::MAX_FRAMES * 8];
        let at = wire::AT_STACKS + u64::from(number) * bytes.len() as u64;
        self.memory.read(at, &mut bytes)?;
        let bytes = Bytes(&bytes);
        let frames = (0..wire::MAX_FRAMES).map(|at| bytes.u64(at * 8));
        Ok(frames.take_while(|frame| *frame != 0).collect())
    }
}

fn waiting_at(bytes: &Bytes<'_>, at: usize) -> WaitingThread {
    WaitingThread {
        kind: bytes.u16(at),
        thread: bytes.u16(at + 2).into(),
        object: Some(bytes.u32(at + 4)).filter(|object| *object != u32::MAX),
        address: bytes.u64(at + 8),
        pc: bytes.u64(at + 16),
        holder: Some(bytes.u32(at + 24)).filter(|thread| (*thread as usize) < wire::MAX_THREADS),
        stack: (0..(bytes.u32(at + 28) as usize).min(wire::MAX_FRAMES))
            .map(|frame| bytes.u64(at + 32 + 8 * frame))
            .collect(),
    }
}

/// Little-endian numbers at an offset; zero beyond the end.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        let bytes = self.0.get(at..).and_then(|rest| rest.first_chunk());
        bytes.copied().unwrap_or([0; N])
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.array(at))
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.array(at))
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.array(at))
    }
}
