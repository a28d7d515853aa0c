//! System profiles: how many devices a system has, and the shape of their memories.
//!
//! The figures of the named systems are modelled on Wormhole boards and are realistic, not exact:
//! what the runtime reserves for itself varies with its version. Nothing but sizes is modelled: no
//! topology, no speed.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::Memory;
use super::memory::{Geometries, MemoryGeometry};

/// A system by name: `n150`, `n300`, `t3k`, `galaxy`, `tg`, or `custom:DEVICESxBYTES` for
/// exploration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Profile {
    /// One device.
    N150,
    /// Two devices.
    N300,
    /// Eight devices.
    T3k,
    /// 32 devices.
    Galaxy,
    /// A galaxy and its four gateways: 36 devices.
    Tg,
    /// Devices whose memories have one small bank each, all at the same addresses.
    Custom {
        /// Number of devices; not zero.
        devices: u16,
        /// Size of each memory; a positive multiple of [`CUSTOM_ALIGNMENT_BYTES`].
        bank_bytes: u32,
    },
}

/// Alignment, least buffer and lowest address (so that no address is 0) in the memories of
/// [`Profile::Custom`].
pub(crate) const CUSTOM_ALIGNMENT_BYTES: u32 = 32;

impl Profile {
    /// The named systems.
    pub(crate) const NAMED: [Profile; 5] = [
        Profile::N150,
        Profile::N300,
        Profile::T3k,
        Profile::Galaxy,
        Profile::Tg,
    ];

    /// Number of devices; never 0.
    pub(crate) fn devices(&self) -> u16 {
        match *self {
            Profile::N150 => 1,
            Profile::N300 => 2,
            Profile::T3k => 8,
            Profile::Galaxy => 32,
            Profile::Tg => 36,
            Profile::Custom { devices, .. } => devices,
        }
    }

    /// The shape of each memory of each device.
    pub(crate) fn geometries(&self) -> Geometries {
        let cores = match *self {
            Profile::N150 | Profile::Galaxy | Profile::Tg => 72,
            Profile::N300 | Profile::T3k => 64,
            Profile::Custom { bank_bytes, .. } => return [custom(bank_bytes); 4],
        };
        Memory::ALL.map(|memory| wormhole(memory, cores))
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Profile::N150 => f.write_str("n150"),
            Profile::N300 => f.write_str("n300"),
            Profile::T3k => f.write_str("t3k"),
            Profile::Galaxy => f.write_str("galaxy"),
            Profile::Tg => f.write_str("tg"),
            Profile::Custom {
                devices,
                bank_bytes,
            } => write!(f, "custom:{devices}x{bank_bytes}"),
        }
    }
}

/// The text names no profile.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "`{0}` is no profile: use n150, n300, t3k, galaxy, tg, or custom:DEVICESxBYTES with at least one device and a \
     positive multiple of {CUSTOM_ALIGNMENT_BYTES} bytes"
)]
pub struct UnknownProfile(pub String);

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(text: &str) -> Result<Profile, UnknownProfile> {
        let named = Profile::NAMED
            .into_iter()
            .find(|profile| profile.to_string() == text);
        named
            .or_else(|| parse_custom(text))
            .ok_or_else(|| UnknownProfile(text.to_owned()))
    }
}

serde_as_text!(Profile);

const MIB: u64 = 1 << 20;
const DRAM_CHANNELS: u32 = 12;
const DRAM_CHANNEL_BYTES: u64 = 1024 * MIB;
/// At the top of each DRAM channel.
const TRACE_REGION_BYTES: u64 = 32 * MIB;
const L1_CORE_BYTES: u64 = 1464 << 10;
/// Firmware, mailboxes and kernels, at the bottom of each core's L1.
const L1_RESERVED_BYTES: u64 = 100 << 10;
/// At the top of each core's L1.
const L1_SMALL_BYTES: u64 = 32 << 10;

/// The shape of `memory` on a Wormhole with that many worker cores.
fn wormhole(memory: Memory, cores: u32) -> MemoryGeometry {
    let (banks, base_address, end, alignment_bytes, page_bytes) = match memory {
        Memory::Dram => (
            DRAM_CHANNELS,
            32,
            DRAM_CHANNEL_BYTES - TRACE_REGION_BYTES,
            32,
            2048,
        ),
        Memory::Trace => (
            DRAM_CHANNELS,
            DRAM_CHANNEL_BYTES - TRACE_REGION_BYTES,
            DRAM_CHANNEL_BYTES,
            32,
            2048,
        ),
        Memory::L1 => (
            cores,
            L1_RESERVED_BYTES,
            L1_CORE_BYTES - L1_SMALL_BYTES,
            16,
            2048,
        ),
        Memory::L1Small => (cores, L1_CORE_BYTES - L1_SMALL_BYTES, L1_CORE_BYTES, 16, 64),
    };
    MemoryGeometry {
        banks,
        bank_bytes: end - base_address,
        base_address,
        alignment_bytes,
        page_bytes,
    }
}

fn custom(bank_bytes: u32) -> MemoryGeometry {
    let alignment_bytes = u64::from(CUSTOM_ALIGNMENT_BYTES);
    MemoryGeometry {
        banks: 1,
        bank_bytes: u64::from(bank_bytes),
        base_address: alignment_bytes,
        alignment_bytes,
        page_bytes: alignment_bytes,
    }
}

fn parse_custom(text: &str) -> Option<Profile> {
    let (devices, bank_bytes) = text.strip_prefix("custom:")?.split_once('x')?;
    let (devices, bank_bytes) = (devices.parse().ok()?, bank_bytes.parse().ok()?);
    let possible =
        devices > 0 && bank_bytes > 0 && u32::is_multiple_of(bank_bytes, CUSTOM_ALIGNMENT_BYTES);
    possible.then_some(Profile::Custom {
        devices,
        bank_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DeviceId;
    use crate::device::config::{Direction, Policy};
    use crate::device::memory::Device;

    #[test]
    fn named_systems_have_their_number_of_devices() {
        let devices = Profile::NAMED.map(|profile| profile.devices());
        assert_eq!(devices, [1, 2, 8, 32, 36]);
    }

    #[test]
    fn every_profile_makes_devices_of_every_policy() {
        let custom = Profile::Custom {
            devices: 3,
            bank_bytes: 128,
        };
        for profile in Profile::NAMED.into_iter().chain([custom]) {
            for policy in Policy::ALL {
                let mut device =
                    Device::new(DeviceId(0), &profile.geometries(), policy).expect("valid");
                for memory in Memory::ALL {
                    let geometry = profile.geometries()[memory as usize];
                    let half_bytes = geometry.bank_bytes * u64::from(geometry.banks) / 2;
                    let whole = device.allocate(memory, half_bytes, Direction::BottomUp);
                    assert_eq!(
                        whole.expect("fits").address,
                        geometry.base_address,
                        "{profile} {memory:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn names_round_trip_through_text_and_serde() {
        for profile in Profile::NAMED.into_iter().chain([Profile::Custom {
            devices: 9,
            bank_bytes: 4096,
        }]) {
            assert_eq!(profile.to_string().parse(), Ok(profile));
            let json = serde_json::to_string(&profile).expect("serialises");
            assert_eq!(json, format!("\"{profile}\""));
            assert_eq!(
                serde_json::from_str::<Profile>(&json).expect("parses"),
                profile
            );
        }
    }

    #[test]
    fn impossible_profiles_are_refused() {
        for text in [
            "",
            "N150",
            "custom",
            "custom:2",
            "custom:0x64",
            "custom:2x0",
            "custom:2x33",
            "custom:70000x64",
        ] {
            assert_eq!(
                text.parse::<Profile>(),
                Err(UnknownProfile(text.to_owned()))
            );
        }
    }
}
