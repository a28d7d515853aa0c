//! Steps as an exhaustive search sees them: what each touches, and which two may be exchanged.

/// What a step touches: memory, or what is numbered as if it were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Touched {
    pub(crate) how: TouchKind,
    pub(crate) address: u64,
    pub(crate) size: u32,
    /// Another place that it writes; 0: none.
    pub(crate) with: u64,
    /// The clock goes on by it.
    pub(crate) advances: bool,
}

/// How a step touches what it touches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum TouchKind {
    /// Not at all.
    #[default]
    Nothing,
    /// It reads.
    Read,
    /// It writes.
    Write,
    /// It may not be exchanged with anything.
    All,
}

/// Where the clock would be in memory.
pub(crate) const CLOCK: u64 = heisenbed_runtime::protocol::touch::CLOCK_ADDRESS;

/// How much of an object is told: see `runtime/c/explore.c`.
const OBJECT_BYTES: u32 = 4;

impl Touched {
    /// Whether two steps of different threads may not be exchanged. The runtime says the same.
    pub(crate) fn conflicts(&self, other: &Touched) -> bool {
        let looks = |touched: &Touched| touched.how == TouchKind::Write && touched.address == CLOCK;
        if (self.advances && looks(other)) || (other.advances && looks(self)) {
            return true;
        }
        match (self.how, other.how) {
            (TouchKind::Nothing, _) | (_, TouchKind::Nothing) => false,
            (TouchKind::All, _) | (_, TouchKind::All) => true,
            (one, another) => {
                let writes = one == TouchKind::Write || another == TouchKind::Write;
                self.shares_second_place(other) || (writes && overlap(self.place(), other.place()))
            }
        }
    }

    fn shares_second_place(&self, other: &Touched) -> bool {
        let second = |touched: &Touched| (touched.with, OBJECT_BYTES);
        (self.with != 0 && overlap(second(self), other.place()))
            || (other.with != 0 && overlap(second(other), self.place()))
            || (self.with != 0 && other.with != 0 && overlap(second(self), second(other)))
    }

    pub(crate) fn place(&self) -> (u64, u32) {
        (self.address, self.size)
    }
}

/// Whether two places have a byte in common.
pub(crate) fn overlap((one, size): (u64, u32), (other, other_size): (u64, u32)) -> bool {
    one < other.saturating_add(other_size.into()) && other < one.saturating_add(size.into())
}

/// A set of threads: a bit each.
pub(crate) type Threads = u64;

/// The set of one.
pub(crate) fn only(thread: u32) -> Threads {
    1 << (thread % Threads::BITS)
}

/// The threads of a set, in order.
pub(crate) fn each(threads: Threads) -> impl Iterator<Item = u32> {
    (0..Threads::BITS).filter(move |thread| threads & only(*thread) != 0)
}

/// A step that was taken, or that a thread is about to take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ExploredStep {
    /// Whose.
    pub(crate) thread: u32,
    pub(crate) touched: Touched,
    /// What it touches besides.
    pub(crate) extra: Option<Touched>,
    /// It may have to wait for what its `touched.address` names.
    pub(crate) blocks: bool,
    /// Before it nobody could have had what is here.
    pub(crate) frees: Option<u64>,
    /// It ended the process while others were about to go on.
    pub(crate) ends: bool,
    /// Who could go on before it.
    pub(crate) able: Threads,
    /// Whose next step was searched already.
    pub(crate) asleep: Threads,
    /// Who could go on but for a loop that waits for others.
    pub(crate) held: Threads,
    /// The thread before could go on: another one was a preemption.
    pub(crate) costs: bool,
}

impl ExploredStep {
    /// Whether the two may not be exchanged.
    pub(crate) fn conflicts(&self, other: &ExploredStep) -> bool {
        if self.ends || other.ends || self.touched.conflicts(&other.touched) {
            return true;
        }
        let extra = |one: &ExploredStep, another: &ExploredStep| {
            one.extra
                .is_some_and(|extra| extra.conflicts(&another.touched))
        };
        extra(self, other)
            || extra(other, self)
            || self
                .extra
                .zip(other.extra)
                .is_some_and(|(one, another)| one.conflicts(&another))
    }

    /// Whether it is the same step of the same program.
    pub(crate) fn is_same(&self, other: &ExploredStep) -> bool {
        self.thread == other.thread && self.touched == other.touched
    }
}

/// How a schedule ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScheduleEnd {
    /// The program ended, well or not.
    Whole,
    /// Whoever could go on was asleep: another schedule comes to the same.
    Asleep,
    /// Nothing is known of it.
    Useless,
}

/// A schedule that was run.
#[derive(Clone, Debug)]
pub(crate) struct ExploredRun {
    pub(crate) steps: Vec<ExploredStep>,
    /// What threads that had not ended were about to do.
    pub(crate) pending: Vec<ExploredStep>,
    pub(crate) end: ScheduleEnd,
}

/// A program whose schedules can be run.
pub(crate) trait Explorable {
    /// Why one could not be run.
    type Error;

    /// Takes the steps of `prefix`, and goes on in some way that is always the same. From the last
    /// step of the prefix on the threads of `asleep` do not go on until a step conflicts with their
    /// next.
    fn run(&mut self, prefix: &[u32], asleep: Threads) -> Result<ExploredRun, Self::Error>;
}
