//! Cases about what a message is about: keys that are used again, by the same process or another.
//!
//! *Shared keys.* Two processes may name one address of one device. What is expected holds for
//! servers that keep a buffer a process and for servers that count references alike: what a process
//! has allocated and not released shows, with its size.

use super::bench::{Bench, Change, DRAM, other_pid};
use super::{Case, Trouble};
use crate::tracking::MessageKind;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "reused-size",
        about: "the size of a re-used key ignored",
        sent: "ALLOC of a key (4,096 B), ALLOC of it again (8,192 B), FREE",
        expected: "+8,192 B after the second ALLOC: the newest says what is there; as before after the FREE",
        run: reused_size,
    },
    Case {
        name: "reused-type",
        about: "the type of a re-used key ignored: DRAM and L1 are address spaces of their own",
        sent: "ALLOC of an address in DRAM (4,096 B), ALLOC of the same address in L1 (8,192 B), FREE of each",
        expected: "DRAM +4,096 B and L1 +8,192 B; as before at the end",
        run: reused_type,
    },
    Case {
        name: "type-2",
        about: "buffer type 2 in a total of its neighbours: it is SYSTEM_MEMORY from C++ and L1_SMALL from Python",
        sent: "ALLOC of type 2 (4,096 B), FREE",
        expected: "L1_SMALL +4,096 B, or in no total; as before after the FREE",
        run: type_2,
    },
    Case {
        name: "foreign-free",
        about: "one client's FREE releasing another's buffer",
        sent: "ALLOC by one process (4,096 B), FREE of it by another that never allocated it, FREE by the first",
        expected: "+4,096 B until its owner releases it",
        run: foreign_free,
    },
    Case {
        name: "shared-key",
        about: "one client's FREE releasing another's buffer: two processes hold one key",
        sent: "ALLOC of one key by two processes (4,096 B and 8,192 B), FREE by the first, FREE by the second",
        expected: "+8,192 B when the first has released it, which is the second's; as before at the end",
        run: shared_key,
    },
];

fn reused_size(bench: &mut Bench<'_>) -> Result<String, Trouble> {
    let mut session = bench.open()?;
    let address = bench.address();
    for (size_bytes, when) in [(4096, "the first ALLOC"), (8192, "the second ALLOC")] {
        let alloc = bench.alloc(&session, address, size_bytes);
        bench.send(&mut session, &[alloc])?;
        bench.expect(&mut session, when, Change::dram(size_bytes))?;
    }
    let free = bench.free(&session, address);
    bench.send(&mut session, &[free])?;
    bench.expect(&mut session, "the FREE", Change::default())?;
    Ok("+4,096 B, then +8,192 B, then as before".to_owned())
}

fn reused_type(bench: &mut Bench<'_>) -> Result<String, Trouble> {
    const L1: u8 = 1;
    let mut session = bench.open()?;
    let address = bench.address();
    let allocs = [(DRAM, 4096), (L1, 8192)].map(|(buffer_type, size_bytes)| {
        bench.message(
            &session,
            MessageKind::Alloc,
            address,
            size_bytes,
            buffer_type,
        )
    });
    bench.send(&mut session, &allocs)?;
    let both = Change {
        l1: 8192,
        ..Change::dram(4096)
    };
    bench.expect(&mut session, "both ALLOCs", both)?;
    let frees = [DRAM, L1]
        .map(|buffer_type| bench.message(&session, MessageKind::Free, address, 0, buffer_type));
    bench.send(&mut session, &frees)?;
    bench.expect(&mut session, "two FREEs", Change::default())?;
    Ok("DRAM +4,096 B and L1 +8,192 B, then as before".to_owned())
}

fn type_2(bench: &mut Bench<'_>) -> Result<String, Trouble> {
    let mut session = bench.open()?;
    let address = bench.address();
    let alloc = bench.message(&session, MessageKind::Alloc, address, 4096, 2);
    bench.send(&mut session, &[alloc])?;
    let seen = bench.change(&mut session)?;
    let as_small = Change {
        l1_small: 4096,
        ..Change::default()
    };
    if seen != as_small && seen != Change::default() {
        return Err(Trouble::Failed(format!(
            "after the ALLOC: {seen} (expected: {as_small}, or in no total)"
        )));
    }
    let free = bench.message(&session, MessageKind::Free, address, 0, 2);
    bench.send(&mut session, &[free])?;
    bench.expect(&mut session, "the FREE", Change::default())?;
    let how = if seen == as_small {
        "L1_SMALL +4,096 B"
    } else {
        "in no total"
    };
    Ok(format!("{how}, then as before"))
}

fn foreign_free(bench: &mut Bench<'_>) -> Result<String, Trouble> {
    let mut owner = bench.open()?;
    let mut other = bench.open_as(bench.site.layout, other_pid())?;
    let address = bench.address();
    let alloc = bench.alloc(&owner, address, 4096);
    bench.send(&mut owner, &[alloc])?;
    bench.expect(&mut owner, "the ALLOC", Change::dram(4096))?;
    let free = bench.free(&other, address);
    bench.send(&mut other, &[free])?;
    let when = "a FREE by a process that never allocated it";
    bench.expect(&mut other, when, Change::dram(4096))?;
    let free = bench.free(&owner, address);
    bench.send(&mut owner, &[free])?;
    bench.expect(&mut owner, "the owner's FREE", Change::default())?;
    Ok("+4,096 B until its owner released it".to_owned())
}

fn shared_key(bench: &mut Bench<'_>) -> Result<String, Trouble> {
    let mut first = bench.open()?;
    let mut second = bench.open_as(bench.site.layout, other_pid())?;
    let address = bench.address();
    let alloc = bench.alloc(&first, address, 4096);
    bench.send(&mut first, &[alloc])?;
    bench.expect(&mut first, "ALLOC by the first", Change::dram(4096))?;
    let alloc = bench.alloc(&second, address, 8192);
    bench.send(&mut second, &[alloc])?;
    let shown = bench.change(&mut second)?;
    let free = bench.free(&first, address);
    bench.send(&mut first, &[free])?;
    let when = "ALLOC by both and FREE by the first";
    bench.expect(&mut first, when, Change::dram(8192))?;
    let free = bench.free(&second, address);
    bench.send(&mut second, &[free])?;
    bench.expect(&mut second, "FREE by both", Change::default())?;
    Ok(format!("both: {shown}; then +8,192 B, then as before"))
}
