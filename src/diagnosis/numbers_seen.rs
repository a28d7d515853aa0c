//! Numbers that were seen: a set of counted numbers, with gaps or without, in bounded memory.

use std::collections::BTreeMap;

/// Words of a block.
const WORDS: usize = 8;
/// Numbers of a block.
const BLOCK: u64 = 64 * WORDS as u64;
/// Blocks that are kept: about a million numbers. What is below counts as seen.
const MAX_BLOCKS: usize = 1 << 11;

/// Whether a number was seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NumberSeen {
    /// It is new, and higher than all before.
    Highest,
    /// It is new.
    Between,
    /// It was seen, or is lower than what is remembered, by a million.
    Again,
}

/// The numbers, one bit each.
#[derive(Clone, Debug, Default)]
pub(super) struct NumbersSeen {
    blocks: BTreeMap<u64, [u64; WORDS]>,
    /// Blocks below this one are forgotten.
    floor: u64,
    highest: Option<u64>,
}

impl NumbersSeen {
    /// Takes a number.
    pub(super) fn insert(&mut self, number: u64) -> NumberSeen {
        let (block, word, bit) = place(number);
        if block < self.floor {
            return NumberSeen::Again;
        }
        let words = self.blocks.entry(block).or_default();
        if words[word] & bit != 0 {
            return NumberSeen::Again;
        }
        words[word] |= bit;
        if self.blocks.len() > MAX_BLOCKS
            && let Some((lowest, _)) = self.blocks.pop_first()
        {
            self.floor = lowest + 1;
        }
        if self.highest.is_some_and(|highest| number < highest) {
            return NumberSeen::Between;
        }
        self.highest = Some(number);
        NumberSeen::Highest
    }

    /// Whether it was seen.
    pub(super) fn contains(&self, number: u64) -> bool {
        let (block, word, bit) = place(number);
        let words = self.blocks.get(&block);
        block < self.floor || words.is_some_and(|words| words[word] & bit != 0)
    }
}

/// The block, the word in it and the bit in that.
fn place(number: u64) -> (u64, usize, u64) {
    let word = (number % BLOCK) / 64;
    (number / BLOCK, word as usize, 1 << (number % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_out_of_order_are_new_once_and_again_after() {
        let mut seen = NumbersSeen::default();
        for number in [5, 1, 3, 2, 4, 900, 7, 6] {
            assert_ne!(seen.insert(number), NumberSeen::Again, "{number}");
        }
        for number in [1, 4, 7, 900] {
            assert_eq!(seen.insert(number), NumberSeen::Again, "{number}");
            assert!(seen.contains(number));
        }
        assert!(!seen.contains(8));
        assert_eq!(seen.insert(899), NumberSeen::Between);
        assert_eq!(seen.insert(u64::MAX), NumberSeen::Highest);
    }

    #[test]
    fn what_is_lower_than_what_is_remembered_counts_as_seen() {
        let mut seen = NumbersSeen::default();
        for block in 1..=1 + MAX_BLOCKS as u64 {
            seen.insert(block * BLOCK);
        }
        assert_eq!(seen.insert(3), NumberSeen::Again);
        assert!(seen.contains(BLOCK + 1));
        assert_eq!(seen.insert(2 * BLOCK + 1), NumberSeen::Between);
    }
}
