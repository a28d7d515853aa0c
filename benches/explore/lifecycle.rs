// The lifecycle that the peers explore, the same for each: what is shared is of the types `Mutex`,
// `AtomicBool` and `AtomicU64` that the including module has in scope, and a thread's own status
// and publication come from its `own_buffer`.

const SIZE: u64 = 0x400;
const LOCKED: &str = "no thread panics while it holds a lock";

/// Which locks are held around a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discipline {
    /// The lifecycle lock from the address to its message, and from the message to the release.
    Wide,
    /// The lifecycle lock around the send only.
    Narrow,
    /// One mutex around each send.
    TrackerMutex,
    /// None.
    Unlocked,
}

/// What is explored.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    pub threads: usize,
    pub pairs: usize,
    pub discipline: Discipline,
    /// Is an address given back before FREE is sent, rather than after?
    pub free_first: bool,
}

/// A block that is in use, or what the server knows of one.
#[derive(Clone, Copy, PartialEq)]
struct Block {
    address: u64,
    generation: u64,
}

fn search(blocks: &[Block], address: u64) -> Result<usize, usize> {
    blocks.binary_search_by_key(&address, |block| block.address)
}

/// First fit over the blocks in use, by address: the lowest free address is reused at once.
#[derive(Default)]
struct Allocator {
    blocks: Vec<Block>,
    generation: u64,
}

impl Allocator {
    fn allocate(&mut self) -> Block {
        let in_place = |(block, slot): &(&Block, u64)| block.address == slot * SIZE;
        let at = self.blocks.iter().zip(0..).take_while(in_place).count();
        self.generation += 1;
        let block = Block {
            address: at as u64 * SIZE,
            generation: self.generation,
        };
        self.blocks.insert(at, block);
        block
    }

    fn free(&mut self, block: Block) {
        let at = search(&self.blocks, block.address).expect("a thread frees what it owns");
        self.blocks.remove(at);
    }
}

/// The tracking server's registry, by address. False: the message is not about what it knows.
#[derive(Default)]
struct Registry(Vec<Block>);

impl Registry {
    fn alloc(&mut self, block: Block) -> bool {
        let known = search(&self.0, block.address);
        match known {
            Ok(at) => self.0[at] = block,
            Err(at) => self.0.insert(at, block),
        }
        known.is_err()
    }

    fn free(&mut self, block: Block) -> bool {
        search(&self.0, block.address).is_ok_and(|at| self.0.remove(at) == block)
    }
}

/// One execution's shared state.
struct World {
    model: Model,
    lifecycle: Mutex<()>,
    tracker: Mutex<()>,
    allocator: Mutex<Allocator>,
    connection: Mutex<Registry>,
    diverged: PlainBool,
}

impl World {
    fn new(model: Model) -> World {
        World {
            model,
            lifecycle: Mutex::default(),
            tracker: Mutex::default(),
            allocator: Mutex::default(),
            connection: Mutex::default(),
            diverged: PlainBool::new(false),
        }
    }

    /// The lifecycle lock, if it is held over this stretch under this discipline.
    fn lifecycle(&self, over: Discipline) -> Option<MutexGuard<'_, ()>> {
        (self.model.discipline == over).then(|| self.lifecycle.lock().expect(LOCKED))
    }

    fn send(&self, apply: impl FnOnce(&mut Registry) -> bool) {
        let _lifecycle = self.lifecycle(Discipline::Narrow);
        let unlocked = self.model.discipline == Discipline::Unlocked;
        let _tracker = (!unlocked).then(|| self.tracker.lock().expect(LOCKED));
        if !apply(&mut self.connection.lock().expect(LOCKED)) {
            self.diverged.store(true, Relaxed);
        }
    }

    fn allocate(&self, live: &AtomicBool) -> Block {
        let _lifecycle = self.lifecycle(Discipline::Wide);
        let block = self.allocator.lock().expect(LOCKED).allocate();
        live.store(true, SeqCst);
        self.send(|registry| registry.alloc(block));
        block
    }

    fn release(&self, block: Block, live: &AtomicBool) {
        if !live.load(SeqCst) {
            return;
        }
        let _lifecycle = self.lifecycle(Discipline::Wide);
        let free = || self.allocator.lock().expect(LOCKED).free(block);
        if self.model.free_first {
            free();
        }
        self.send(|registry| registry.free(block));
        if !self.model.free_first {
            free();
        }
        live.store(false, SeqCst);
    }

    /// One thread. Its buffers follow one another in one place, which others could see.
    fn work(&self) {
        let (live, published) = own_buffer();
        for _ in 0..self.model.pairs {
            let block = self.allocate(&live);
            published.store(block.address, SeqCst);
            self.release(block, &live);
        }
    }

    /// After the last thread: did every message fit, and do both sides agree at rest?
    fn diverged(&mut self) -> bool {
        let truth = self.allocator.get_mut().expect(LOCKED);
        let picture = self.connection.get_mut().expect(LOCKED);
        self.diverged.load(Relaxed) || truth.blocks != picture.0
    }
}
