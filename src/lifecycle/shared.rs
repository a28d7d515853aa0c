//! Steps on what a program itself shares: cells, ledgers, and locks that are more than a mutex; and
//! the branches and loops around them.
//!
//! A *cell* is a named variable that the discipline declares ([`CellSpec`]); a *ledger* is a map in
//! the program from addresses to buffers. A *local* is what one run of a program remembers. The
//! text of each step is in its documentation; what it does is the engine's, and which programs make
//! sense the lint's.
//!
//! Invariant: for every step that can be parsed, parsing its `Display` gives it back.

use std::fmt;
use std::str::FromStr;

use super::step::Lock;

mod cell;
mod read;

pub use cell::{CellKind, CellRole, CellScope, CellSpec};
pub(crate) use read::shared_step;

/// The name of a cell, a local or a program: a letter, then letters, digits, `-` and `_`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name([u8; Name::MAX]);

impl Name {
    /// The longest name, in bytes.
    pub(crate) const MAX: usize = 16;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        let len = self.0.iter().position(|b| *b == 0).unwrap_or(Name::MAX);
        std::str::from_utf8(&self.0[..len]).expect("only ASCII is taken in")
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Name, String> {
        let bytes = text.as_bytes();
        let fits = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let is_name = bytes.first().is_some_and(u8::is_ascii_alphabetic)
            && bytes.iter().all(fits)
            && bytes.len() <= Name::MAX;
        if !is_name {
            return Err(format!(
                "`{text}`: a name is a letter, then letters, digits, - and _, at most {} in all",
                Name::MAX
            ));
        }
        if read::RESERVED.contains(&text) {
            return Err(format!("`{text}`: this word has a meaning of its own"));
        }
        let mut name = [0; Name::MAX];
        name[..bytes.len()].copy_from_slice(bytes);
        Ok(Name(name))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

serde_as_text!(Name);

/// A value that a step takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Term {
    /// `4096`
    Number(u64),
    /// The name of a local.
    Local(Name),
    /// `size`: the bytes of the buffer at hand; 0 where there is none.
    Size,
    /// `buffer`: a number that stands for the buffer at hand, and for no other; never 0.
    Buffer,
    /// `thread`: the number of the thread, from 1.
    Thread,
    /// `process`: the number of the process, from 1.
    Process,
    /// `device`: the number of the buffer's device.
    Device,
}

/// `a`, `a + b`, `a - b`, or `a - b or 0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sum {
    /// What comes first.
    pub first: Term,
    /// What is added or taken off.
    pub rest: Option<(Operator, Term)>,
}

/// What is done with the second term. Numbers have 64 bits and wrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operator {
    /// `a + b`
    Plus,
    /// `a - b`
    Minus,
    /// `a - b or 0`: 0 where b is more than a.
    MinusOrZero,
}

/// A cell, or one of the entries of a table of cells: `total`, `pid[0]`, `pid[slot]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CellPlace {
    /// Which cell.
    pub cell: Name,
    /// Which of a table's entries; of an index beyond its end the rest by its length. Of a cell of
    /// each process or device, the number of that process, from 1, or of that device.
    pub index: Option<Term>,
}

/// How two numbers are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Relation {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Relation {
    /// Every relation, with its text.
    pub(crate) const ALL: [(Relation, &'static str); 6] = [
        (Relation::Equal, "=="),
        (Relation::NotEqual, "!="),
        (Relation::Less, "<"),
        (Relation::LessOrEqual, "<="),
        (Relation::Greater, ">"),
        (Relation::GreaterOrEqual, ">="),
    ];

    /// Whether it holds.
    pub(crate) fn holds(self, left: u64, right: u64) -> bool {
        match self {
            Relation::Equal => left == right,
            Relation::NotEqual => left != right,
            Relation::Less => left < right,
            Relation::LessOrEqual => left <= right,
            Relation::Greater => left > right,
            Relation::GreaterOrEqual => left >= right,
        }
    }
}

/// `used + size > limit`
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Condition {
    /// What is compared.
    pub left: Sum,
    /// How.
    pub relation: Relation,
    /// With what.
    pub right: Sum,
}

/// One step. A step with `x = ` keeps what it found in the local `x`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SharedStep {
    /// `x = SUM`: no visible action.
    Set(Name, Sum),
    /// `x = load CELL`
    Load(Name, CellPlace),
    /// `store CELL SUM`
    Store(CellPlace, Sum),
    /// `fetch-add CELL TERM`, `x = fetch-add CELL TERM`: one action.
    FetchAdd(Option<Name>, CellPlace, Term),
    /// `fetch-sub CELL TERM`, `x = fetch-sub CELL TERM`: one action.
    FetchSub(Option<Name>, CellPlace, Term),
    /// `cas CELL EXPECTED -> SUM`, `x = cas …`: compare and swap; x is 1 where it was won, or 0. A
    /// local that was expected is then what was found, as in C++.
    Cas(Option<Name>, CellPlace, Term, Sum),
    /// `add CELL TERM`: as a plain `+=`, a load and then a store.
    Add(CellPlace, Term),
    /// `sub CELL TERM`: as a plain `-=`, a load and then a store.
    Sub(CellPlace, Term),
    /// `await CELL RELATION TERM`: waits until it holds, as a loop that looks again does.
    Await(CellPlace, Relation, Term),
    /// `join CELL`: from here on the process counts on the region of that cell.
    Join(CellPlace),
    /// `leave CELL`: the process no longer does.
    Leave(CellPlace),
    /// `tell CELL`: tells the tracker that the cell stands for, which must not be 0 then.
    Tell(CellPlace),
    /// `if CONDITION` … `else` … `end`
    If(Condition),
    /// `else`
    Else,
    /// `repeat N` … `end`: at most N rounds, and then what follows.
    Repeat(u8),
    /// `retry N` … `end`: until `break` or `return`. What would take more than N rounds isn't
    /// searched, and is said not to be.
    Retry(u8),
    /// `break`: leaves the innermost loop.
    Break,
    /// `return`: ends the program and releases what it holds, as lock guards do.
    Return,
    /// `x = find LEDGER`: looks the buffer's address up; x is the buffer that is entered there, or
    /// 0.
    Find(Name, CellPlace),
    /// `insert LEDGER`, `x = insert LEDGER`: enters the buffer, unless its address is taken; x is
    /// who has it, or 0.
    Insert(Option<Name>, CellPlace),
    /// `erase LEDGER`, `x = erase LEDGER`: takes out what is entered at the buffer's address; x is
    /// what was, or 0.
    Erase(Option<Name>, CellPlace),
    /// `use TERM`: reads the memory of that buffer; nothing where it is 0.
    Use(Term),
    /// `lock-shared M`
    LockShared(Lock),
    /// `unlock-shared M`
    UnlockShared(Lock),
    /// `x = try-lock M`: 1 where it was taken, or 0.
    TryLock(Name, Lock),
    /// `x = lock-robust M`: takes M, also from a holder whose process was ended; x is then 1, or 0.
    LockRobust(Name, Lock),
    /// `wait M`: releases M, which the program holds, sleeps until it is notified, and takes M
    /// again.
    Wait(Lock),
    /// `notify M`: wakes one of those who wait on M.
    Notify(Lock),
    /// `notify-all M`: wakes all of them.
    NotifyAll(Lock),
}

impl SharedStep {
    /// The local that the step sets.
    pub(crate) fn sets(self) -> Option<Name> {
        match self {
            SharedStep::Set(local, _)
            | SharedStep::Load(local, _)
            | SharedStep::Find(local, _)
            | SharedStep::TryLock(local, _)
            | SharedStep::LockRobust(local, _) => Some(local),
            SharedStep::FetchAdd(local, ..)
            | SharedStep::FetchSub(local, ..)
            | SharedStep::Cas(local, ..)
            | SharedStep::Insert(local, _)
            | SharedStep::Erase(local, _) => local,
            _ => None,
        }
    }

    /// The terms that the step reads.
    pub(crate) fn terms(self) -> impl Iterator<Item = Term> {
        let sum = |sum: Sum| [Some(sum.first), sum.rest.map(|(_, term)| term)];
        let [a, b] = match self {
            SharedStep::Set(_, value)
            | SharedStep::Store(_, value)
            | SharedStep::Cas(_, _, _, value) => sum(value),
            SharedStep::If(condition) => sum(condition.left),
            _ => [None; 2],
        };
        let [c, d] = match self {
            SharedStep::If(condition) => sum(condition.right),
            SharedStep::FetchAdd(_, _, term)
            | SharedStep::FetchSub(_, _, term)
            | SharedStep::Cas(_, _, term, _)
            | SharedStep::Add(_, term)
            | SharedStep::Sub(_, term)
            | SharedStep::Await(_, _, term)
            | SharedStep::Use(term) => [Some(term), None],
            _ => [None; 2],
        };
        let index = (self.place().or(self.ledger())).and_then(|place| place.index);
        [a, b, c, d, index].into_iter().flatten()
    }

    /// The cell that the step is about.
    pub(crate) fn place(self) -> Option<CellPlace> {
        match self {
            SharedStep::Load(_, place)
            | SharedStep::Store(place, _)
            | SharedStep::FetchAdd(_, place, _)
            | SharedStep::FetchSub(_, place, _)
            | SharedStep::Cas(_, place, _, _)
            | SharedStep::Add(place, _)
            | SharedStep::Sub(place, _)
            | SharedStep::Await(place, _, _)
            | SharedStep::Join(place)
            | SharedStep::Tell(place)
            | SharedStep::Leave(place) => Some(place),
            _ => None,
        }
    }

    /// The ledger that the step is about.
    pub(crate) fn ledger(self) -> Option<CellPlace> {
        match self {
            SharedStep::Find(_, ledger)
            | SharedStep::Insert(_, ledger)
            | SharedStep::Erase(_, ledger) => Some(ledger),
            _ => None,
        }
    }

    /// The lock that the step is about.
    pub(crate) fn lock(self) -> Option<Lock> {
        match self {
            SharedStep::LockShared(lock)
            | SharedStep::UnlockShared(lock)
            | SharedStep::TryLock(_, lock)
            | SharedStep::LockRobust(_, lock)
            | SharedStep::Wait(lock)
            | SharedStep::Notify(lock)
            | SharedStep::NotifyAll(lock) => Some(lock),
            _ => None,
        }
    }

    /// Whether a block begins here that `end` closes.
    pub(crate) fn opens(self) -> bool {
        matches!(
            self,
            SharedStep::If(_) | SharedStep::Repeat(_) | SharedStep::Retry(_)
        )
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Term::Number(number) => write!(f, "{number}"),
            Term::Local(name) => write!(f, "{name}"),
            Term::Size => f.write_str("size"),
            Term::Buffer => f.write_str("buffer"),
            Term::Thread => f.write_str("thread"),
            Term::Process => f.write_str("process"),
            Term::Device => f.write_str("device"),
        }
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sum { first, rest } = self;
        match rest {
            None => write!(f, "{first}"),
            Some((Operator::Plus, term)) => write!(f, "{first} + {term}"),
            Some((Operator::Minus, term)) => write!(f, "{first} - {term}"),
            Some((Operator::MinusOrZero, term)) => write!(f, "{first} - {term} or 0"),
        }
    }
}

impl fmt::Display for CellPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index {
            None => write!(f, "{}", self.cell),
            Some(index) => write!(f, "{}[{index}]", self.cell),
        }
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, text) = Relation::ALL[*self as usize];
        f.write_str(text)
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.left, self.relation, self.right)
    }
}

impl fmt::Display for SharedStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(local) = self.sets() {
            write!(f, "{local} = ")?;
        }
        match self {
            SharedStep::Set(_, sum) => write!(f, "{sum}"),
            SharedStep::Load(_, place) => write!(f, "load {place}"),
            SharedStep::Store(place, sum) => write!(f, "store {place} {sum}"),
            SharedStep::FetchAdd(_, place, by) => write!(f, "fetch-add {place} {by}"),
            SharedStep::FetchSub(_, place, by) => write!(f, "fetch-sub {place} {by}"),
            SharedStep::Cas(_, place, old, new) => write!(f, "cas {place} {old} -> {new}"),
            SharedStep::Add(place, by) => write!(f, "add {place} {by}"),
            SharedStep::Sub(place, by) => write!(f, "sub {place} {by}"),
            SharedStep::Await(place, relation, term) => {
                write!(f, "await {place} {relation} {term}")
            }
            SharedStep::Join(place) => write!(f, "join {place}"),
            SharedStep::Tell(place) => write!(f, "tell {place}"),
            SharedStep::Leave(place) => write!(f, "leave {place}"),
            SharedStep::If(condition) => write!(f, "if {condition}"),
            SharedStep::Else => f.write_str("else"),
            SharedStep::Repeat(rounds) => write!(f, "repeat {rounds}"),
            SharedStep::Retry(rounds) => write!(f, "retry {rounds}"),
            SharedStep::Break => f.write_str("break"),
            SharedStep::Return => f.write_str("return"),
            SharedStep::Find(_, ledger) => write!(f, "find {ledger}"),
            SharedStep::Insert(_, ledger) => write!(f, "insert {ledger}"),
            SharedStep::Erase(_, ledger) => write!(f, "erase {ledger}"),
            SharedStep::Use(term) => write!(f, "use {term}"),
            SharedStep::LockShared(lock) => write!(f, "lock-shared {lock}"),
            SharedStep::UnlockShared(lock) => write!(f, "unlock-shared {lock}"),
            SharedStep::TryLock(_, lock) => write!(f, "try-lock {lock}"),
            SharedStep::LockRobust(_, lock) => write!(f, "lock-robust {lock}"),
            SharedStep::Wait(lock) => write!(f, "wait {lock}"),
            SharedStep::Notify(lock) => write!(f, "notify {lock}"),
            SharedStep::NotifyAll(lock) => write!(f, "notify-all {lock}"),
        }
    }
}
