//! Which locks a program takes in its operations, and what the language calls them.
//!
//! Two lock actions are of one *family* if they were done at one place of the code, or on one
//! mutex. What a family is follows from its mutexes: the same for all devices, one a device, or one
//! of a table. What it is for follows from what is done while it is held. A family under which
//! nothing is ever done that others can see guards only itself. One that is held around nothing but
//! the allocator's own step is the allocator's, which `alloc` and `free` take for themselves.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::operation::{Operation, What};
use super::places::Places;
use crate::lifecycle::{Lock, MicroStep, ProgramKind};

/// The size of a `pthread_mutex_t`, which is all that a `std::mutex` is.
const MUTEX_BYTES: u64 = if cfg!(target_arch = "x86_64") { 40 } else { 48 };

/// One family of locks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LockFamily {
    /// The variable, or where it is taken.
    pub(crate) name: String,
    /// Which mutex it is.
    pub(crate) scope: LockScope,
    /// What the language calls it.
    pub(crate) role: LockRole,
}

/// Which mutex a family's lock is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LockScope {
    /// The same for all devices.
    Process,
    /// One a device.
    Device,
    /// One of a table of so many, by the device's number.
    Table(u16),
    /// Only one device was seen.
    OneDevice,
    /// Neither: why.
    Other(String),
}

/// What a family's lock is in the language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LockRole {
    /// It guards only itself: no step.
    Idle,
    /// `alloc` and `free` take it for themselves: no step.
    Allocators,
    /// This lock.
    Named(Lock),
    /// The language has no name for it: why.
    Unnamed(String),
}

/// The locks of all operations.
#[derive(Debug, Default)]
pub(crate) struct Locks {
    pub(crate) families: Vec<LockFamily>,
    /// Of each operation, the sections in the order in which they begin.
    pub(super) sections: Vec<Vec<Section>>,
}

/// What is done while a lock is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) family: usize,
    /// The action that takes it.
    pub(super) from: usize,
    /// The one that gives it back; none: it is still held at the end.
    pub(super) to: Option<usize>,
}

/// What actions mean beside locks: of each operation, by the number of the action.
pub(super) type Meanings = [BTreeMap<usize, MicroStep>];

/// Finds them. `meanings` has the steps that are no locks.
pub(super) fn find(operations: &[Operation], meanings: &Meanings, places: &Places<'_>) -> Locks {
    let mut groups = Groups::default();
    for operation in operations {
        for act in &operation.acts {
            if matches!(act.what, What::Lock | What::Held) {
                let mutex = groups.node(mutex(operation, act.address, places));
                let site = groups.node(Node::Site(act.site.to_vec()));
                groups.join(mutex, site);
            }
        }
    }
    let mut numbers: HashMap<usize, usize> = HashMap::new();
    let mut families: Vec<Gathered> = Vec::new();
    let mut sections = Vec::with_capacity(operations.len());
    for (at, operation) in operations.iter().enumerate() {
        let mut own = Vec::new();
        for section in sections_of(operation) {
            let address = operation.acts[section.from].address;
            let node = groups.node(mutex(operation, address, places));
            let root = groups.root(node);
            let number = *numbers.entry(root).or_insert_with(|| {
                families.push(Gathered::default());
                families.len() - 1
            });
            let section = Section {
                family: number,
                ..section
            };
            families[number].gather(operation, &section, &meanings[at]);
            own.push(section);
        }
        sections.push(own);
    }
    let scopes: Vec<LockScope> = families.iter().map(|one| one.scope(places)).collect();
    let roles = roles(&families, &scopes);
    let families = families.iter().zip(scopes).zip(roles);
    Locks {
        families: families
            .map(|((gathered, scope), role)| LockFamily {
                name: gathered.name(places),
                scope,
                role,
            })
            .collect(),
        sections,
    }
}

/// Each lock action with the one that gives it back; of a lock taken twice the outer one.
fn sections_of(operation: &Operation) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut open: Vec<(u64, usize, u32)> = Vec::new();
    for (at, act) in operation.acts.iter().enumerate() {
        match act.what {
            What::Lock | What::Held => {
                let again = open.iter_mut().find(|(lock, _, _)| *lock == act.address);
                if let Some((_, _, depth)) = again {
                    *depth += 1;
                    continue;
                }
                open.push((act.address, sections.len(), 1));
                sections.push(Section {
                    family: 0,
                    from: at,
                    to: None,
                });
            }
            What::Unlock => {
                let found = open.iter().rposition(|(lock, _, _)| *lock == act.address);
                let Some(found) = found else { continue };
                open[found].2 -= 1;
                if open[found].2 == 0 {
                    let (_, section, _) = open.remove(found);
                    sections[section].to = Some(at);
                }
            }
            _ => {}
        }
    }
    sections
}

/// What is known of one family.
#[derive(Default)]
struct Gathered {
    /// The mutexes of each execution, by device.
    mutexes: BTreeMap<u64, BTreeMap<u32, BTreeSet<u64>>>,
    /// All addresses, also where the device is not known.
    addresses: BTreeSet<u64>,
    /// Where it was taken first.
    site: Option<std::rc::Rc<[u64]>>,
    is_busy: bool,
    /// Each busy section has one step, and that is the allocator's.
    not_allocators: bool,
    /// Each busy section has sends only.
    not_sends: bool,
}

impl Gathered {
    fn gather(
        &mut self,
        operation: &Operation,
        section: &Section,
        meanings: &BTreeMap<usize, MicroStep>,
    ) {
        let taken = &operation.acts[section.from];
        self.site.get_or_insert_with(|| taken.site.clone());
        self.addresses.insert(taken.address);
        let end = section.to.unwrap_or(operation.acts.len());
        let inside: Vec<MicroStep> = meanings
            .range(section.from..end)
            .map(|(_, step)| *step)
            .collect();
        let devices: BTreeSet<u32> = operation.acts[section.from..end]
            .iter()
            .filter_map(|act| act.what.device())
            .collect();
        let all = operation.devices();
        let device = match (devices.len(), &all[..]) {
            (1, _) => devices.first().copied(),
            (0, [only]) => Some(*only),
            _ => None,
        };
        if let Some(device) = device {
            let by_device = self.mutexes.entry(operation.execution).or_default();
            by_device.entry(device).or_default().insert(taken.address);
        }
        if inside.is_empty() {
            return;
        }
        self.is_busy = true;
        self.not_allocators |= !matches!(inside[..], [MicroStep::Alloc | MicroStep::Free]);
        let is_send = |step: &MicroStep| matches!(step, MicroStep::Send(_));
        self.not_sends |= !inside.iter().all(is_send);
    }

    fn scope(&self, places: &Places<'_>) -> LockScope {
        let mut devices: BTreeSet<u32> = BTreeSet::new();
        let (mut differ, mut same) = (false, false);
        for by_device in self.mutexes.values() {
            devices.extend(by_device.keys());
            if by_device.values().any(|mutexes| mutexes.len() > 1) {
                return LockScope::Other(
                    "it is another mutex for two buffers of one device".to_owned(),
                );
            }
            let different: BTreeSet<&u64> = by_device.values().flatten().collect();
            differ |= different.len() == by_device.len() && by_device.len() > 1;
            same |= different.len() < by_device.len();
        }
        let table = self.table(places);
        match (differ, same, table) {
            (true, true, _) => {
                LockScope::Other("some devices share a mutex, and others do not".to_owned())
            }
            (true, false, Some(entries)) | (false, false, Some(entries)) => {
                LockScope::Table(entries)
            }
            (true, false, None) => LockScope::Device,
            (false, true, _) => LockScope::Process,
            (false, false, None) => LockScope::OneDevice,
        }
    }

    /// How many entries the table has, if all mutexes are those of a variable that is one, by
    /// device.
    fn table(&self, places: &Places<'_>) -> Option<u16> {
        let variable = places.variable(*self.addresses.first()?)?;
        let entries = variable.size / MUTEX_BYTES;
        let is_entry =
            |device: &u32, mutex: &u64| *mutex == variable.begin + MUTEX_BYTES * u64::from(*device);
        let all = self.mutexes.values().flatten();
        let fits = entries > 1
            && variable.size % MUTEX_BYTES == 0
            && !self.mutexes.is_empty()
            && all
                .flat_map(|(device, mutexes)| mutexes.iter().map(move |mutex| (device, mutex)))
                .all(|(device, mutex)| is_entry(device, mutex));
        fits.then(|| u16::try_from(entries).ok()).flatten()
    }

    fn name(&self, places: &Places<'_>) -> String {
        let variables: Option<BTreeSet<String>> = self
            .addresses
            .iter()
            .map(|address| places.variable(*address).map(|found| found.name))
            .collect();
        match (variables, &self.site) {
            (Some(variables), _) if variables.len() == 1 => {
                variables.into_iter().next().unwrap_or_default()
            }
            (_, Some(site)) => format!("a mutex that is locked at {}", places.inner(site)),
            _ => "a mutex".to_owned(),
        }
    }
}

/// The language has two locks for the process, two for a device, and tables.
fn roles(families: &[Gathered], scopes: &[LockScope]) -> Vec<LockRole> {
    let mut taken: Vec<Lock> = Vec::new();
    let role = |(family, scope): (&Gathered, &LockScope)| {
        if !family.is_busy {
            return LockRole::Idle;
        }
        if !family.not_allocators {
            return LockRole::Allocators;
        }
        let wanted: Vec<Lock> = match scope {
            LockScope::Other(why) => return LockRole::Unnamed(why.clone()),
            LockScope::Table(entries) => vec![Lock::LifecycleTable(*entries)],
            LockScope::Process if !family.not_sends => vec![Lock::Tracker, Lock::Global],
            LockScope::OneDevice if !family.not_sends => vec![Lock::Tracker, Lock::Global],
            LockScope::Process => vec![Lock::Global, Lock::Tracker],
            // A table that reaches as far as the language lets devices be told apart.
            LockScope::Device | LockScope::OneDevice => {
                vec![Lock::Lifecycle, Lock::LifecycleTable(1024)]
            }
        };
        match wanted.into_iter().find(|lock| !taken.contains(lock)) {
            Some(lock) => {
                taken.push(lock);
                LockRole::Named(lock)
            }
            None => LockRole::Unnamed(
                "the language has no further lock of that kind; its locks are tracker and global \
                 (one for the process), lifecycle (one a device), lifecycle[N] (a table)"
                    .to_owned(),
            ),
        }
    };
    families.iter().zip(scopes).map(role).collect()
}

/// What lock actions are grouped by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Node {
    /// A mutex that has a place in a file of the program: the same in each execution.
    Fixed(u64),
    /// Another one.
    Heap(u64, u64),
    Site(Vec<u64>),
}

fn mutex(operation: &Operation, address: u64, places: &Places<'_>) -> Node {
    match places.variable(address) {
        Some(_) => Node::Fixed(address),
        None => Node::Heap(operation.execution, address),
    }
}

/// Sets that are joined.
#[derive(Default)]
struct Groups {
    numbers: HashMap<Node, usize>,
    parents: Vec<usize>,
}

impl Groups {
    fn node(&mut self, node: Node) -> usize {
        *self.numbers.entry(node).or_insert_with(|| {
            self.parents.push(self.parents.len());
            self.parents.len() - 1
        })
    }

    fn root(&self, mut node: usize) -> usize {
        while self.parents[node] != node {
            node = self.parents[node];
        }
        node
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.root(one), self.root(other));
        // The older one stays, so that what comes first is first.
        self.parents[one.max(other)] = one.min(other);
    }
}

impl LockFamily {
    /// Whether a lock of the language can be this one.
    pub(super) fn can_be(&self, lock: Lock) -> bool {
        match (lock, &self.scope) {
            (Lock::Tracker | Lock::Global, scope) => {
                matches!(scope, LockScope::Process | LockScope::OneDevice)
            }
            (Lock::LifecycleTable(entries), LockScope::Table(found)) => entries == *found,
            (Lock::LifecycleTable(_), scope) | (Lock::Lifecycle | Lock::Allocator, scope) => {
                matches!(scope, LockScope::Device | LockScope::OneDevice)
            }
            (Lock::LifecycleOf(_), _) => false,
        }
    }

    /// Which mutex it is, in words.
    pub(crate) fn scope_in_words(&self) -> String {
        match &self.scope {
            LockScope::Process => "the same for all devices".to_owned(),
            LockScope::Device => "one a device".to_owned(),
            LockScope::Table(entries) => format!("a table of {entries}, by device"),
            LockScope::OneDevice => "only one device was seen".to_owned(),
            LockScope::Other(why) => why.clone(),
        }
    }
}

/// Steps that are no locks, of all operations: the allocator's, messages, the status.
pub(super) fn meanings(
    operations: &[Operation],
    status: &[BTreeMap<usize, MicroStep>],
) -> Vec<BTreeMap<usize, MicroStep>> {
    let one = |(operation, status): (&Operation, &BTreeMap<usize, MicroStep>)| {
        let mut steps = status.clone();
        for (at, act) in operation.acts.iter().enumerate() {
            let step = match act.what {
                What::Alloc { .. } => MicroStep::Alloc,
                What::Free { .. } => MicroStep::Free,
                What::Send { kind, .. } => MicroStep::Send(super::steps::send_kind(kind)),
                What::Publish if operation.kind == ProgramKind::Allocate => MicroStep::Publish,
                What::Log => MicroStep::DebugLog,
                _ => continue,
            };
            steps.insert(at, step);
        }
        steps
    };
    operations.iter().zip(status).map(one).collect()
}
