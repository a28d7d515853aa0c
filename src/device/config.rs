//! What an allocator is told: where its address space lies, how sizes are rounded, and how it
//! chooses.
//!
//! [`AllocatorConfig`] is the text form that scenarios hold; [`Space`] is the checked form that
//! allocators work with. Not for anything that changes while an allocator runs.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::allocator::{AllocError, Block};

/// Addresses stay below this bound, so that the sum of an address and a size never wraps.
pub(crate) const ADDRESS_LIMIT: u64 = 1 << 62;

/// Everything that distinguishes one allocator from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AllocatorConfig {
    /// How a free range is chosen.
    #[serde(default)]
    pub policy: Policy,
    /// The end of the address space from which to allocate, unless an allocation names its own.
    #[serde(default)]
    pub direction: Direction,
    /// Addresses and reserved sizes are multiples of this power of two.
    pub alignment_bytes: u64,
    /// The least that an allocation reserves (rounded up to the alignment).
    pub minimum_bytes: u64,
    /// The lowest address; a multiple of the alignment.
    pub base_address: u64,
    /// Bytes managed, from the base upwards; a multiple of the alignment and not zero.
    pub capacity_bytes: u64,
}

/// How an allocator chooses among the free ranges that are large enough.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    arbitrary::Arbitrary,
)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// [`Fit::Best`] in a [`FreeList`](super::free_list::FreeList).
    #[default]
    BestFit,
    /// [`Fit::First`] in a [`FreeList`](super::free_list::FreeList).
    FirstFit,
    /// [`Fit::Segregated`] in a [`FreeList`](super::free_list::FreeList).
    Segregated,
    /// The third-party allocator of crate `range-alloc`: best-fit, always bottom-up.
    Range,
}

impl Policy {
    /// Every policy.
    pub(crate) const ALL: [Policy; 4] = [
        Policy::BestFit,
        Policy::FirstFit,
        Policy::Segregated,
        Policy::Range,
    ];
}

/// How a [`FreeList`](super::free_list::FreeList) chooses. Among equals, the first in the direction
/// of the allocation wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fit {
    /// The smallest free range that is large enough.
    Best,
    /// The first free range that is large enough.
    First,
    /// The first one that is large enough in the lowest power-of-two size class that has one.
    Segregated,
}

/// From which end of the address space, and of the chosen free range, to allocate.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    arbitrary::Arbitrary,
)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Low addresses first.
    #[default]
    BottomUp,
    /// High addresses first.
    TopDown,
}

/// Why a configuration describes no allocator.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// The alignment is zero or not a power of two.
    #[error("alignment {0} is not a power of two")]
    Alignment(u64),
    /// The base is not a multiple of the alignment.
    #[error("base address {base_address:#x} is not a multiple of the alignment {alignment_bytes}")]
    Base {
        /// The offending base.
        base_address: u64,
        /// The alignment it breaks.
        alignment_bytes: u64,
    },
    /// The capacity is zero or not a multiple of the alignment.
    #[error(
        "capacity {capacity_bytes} is not a positive multiple of the alignment {alignment_bytes}"
    )]
    Capacity {
        /// The offending capacity.
        capacity_bytes: u64,
        /// The alignment it breaks.
        alignment_bytes: u64,
    },
    /// The address space or the minimum size reaches beyond [`ADDRESS_LIMIT`].
    #[error("the address space or the minimum size reaches beyond {ADDRESS_LIMIT:#x}")]
    TooLarge,
    /// A memory has no banks, or pages of no bytes.
    #[error("a memory of {banks} banks with pages of {page_bytes} bytes holds nothing")]
    Geometry {
        /// Number of banks.
        banks: u32,
        /// Bytes in a page.
        page_bytes: u64,
    },
}

/// A checked address space: the range, the alignment, and the rounding of sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Space {
    base: u64,
    end: u64,
    alignment_bytes: u64,
    /// A positive multiple of the alignment.
    minimum_bytes: u64,
}

impl Space {
    /// Checks the space that `config` describes.
    pub(crate) fn new(config: &AllocatorConfig) -> Result<Space, ConfigError> {
        let AllocatorConfig {
            alignment_bytes,
            minimum_bytes,
            base_address,
            capacity_bytes,
            ..
        } = *config;
        if !alignment_bytes.is_power_of_two() {
            return Err(ConfigError::Alignment(alignment_bytes));
        }
        let end = base_address
            .checked_add(capacity_bytes)
            .filter(|end| *end <= ADDRESS_LIMIT);
        let (Some(end), true) = (
            end,
            minimum_bytes <= ADDRESS_LIMIT && alignment_bytes <= ADDRESS_LIMIT,
        ) else {
            return Err(ConfigError::TooLarge);
        };
        if !base_address.is_multiple_of(alignment_bytes) {
            return Err(ConfigError::Base {
                base_address,
                alignment_bytes,
            });
        }
        if capacity_bytes == 0 || !capacity_bytes.is_multiple_of(alignment_bytes) {
            return Err(ConfigError::Capacity {
                capacity_bytes,
                alignment_bytes,
            });
        }
        let minimum_bytes = minimum_bytes.max(1).next_multiple_of(alignment_bytes);
        Ok(Space {
            base: base_address,
            end,
            alignment_bytes,
            minimum_bytes,
        })
    }

    /// The lowest address.
    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    /// One past the highest address.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Bytes between base and end.
    pub(crate) fn capacity_bytes(&self) -> u64 {
        self.end - self.base
    }

    /// What an allocation of `size_bytes` reserves: at least the minimum (also for size zero, so
    /// that no two live allocations share an address), rounded up to the alignment. `None` if that
    /// is more than the whole space.
    #[inline]
    pub(crate) fn reserved_bytes(&self, size_bytes: u64) -> Option<u64> {
        let size_bytes = size_bytes.max(self.minimum_bytes);
        if size_bytes > self.capacity_bytes() {
            return None;
        }
        // At most the capacity, because the capacity is a multiple of the alignment.
        Some((size_bytes + self.alignment_bytes - 1) & !(self.alignment_bytes - 1))
    }

    /// The block that `size_bytes` at `address` would occupy, if it is aligned and in range.
    pub(crate) fn block_at(&self, address: u64, size_bytes: u64) -> Result<Block, AllocError> {
        if !address.is_multiple_of(self.alignment_bytes) {
            return Err(AllocError::Misaligned {
                address,
                alignment_bytes: self.alignment_bytes,
            });
        }
        self.reserved_bytes(size_bytes)
            .filter(|reserved| address >= self.base && address <= self.end - reserved)
            .map(|reserved| Block {
                address,
                size_bytes: reserved,
            })
            .ok_or(AllocError::OutOfRange {
                address,
                size_bytes,
                base_address: self.base,
                end_address: self.end,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: AllocatorConfig = AllocatorConfig {
        policy: Policy::BestFit,
        direction: Direction::BottomUp,
        alignment_bytes: 32,
        minimum_bytes: 40,
        base_address: 64,
        capacity_bytes: 320,
    };

    #[test]
    fn sizes_round_up_to_the_minimum_and_the_alignment() {
        let space = Space::new(&CONFIG).expect("valid");
        assert_eq!(space.reserved_bytes(0), Some(64));
        assert_eq!(space.reserved_bytes(64), Some(64));
        assert_eq!(space.reserved_bytes(65), Some(96));
        assert_eq!(space.reserved_bytes(320), Some(320));
        assert_eq!(space.reserved_bytes(321), None);
        assert_eq!(space.reserved_bytes(u64::MAX), None);
    }

    #[test]
    fn impossible_configurations_are_refused_by_name() {
        let check = |config: AllocatorConfig| Space::new(&config).expect_err("invalid");
        assert_eq!(
            check(AllocatorConfig {
                alignment_bytes: 0,
                ..CONFIG
            }),
            ConfigError::Alignment(0)
        );
        assert_eq!(
            check(AllocatorConfig {
                alignment_bytes: 24,
                ..CONFIG
            }),
            ConfigError::Alignment(24)
        );
        assert!(matches!(
            check(AllocatorConfig {
                base_address: 65,
                ..CONFIG
            }),
            ConfigError::Base { .. }
        ));
        assert!(matches!(
            check(AllocatorConfig {
                capacity_bytes: 0,
                ..CONFIG
            }),
            ConfigError::Capacity { .. }
        ));
        assert!(matches!(
            check(AllocatorConfig {
                capacity_bytes: 33,
                ..CONFIG
            }),
            ConfigError::Capacity { .. }
        ));
        assert_eq!(
            check(AllocatorConfig {
                capacity_bytes: u64::MAX,
                ..CONFIG
            }),
            ConfigError::TooLarge
        );
        assert_eq!(
            check(AllocatorConfig {
                minimum_bytes: u64::MAX,
                ..CONFIG
            }),
            ConfigError::TooLarge
        );
    }

    #[test]
    fn a_minimum_above_the_capacity_leaves_nothing_to_allocate() {
        let space = Space::new(&AllocatorConfig {
            minimum_bytes: 1000,
            ..CONFIG
        })
        .expect("valid");
        assert_eq!(space.reserved_bytes(1), None);
    }

    #[test]
    fn policies_read_and_write_their_kebab_case_names() {
        let text = "policy = \"first-fit\"\ndirection = \"top-down\"\nalignment-bytes = 32\nminimum-bytes = 40\n\
                    base-address = 64\ncapacity-bytes = 320\n";
        let config: AllocatorConfig = toml::from_str(text).expect("valid");
        assert_eq!(
            config,
            AllocatorConfig {
                policy: Policy::FirstFit,
                direction: Direction::TopDown,
                ..CONFIG
            }
        );
        assert_eq!(toml::to_string(&config).expect("serialises"), text);
        let names: Vec<String> = Policy::ALL
            .iter()
            .map(|policy| serde_json::to_string(policy).expect("serialises"))
            .collect();
        assert_eq!(
            names,
            [
                "\"best-fit\"",
                "\"first-fit\"",
                "\"segregated\"",
                "\"range\""
            ]
        );
    }
}
