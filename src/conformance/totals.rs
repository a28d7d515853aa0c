//! Cases about sums: what is released is what was allocated, never more, and no sum wraps.

use super::bench::{Bench, Change, DRAM, failed, own_pid};
use super::{Case, Trouble};
use crate::numbers::signed;
use crate::tracking::MessageKind::{self, CbAlloc, CbFree, KernelLoad, KernelUnload};
use crate::tracking::{Layout, Message};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "wrapping-sizes",
        about: "sizes that wrap",
        sent: "ALLOC (64 B), then ALLOC and FREE of 2^64-1, 2^64-64 and 2^63 B, and of 2^63 B twice at once",
        expected: "each is refused, or shown exactly or as the largest total there is; +64 B after its FREE",
        run: wrapping_sizes,
    },
    Case {
        name: "underflow",
        about: "totals that underflow",
        sent: "FREE of an unknown key; ALLOC (4,096 B) of it, FREE, FREE twice more; FREE of unknown keys that states 4096 and 2^40 B",
        expected: "totals never below where they began",
        run: underflow,
    },
    Case {
        name: "cb-accounting",
        about: "CB accounting: releases are of an id, with the size of its ALLOC, whatever they say",
        sent: "CB_ALLOC of two ids (4,096 B, 8,192 B), CB_FREE of the first with size 0, of the second with size 2^40",
        expected: "+12,288 B, +8,192 B, as before",
        run: cb_accounting,
    },
    Case {
        name: "kernel-accounting",
        about: "kernel accounting: unloads are of an id, with the size of its load, whatever they say",
        sent: "KERNEL_LOAD of two ids (4,096 B, 8,192 B), KERNEL_UNLOAD of the first with size 0, of the second with size 2^40",
        expected: "+12,288 B, +8,192 B, as before",
        run: kernel_accounting,
    },
    Case {
        name: "cb-kernel-underflow",
        about: "CB and kernel totals that underflow",
        sent: "CB_FREE and KERNEL_UNLOAD of unknown ids with sizes 0 and 4096; CB_ALLOC (4,096 B), CB_FREE, CB_FREE; kernels alike",
        expected: "totals never below where they began",
        run: cb_kernel_underflow,
    },
];

fn wrapping_sizes(bench: &mut Bench<'_>) -> Result<String, Trouble> {
    let mut session = bench.open()?;
    let witness = bench.address();
    let alloc = bench.alloc(&session, witness, 64);
    bench.send(&mut session, &[alloc])?;
    bench.expect(&mut session, "an ALLOC of 64 B", Change::dram(64))?;
    let mut how = Vec::new();
    for (size_bytes, name, times) in [
        (u64::MAX, "2^64-1 B", 1),
        (u64::MAX - 63, "2^64-64 B", 1),
        (1 << 63, "2^63 B", 1),
        (1 << 63, "2^63 B twice", 2),
    ] {
        let addresses: Vec<u64> = (0..times).map(|_| bench.address()).collect();
        let of = |bench: &Bench<'_>, kind, size_bytes| -> Vec<Message> {
            let message = |address: &u64| bench.message(&session, kind, *address, size_bytes, DRAM);
            addresses.iter().map(message).collect()
        };
        let allocs = of(bench, MessageKind::Alloc, size_bytes);
        let frees = of(bench, MessageKind::Free, 0);
        bench.send(&mut session, &allocs)?;
        let seen = bench.change(&mut session)?;
        // Of several, some may be refused.
        let exact =
            (0..=times).any(|taken| seen.dram == 64 + i128::from(taken) * i128::from(size_bytes));
        if !(exact || bench.is_largest(seen)) {
            return Err(Trouble::Failed(format!(
                "after ALLOC of {name}: {seen} (64 B are live besides)"
            )));
        }
        how.push(if seen.dram == 64 { "refused" } else { "shown" });
        bench.send(&mut session, &frees)?;
        let when = format!("ALLOC and FREE of {name}");
        bench.expect(&mut session, &when, Change::dram(64))?;
    }
    let free = bench.free(&session, witness);
    bench.send(&mut session, &[free])?;
    bench.expect(&mut session, "the last FREE", Change::default())?;
    how.dedup();
    Ok(format!("{}, never wrapped", how.join(" or ")))
}

fn underflow(bench: &mut Bench<'_>) -> Result<String, Trouble> {
    let mut session = bench.open()?;
    let address = bench.address();
    let alloc = bench.alloc(&session, address, 4096);
    let free = bench.free(&session, address);
    for (message, when, shown) in [
        (&free, "FREE of an unknown key", 0),
        (&alloc, "ALLOC of it", 4096),
        (&free, "its FREE", 0),
        (&free, "a second FREE", 0),
        (&free, "a third FREE", 0),
    ] {
        bench.send(&mut session, std::slice::from_ref(message))?;
        bench.expect(&mut session, when, Change::dram(shown))?;
    }
    for (size_bytes, size) in [(4096, "4096"), (1 << 40, "2^40")] {
        let unknown = bench.address();
        let free = bench.message(&session, MessageKind::Free, unknown, size_bytes, DRAM);
        bench.send(&mut session, &[free])?;
        let when = format!("FREE of an unknown key that states {size} B");
        bench.expect(&mut session, &when, Change::default())?;
    }
    Ok("5 FREEs too many, totals never below where they began".to_owned())
}

fn cb_accounting(bench: &mut Bench<'_>) -> Result<String, Trouble> {
    accounting(bench, CbAlloc, CbFree)
}

fn kernel_accounting(bench: &mut Bench<'_>) -> Result<String, Trouble> {
    accounting(bench, KernelLoad, KernelUnload)
}

fn accounting(
    bench: &mut Bench<'_>,
    opens: MessageKind,
    closes: MessageKind,
) -> Result<String, Trouble> {
    let ids = [bench.address(), bench.address()];
    let steps = [
        (opens, ids[0], 4096, 4096),
        (opens, ids[1], 8192, 12288),
        (closes, ids[0], 0, 8192),
        (closes, ids[1], 1 << 40, 0),
    ];
    play(bench, &steps)?;
    Ok("+4,096 B, +12,288 B, +8,192 B, as before".to_owned())
}

fn cb_kernel_underflow(bench: &mut Bench<'_>) -> Result<String, Trouble> {
    for (opens, closes) in [(CbAlloc, CbFree), (KernelLoad, KernelUnload)] {
        let ids = [bench.address(), bench.address()];
        let steps = [
            (closes, ids[0], 0, 0),
            (closes, ids[0], 4096, 0),
            (opens, ids[1], 4096, 4096),
            (closes, ids[1], 0, 0),
            (closes, ids[1], 4096, 0),
        ];
        play(bench, &steps)?;
    }
    Ok("3 releases too many of each, never below where they began".to_owned())
}

/// Sends messages (kind, id, size) about circular buffers or kernels one by one, each with the
/// account that it must leave.
fn play(bench: &mut Bench<'_>, steps: &[(MessageKind, u64, u64, i128)]) -> Result<(), Trouble> {
    let layout = layout_with_accounts(bench)?;
    bench.rebase(layout)?;
    let mut session = bench.open_as(layout, own_pid())?;
    for (number, (kind, id, size_bytes, left)) in (1..).zip(steps.iter().copied()) {
        let message = bench.message(&session, kind, id, size_bytes, DRAM);
        bench.send(&mut session, &[message])?;
        let seen = bench.change(&mut session)?;
        // Whether circular buffers count as L1 too is the server's affair.
        let account = match kind {
            CbAlloc | CbFree => seen.cb,
            _ => seen.kernel,
        };
        if account != left {
            let name = name(kind);
            return Err(Trouble::Failed(format!(
                "after message {number} ({name}, size {size_bytes}): {seen} (expected: {} B of its kind)",
                signed(left)
            )));
        }
    }
    Ok(())
}

fn name(kind: MessageKind) -> &'static str {
    match kind {
        CbAlloc => "CB_ALLOC",
        CbFree => "CB_FREE",
        KernelLoad => "KERNEL_LOAD",
        _ => "KERNEL_UNLOAD",
    }
}

/// A layout that has these messages, and totals of what they are about: the one under test if it
/// has, else the 144-byte one if the server speaks it.
fn layout_with_accounts(bench: &Bench<'_>) -> Result<Layout, Trouble> {
    if matches!(bench.site.layout, Layout::V144 | Layout::Extended) {
        return Ok(bench.site.layout);
    }
    let not_spoken = |_| {
        Trouble::Skipped(format!(
            "the {} layout has no such messages, and the server does not answer in the 144 layout",
            bench.site.layout
        ))
    };
    let mut session = bench.open_as(Layout::V144, own_pid()).map_err(not_spoken)?;
    let unasked = session.unasked_bytes();
    match unasked.map_err(|error| failed("QUERY", &error))? {
        0 => Ok(Layout::V144),
        _ => Err(not_spoken(Trouble::Skipped(String::new()))),
    }
}
