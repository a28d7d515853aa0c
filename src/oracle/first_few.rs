//! The first few of many things that come in any order: what a report lists of millions.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// The first of all that were added, in the order of their keys; no more than so many.
#[derive(Debug)]
pub(crate) struct FirstFew<K, V> {
    most: usize,
    /// The last of them on top.
    kept: BinaryHeap<Keyed<K, V>>,
}

/// A thing that is compared by its key.
#[derive(Debug)]
struct Keyed<K, V>(K, V);

impl<K: Ord, V> FirstFew<K, V> {
    /// None yet, and `most` at the most.
    pub(crate) fn new(most: usize) -> FirstFew<K, V> {
        FirstFew {
            most,
            kept: BinaryHeap::new(),
        }
    }

    pub(crate) fn add(&mut self, key: K, value: V) {
        self.kept.push(Keyed(key, value));
        if self.kept.len() > self.most {
            self.kept.pop();
        }
    }

    /// They, in order.
    pub(crate) fn in_order(self) -> impl Iterator<Item = V> {
        let kept = self.kept.into_sorted_vec().into_iter();
        kept.map(|Keyed(_, value)| value)
    }
}

impl<K: Ord, V> Ord for Keyed<K, V> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

impl<K: Ord, V> PartialOrd for Keyed<K, V> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K: Ord, V> PartialEq for Keyed<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<K: Ord, V> Eq for Keyed<K, V> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_kept_whatever_order_they_come_in() {
        for step in [1, 7, 99] {
            let mut first = FirstFew::new(3);
            for number in 0..100 {
                let key = number * step % 100;
                first.add(key, key.to_string());
            }
            assert_eq!(first.in_order().collect::<Vec<_>>(), ["0", "1", "2"]);
        }
        let mut few = FirstFew::new(3);
        few.add(2, 'b');
        few.add(1, 'a');
        assert_eq!(few.in_order().collect::<Vec<_>>(), ['a', 'b']);
    }
}
