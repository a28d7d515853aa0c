//! Cases about figures that are no index. The last: servers are known to die of them, each by
//! itself, and of one that writes beyond an array it shows later only. Each is a case of its own.

use super::bench::{Bench, Change, DRAM, failed, own_pid};
use super::{Case, Trouble};
use crate::numbers::grouped;
use crate::tracking::wire::DeviceInfo;
use crate::tracking::{Layout, Message, MessageKind};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "device-info",
        about: "device info overwritten by a neighbour id: totals of a device past the last lie where other figures are",
        sent: "DEVICE_INFO_QUERY of devices 0 to 7; ALLOC (2^36-1 B) on devices 8 to 15, the same QUERYs, FREE",
        expected: "the server lives, and says of each device what it said before",
        run: device_info,
    },
    Case {
        name: "device-100",
        about: "no bound on device_id",
        sent: "ALLOC (64 B), QUERY and FREE on device 100",
        expected: ALIVE,
        run: |bench| out_of_bounds(bench, 100),
    },
    Case {
        name: "device-1000",
        about: "no bound on device_id",
        sent: "ALLOC (64 B), QUERY and FREE on device 1000",
        expected: ALIVE,
        run: |bench| out_of_bounds(bench, 1000),
    },
    Case {
        name: "device-65536",
        about: "no bound on device_id",
        sent: "ALLOC (64 B), QUERY and FREE on device 65536",
        expected: ALIVE,
        run: |bench| out_of_bounds(bench, 1 << 16),
    },
    Case {
        name: "device-largest",
        about: "no bound on device_id",
        sent: "ALLOC (64 B), QUERY and FREE on device 2^31-1",
        expected: ALIVE,
        run: |bench| out_of_bounds(bench, i32::MAX),
    },
    Case {
        name: "device-negative",
        about: "no bound on device_id",
        sent: "ALLOC (64 B), QUERY and FREE on device -1",
        expected: ALIVE,
        run: |bench| out_of_bounds(bench, -1),
    },
    Case {
        name: "device-smallest",
        about: "no bound on device_id",
        sent: "ALLOC (64 B), QUERY and FREE on device -2^31",
        expected: ALIVE,
        run: |bench| out_of_bounds(bench, i32::MIN),
    },
];

const ALIVE: &str = "the server lives, and the device under test shows nothing of it";

fn out_of_bounds(bench: &mut Bench<'_>, device: i32) -> Result<String, Trouble> {
    let mut session = bench.open()?;
    let address = bench.address();
    let messages = [
        (MessageKind::Alloc, 64),
        (MessageKind::Query, 0),
        (MessageKind::Free, 0),
    ]
    .map(|(kind, size_bytes)| Message {
        device,
        ..bench.message(&session, kind, address, size_bytes, DRAM)
    });
    // A server may close the connection rather than listen to this: then it does not take all of
    // it.
    let _ = session.write(&session.encode(&messages));
    session.end();
    let when = format!("device {device}");
    let of_device = |trouble| match trouble {
        Trouble::Failed(seen) if !seen.contains(&when) => {
            Trouble::Failed(format!("after {when}: {seen}"))
        }
        other => other,
    };
    let mut other = bench.open().map_err(of_device)?;
    bench
        .expect(&mut other, &when, Change::default())
        .map_err(of_device)?;
    Ok("alive, nothing shown on the device under test".to_owned())
}

fn device_info(bench: &mut Bench<'_>) -> Result<String, Trouble> {
    const FIRST: i32 = 8;
    /// No bit of a total or a size is 0 by chance.
    const SIZE_BYTES: u64 = (1 << 36) - 1;
    let layout = match bench.site.layout {
        // Their answers say nothing of a device.
        Layout::V72 | Layout::V648 => Layout::V112,
        layout => layout,
    };
    let mut session = bench.open_as(layout, own_pid()).map_err(|_| {
        Trouble::Skipped(format!(
            "answers of the {} layout say nothing of a device, and the server does not answer in the 112 layout",
            bench.site.layout
        ))
    })?;
    let before = infos(bench, layout, FIRST)?;
    let addresses: Vec<u64> = (0..8).map(|_| bench.address()).collect();
    let of = |bench: &Bench<'_>, kind, size_bytes| -> Vec<Message> {
        let message = |(device, address): (i32, &u64)| Message {
            device,
            ..bench.message(&session, kind, *address, size_bytes, DRAM)
        };
        (FIRST..).zip(&addresses).map(message).collect()
    };
    let allocs = of(bench, MessageKind::Alloc, SIZE_BYTES);
    let frees = of(bench, MessageKind::Free, 0);
    // As above: it may not listen to this.
    let _ = session.write(&session.encode(&allocs));
    session.end();
    let after = infos(bench, layout, FIRST)?;
    let mut session = bench.open_as(layout, own_pid())?;
    let _ = session.write(&session.encode(&frees));
    session.end();
    for (old, new) in before.iter().zip(&after) {
        if is_changed(old, new) {
            return Err(Trouble::Failed(format!(
                "after ALLOCs on devices 8 to 15, device {} is another: {} and not {}",
                old.device,
                text(new),
                text(old)
            )));
        }
    }
    Ok("said of devices 0 to 7 what it had said before".to_owned())
}

/// Whether a device is another one now. A server that knows of devices by their messages may have
/// come to know it.
fn is_changed(old: &DeviceInfo, new: &DeviceInfo) -> bool {
    let count = u32::try_from(new.device).is_ok_and(|device| device < new.num_devices);
    let learned = !old.is_available && new.is_available && count;
    let figures = |info: &DeviceInfo| DeviceInfo {
        num_devices: 0,
        ..*info
    };
    !learned && figures(old) != figures(new)
}

/// What the server says of the devices below `end`.
fn infos(bench: &Bench<'_>, layout: Layout, end: i32) -> Result<Vec<DeviceInfo>, Trouble> {
    let mut session = bench.open_as(layout, own_pid())?;
    (0..end)
        .map(|device| {
            let info = session.device_info(device);
            info.map_err(|error| failed("DEVICE_INFO_QUERY", &error))
        })
        .collect()
}

fn text(info: &DeviceInfo) -> String {
    format!(
        "DRAM {} B, L1 {} B, architecture {}, {} channels, {}",
        grouped(info.total_dram_bytes),
        grouped(info.total_l1_bytes),
        info.arch,
        info.num_dram_channels,
        if info.is_available {
            "available"
        } else {
            "not available"
        }
    )
}
