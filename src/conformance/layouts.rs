//! Cases about layouts: answers come in the layout of who asked, also when clients of several
//! layouts are there at once.

use super::bench::{Bench, Change, failed, own_pid, write};
use super::session::{Session, came};
use super::{Case, Trouble};
use crate::tracking::{Layout, MessageKind};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "answers",
        about: "what a server is for: the four totals, in answers of the asking client's layout",
        sent: "a lone QUERY; ALLOC in DRAM, L1, L1_SMALL and TRACE; three QUERYs in one write; their FREEs",
        expected: "a RESPONSE of the layout's size to each QUERY, with the four totals, and nothing else",
        run: answers,
    },
    Case {
        name: "dump",
        about: "a DUMP that is answered: its bytes pass for the answer to the next QUERY",
        sent: "ALLOC (64 B), DUMP_REMAINING, in the 144 and extended layouts DUMP_KERNELS too; QUERY, FREE",
        expected: "no byte for a DUMP, which is for the server's log; +64 B on the same connection, then as before",
        run: dump,
    },
    Case {
        name: "own-layout",
        about: "answers in the client's own layout, whichever of the five it is",
        sent: "a QUERY and a DEVICE_INFO_QUERY by a client of each layout (72, 112, 128, 144, 648), one after the other",
        expected: "one answer each, of the layout's size, and no byte more",
        run: own_layout,
    },
    Case {
        name: "mixed-layouts",
        about: "clients of several layouts at once disturb each other",
        sent: "ALLOC (64 B) by five clients at once, one of each layout, in turn, three rounds; then their FREEs in turn",
        expected: "after each round every client is answered in its own layout with the sum of all",
        run: mixed_layouts,
    },
];

fn answers(bench: &mut Bench<'_>) -> Result<String, Trouble> {
    let mut session = bench.connect(bench.site.layout, own_pid())?;
    let lone = session.query(bench.site.device);
    lone.map_err(|error| failed("a lone QUERY", &error))?;
    nothing_more(&mut session)?;
    let buffers = [(0, 4096), (1, 512), (3, 64), (4, 32)]
        .map(|(buffer_type, size_bytes)| (buffer_type, size_bytes, bench.address()));
    let of = |bench: &Bench<'_>, session: &Session, kind| {
        buffers.map(|(buffer_type, size_bytes, address)| {
            let allocates = kind == MessageKind::Alloc;
            let size_bytes = if allocates { size_bytes } else { 0 };
            bench.message(session, kind, address, size_bytes, buffer_type)
        })
    };
    let allocs = of(bench, &session, MessageKind::Alloc);
    bench.send(&mut session, &allocs)?;
    let all = Change {
        dram: 4096,
        l1: 512,
        l1_small: 64,
        trace: 32,
        ..Change::default()
    };
    bench.expect(&mut session, "the ALLOCs", all)?;
    let queries = session.request(MessageKind::Query, bench.site.device);
    write(&mut session, &queries.repeat(3))?;
    for number in 1..=3 {
        let answer = session.response();
        answer.map_err(|error| failed(&format!("answer {number} of 3"), &error))?;
    }
    nothing_more(&mut session)?;
    let frees = of(bench, &session, MessageKind::Free);
    bench.send(&mut session, &frees)?;
    bench.expect(&mut session, "the FREEs", Change::default())?;
    Ok(format!(
        "answers of {} bytes, all four totals right",
        bench.site.layout.frame_bytes()
    ))
}

fn dump(bench: &mut Bench<'_>) -> Result<String, Trouble> {
    let mut session = bench.open()?;
    let address = bench.address();
    let alloc = bench.alloc(&session, address, 64);
    bench.send(&mut session, &[alloc])?;
    let kernels = matches!(session.layout, Layout::V144 | Layout::Extended);
    let dumps = [MessageKind::DumpRemaining, MessageKind::DumpKernels];
    let dumps = &dumps[..1 + usize::from(kernels)];
    for kind in dumps {
        let request = session.request(*kind, bench.site.device);
        write(&mut session, &request)?;
        let unasked = session.unasked_bytes();
        let bytes = unasked.map_err(|error| failed(kind.name(), &error))?;
        if bytes > 0 {
            return Err(Trouble::Failed(format!(
                "{} was answered with {bytes} bytes",
                kind.name()
            )));
        }
    }
    bench.expect(&mut session, "the DUMP", Change::dram(64))?;
    let free = bench.free(&session, address);
    bench.send(&mut session, &[free])?;
    bench.expect(&mut session, "the FREE", Change::default())?;
    Ok("no byte came back, and the connection went on".to_owned())
}

fn own_layout(bench: &mut Bench<'_>) -> Result<String, Trouble> {
    for layout in Layout::LEGACY {
        let in_layout = |trouble| match trouble {
            Trouble::Failed(seen) => Trouble::Failed(format!("{layout} layout: {seen}")),
            skipped @ Trouble::Skipped(_) => skipped,
        };
        let mut session = bench.open_as(layout, own_pid()).map_err(in_layout)?;
        nothing_more(&mut session).map_err(in_layout)?;
        let info = session.device_info(bench.site.device);
        info.map_err(|error| in_layout(failed("DEVICE_INFO_QUERY", &error)))?;
        nothing_more(&mut session).map_err(in_layout)?;
    }
    Ok("answers of 72, 112, 128, 144 and 648 bytes".to_owned())
}

fn mixed_layouts(bench: &mut Bench<'_>) -> Result<String, Trouble> {
    const ROUNDS: usize = 3;
    const SIZE_BYTES: u64 = 64;
    let mut sessions = Vec::new();
    for layout in Layout::LEGACY {
        sessions.push(bench.open_as(layout, own_pid())?);
    }
    let mut addresses = Vec::new();
    for round in 0..2 * ROUNDS {
        for (client, session) in sessions.iter_mut().enumerate() {
            let message = if round < ROUNDS {
                addresses.push(bench.address());
                bench.alloc(session, addresses[addresses.len() - 1], SIZE_BYTES)
            } else {
                // Each its own: the client's of a round before.
                let index = (round - ROUNDS) * Layout::LEGACY.len() + client;
                bench.free(session, addresses[index])
            };
            bench.send(session, &[message])?;
        }
        // The others' messages are on their way until they are answered.
        for session in &mut sessions {
            bench.change(session)?;
        }
        let live = (round + 1).min(2 * ROUNDS - 1 - round) * sessions.len();
        for session in &mut sessions {
            let when = format!(
                "round {}, asked in the {} layout",
                round + 1,
                session.layout
            );
            bench.expect(session, &when, Change::dram(live as u64 * SIZE_BYTES))?;
        }
    }
    Ok(format!(
        "{} clients, {} rounds, every sum right",
        sessions.len(),
        2 * ROUNDS
    ))
}

fn nothing_more(session: &mut Session) -> Result<(), Trouble> {
    let unasked = session.unasked_bytes();
    match unasked.map_err(|error| failed("after the answer", &error))? {
        0 => Ok(()),
        bytes => {
            let bytes = session.layout.frame_bytes() + bytes;
            Err(Trouble::Failed(came(bytes, session.layout, 1)))
        }
    }
}
