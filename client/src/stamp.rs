//! Sequence numbers: one count a (process, server, device), from 1, without a lock.
//!
//! A server that puts messages in order counts per process and device, not per connection. So the
//! clients of one process to one server share their counts, and a count outlives the client that
//! began it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Counts of 256 devices.
type Page = Box<[AtomicU64; 256]>;

/// The counts of one process towards one server, for every device that has an id of 16 bits.
#[derive(Debug)]
pub struct Stamps {
    pages: [OnceLock<Page>; 256],
}

impl Stamps {
    /// The counts towards the server at `path`; the same for every call from this process.
    pub fn of(path: &Path) -> Arc<Stamps> {
        static COUNTS: Mutex<BTreeMap<(u32, PathBuf), Arc<Stamps>>> = Mutex::new(BTreeMap::new());
        // One server may go by several names.
        let name = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        // The map is whole after every statement that changes it.
        let mut counts = COUNTS.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = counts
            .entry((std::process::id(), name))
            .or_insert_with(|| Arc::new(Stamps::new()));
        Arc::clone(stamps)
    }

    fn new() -> Stamps {
        Stamps {
            pages: [const { OnceLock::new() }; 256],
        }
    }

    /// The next number of `device`.
    pub fn next(&self, device: u16) -> u64 {
        let [page, index] = device.to_be_bytes().map(usize::from);
        let page = self.pages[page].get_or_init(|| Box::new([const { AtomicU64::new(0) }; 256]));
        // The caller's lock orders what the numbers stand for; here only no number may come twice.
        page[index].fetch_add(1, Ordering::Relaxed) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_device_has_a_count_of_its_own_from_1() {
        let stamps = Stamps::new();
        assert_eq!(
            [stamps.next(0), stamps.next(0), stamps.next(u16::MAX)],
            [1, 2, 1]
        );
        assert_eq!(
            [stamps.next(256), stamps.next(1), stamps.next(0)],
            [1, 1, 3]
        );
    }

    #[test]
    fn clients_of_one_server_share_its_counts() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (path, other) = (dir.path().join("s"), dir.path().join("t"));
        std::fs::write(&path, "").expect("a file");
        let detour = dir.path().join(".").join("s");
        assert_eq!(Stamps::of(&path).next(3), 1);
        assert_eq!(Stamps::of(&detour).next(3), 2);
        assert_eq!(Stamps::of(&other).next(3), 1);
    }
}
