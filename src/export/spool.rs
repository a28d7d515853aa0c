//! Records that wait for their turn, a queue a key: a format that has one key's records after the
//! other's is written from an input that has them mixed.
//!
//! What waits is in a temporary file. Memory holds a block a key and where its other blocks are.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom, Write};

use tempfile::SpooledTempFile;

/// What is kept in memory before there is a file.
const IN_MEMORY_BYTES: usize = 4 << 20;
/// A key's records wait in memory until there are so many bytes of them.
const BLOCK_BYTES: usize = 16 << 10;

/// Queues of records by key.
pub(super) struct Spool<K> {
    file: SpooledTempFile,
    at: u64,
    queues: BTreeMap<K, Queue>,
}

#[derive(Default)]
struct Queue {
    open: Vec<u8>,
    blocks: Vec<(u64, u32)>,
}

impl<K: Ord + Copy> Spool<K> {
    pub(super) fn new() -> Spool<K> {
        Spool {
            file: SpooledTempFile::new(IN_MEMORY_BYTES),
            at: 0,
            queues: BTreeMap::new(),
        }
    }

    /// Appends a record to the queue of `key`.
    pub(super) fn push(&mut self, key: K, record: &[u8]) -> io::Result<()> {
        let queue = self.queues.entry(key).or_default();
        queue.open.extend_from_slice(record);
        if queue.open.len() >= BLOCK_BYTES {
            self.file.write_all(&queue.open)?;
            queue.blocks.push((self.at, queue.open.len() as u32));
            self.at += queue.open.len() as u64;
            queue.open.clear();
        }
        Ok(())
    }

    /// The keys, ascending.
    pub(super) fn keys(&self) -> impl Iterator<Item = K> + '_ {
        self.queues.keys().copied()
    }

    /// Hands the records of `key` to `take`, in pieces of whole records, in their order.
    pub(super) fn read<E: From<io::Error>>(
        &mut self,
        key: K,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(queue) = self.queues.get(&key) else {
            return Ok(());
        };
        let mut piece = Vec::new();
        for (at, length) in &queue.blocks {
            piece.resize(*length as usize, 0);
            self.file.seek(SeekFrom::Start(*at))?;
            self.file.read_exact(&mut piece)?;
            take(&piece)?;
        }
        take(&queue.open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_gets_its_own_records_in_order() {
        let mut spool = Spool::new();
        for number in 0..30_000_u32 {
            spool
                .push(number % 3, &number.to_le_bytes())
                .expect("writable");
        }
        assert_eq!(spool.keys().collect::<Vec<_>>(), [0, 1, 2]);
        for key in [2, 0, 1] {
            let mut expected = (0..30_000).filter(|number| number % 3 == key);
            spool
                .read(key, |piece| {
                    for bytes in piece.chunks(4) {
                        let number = u32::from_le_bytes(bytes.try_into().expect("whole"));
                        assert_eq!(Some(number), expected.next());
                    }
                    io::Result::Ok(())
                })
                .expect("readable");
            assert_eq!(expected.next(), None);
        }
    }
}
