//! Cases about figures that are no index. The last: servers are known to die of them.

use super::bench::{Bench, Change, DRAM};
use super::{Case, Trouble};
use crate::tracking::{Message, MessageKind};

pub(super) const CASES: &[Case] = &[Case {
    name: "device-bounds",
    about: "no bound on device_id",
    sent: "ALLOC (64 B), QUERY and FREE on devices 100, -1, 65536, 2^31-1 and -2^31, on a connection each",
    expected: "the server lives, and the device under test shows nothing of it",
    run: device_bounds,
}];

fn device_bounds(bench: &mut Bench<'_>) -> Result<String, Trouble> {
    for device in [100, -1, 1 << 16, i32::MAX, i32::MIN] {
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
        // A server may close the connection rather than listen to this: then it does not take all
        // of it.
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
    }
    Ok("alive after all five, nothing shown on the device under test".to_owned())
}
