//! Ledgers: trackers that are maps in the program itself, from addresses to buffers.
//!
//! Pure, as the registry: the engines act on one, and the oracle on another one that is fed with
//! the same steps. A *plain* ledger is written into what was looked up before: what others wrote in
//! between is lost. That is what a map without a lock of its own may do at worst and still be a
//! map; what else can become of its memory is not modelled.

/// Where a buffer is entered: device, memory, address.
pub(crate) type LedgerKey = (u16, u8, u64);

/// One ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AddressMap {
    /// Sorted by key.
    entries: Vec<(LedgerKey, u64)>,
}

impl AddressMap {
    /// Who is entered there, or 0.
    pub(crate) fn find(&self, key: LedgerKey) -> u64 {
        match self.position(key) {
            Ok(at) => self.entries[at].1,
            Err(_) => 0,
        }
    }

    /// Every entry, by key.
    pub(crate) fn entries(&self) -> &[(LedgerKey, u64)] {
        &self.entries
    }

    fn insert(&mut self, key: LedgerKey, buffer: u64) -> u64 {
        match self.position(key) {
            Ok(at) => self.entries[at].1,
            Err(at) => {
                self.entries.insert(at, (key, buffer));
                0
            }
        }
    }

    fn erase(&mut self, key: LedgerKey) -> u64 {
        match self.position(key) {
            Ok(at) => self.entries.remove(at).1,
            Err(_) => 0,
        }
    }

    fn position(&self, key: LedgerKey) -> Result<usize, usize> {
        self.entries.binary_search_by_key(&key, |entry| entry.0)
    }
}

/// A write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LedgerWrite {
    /// Enters a buffer, unless the address is taken.
    Insert(u64),
    /// Takes out what is entered.
    Erase,
}

/// All ledgers of a run, and what each thread has looked up and not yet written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ledgers {
    ledgers: Vec<AddressMap>,
    /// Which thread looked into which ledger, and what it saw.
    looked: Vec<(u16, usize, AddressMap)>,
}

impl Ledgers {
    /// So many, empty.
    pub(crate) fn new(count: usize) -> Ledgers {
        Ledgers {
            ledgers: vec![AddressMap::default(); count],
            looked: Vec::new(),
        }
    }

    /// The ledger of that number.
    pub(crate) fn get(&self, ledger: usize) -> &AddressMap {
        &self.ledgers[ledger]
    }

    /// Every ledger.
    pub(crate) fn all(&self) -> &[AddressMap] {
        &self.ledgers
    }

    /// What threads have looked up and not yet written.
    pub(crate) fn looked(&self) -> &[(u16, usize, AddressMap)] {
        &self.looked
    }

    /// Whether `thread` has looked into the ledger since it last wrote it.
    pub(crate) fn has_looked(&self, thread: u16, ledger: usize) -> bool {
        let is_it = |seen: &&(u16, usize, AddressMap)| (seen.0, seen.1) == (thread, ledger);
        self.looked.iter().any(|seen| is_it(&seen))
    }

    /// Looks a key up; in a plain ledger, a write that follows is written into what is seen now.
    pub(crate) fn find(&mut self, thread: u16, ledger: usize, key: LedgerKey, plain: bool) -> u64 {
        if plain {
            self.forget(|seen| (seen.0, seen.1) == (thread, ledger));
            let seen = self.ledgers[ledger].clone();
            self.looked.push((thread, ledger, seen));
            // Which thread looked first says nothing.
            self.looked.sort_by_key(|seen| (seen.0, seen.1));
        }
        self.ledgers[ledger].find(key)
    }

    /// Writes; who was entered there before, or 0.
    pub(crate) fn write(
        &mut self,
        thread: u16,
        ledger: usize,
        key: LedgerKey,
        write: LedgerWrite,
    ) -> u64 {
        let is_it = |seen: &(u16, usize, AddressMap)| (seen.0, seen.1) == (thread, ledger);
        if let Some(at) = self.looked.iter().position(is_it) {
            let (_, _, seen) = self.looked.remove(at);
            self.ledgers[ledger] = seen;
        }
        match write {
            LedgerWrite::Insert(buffer) => self.ledgers[ledger].insert(key, buffer),
            LedgerWrite::Erase => self.ledgers[ledger].erase(key),
        }
    }

    /// The thread's program has ended: what it looked up is forgotten.
    pub(crate) fn ended(&mut self, thread: u16) {
        self.forget(|seen| seen.0 == thread);
    }

    fn forget(&mut self, which: impl Fn(&(u16, usize, AddressMap)) -> bool) {
        self.looked.retain(|seen| !which(seen));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: LedgerKey = (0, 0, 64);
    const THERE: LedgerKey = (0, 0, 128);

    #[test]
    fn a_write_into_what_was_looked_up_loses_what_others_wrote_since() {
        for (plain, left) in [(true, 1), (false, 2)] {
            let mut ledgers = Ledgers::new(1);
            ledgers.find(0, 0, HERE, plain);
            ledgers.find(1, 0, THERE, plain);
            assert_eq!(ledgers.write(0, 0, HERE, LedgerWrite::Insert(1)), 0);
            assert_eq!(ledgers.write(1, 0, THERE, LedgerWrite::Insert(2)), 0);
            assert_eq!(ledgers.get(0).entries().len(), left);
            assert!(ledgers.looked().is_empty());
        }
    }

    #[test]
    fn an_address_that_is_taken_is_kept() {
        let mut ledgers = Ledgers::new(1);
        assert_eq!(ledgers.write(0, 0, HERE, LedgerWrite::Insert(7)), 0);
        assert_eq!(ledgers.write(1, 0, HERE, LedgerWrite::Insert(8)), 7);
        assert_eq!(ledgers.get(0).find(HERE), 7);
        assert_eq!(ledgers.write(1, 0, HERE, LedgerWrite::Erase), 7);
        assert_eq!(ledgers.write(1, 0, HERE, LedgerWrite::Erase), 0);
    }
}
