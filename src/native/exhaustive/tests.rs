//! The search against running every schedule, on small programs.

use super::bounded::BoundedSearch;
use super::explorer::Explorer;
use super::toy::ToyOp::{
    End, Exit, GotoIf, Lock, Post, Read, Take, TryLock, Unlock, Write, WriteSum,
};
use super::toy::{Toy, ToyOp};

/// Traces, and schedules that were given up.
fn explored(toy: &mut Toy) -> (u64, u64) {
    let mut explorer = Explorer::new(false);
    let Ok(mut next) = explorer.next(toy);
    while next.is_some() {
        next = {
            let Ok(next) = explorer.next(toy);
            next
        };
    }
    assert!(!explorer.strayed);
    assert_eq!(explorer.estimate().round() as u64, explorer.runs);
    (explorer.traces, explorer.given_up)
}

/// Whether every final state and every trace is found, and each trace once.
fn is_whole(threads: &[Vec<ToyOp>]) -> u64 {
    let mut toy = Toy::new(threads.to_vec());
    let (traces, _) = explored(&mut toy);
    let (states, all) = toy.naive();
    assert_eq!(toy.ends, states, "{threads:?}");
    assert_eq!(traces, all.len() as u64, "{threads:?}");
    assert!(toy.traces.keys().eq(all.iter()), "{threads:?}");
    assert!(toy.traces.values().all(|times| *times == 1), "{threads:?}");
    traces
}

#[test]
fn writers_of_one_variable_come_in_every_order() {
    for (threads, orders) in [(1, 1), (2, 2), (3, 6), (4, 24), (5, 120)] {
        let program: Vec<_> = (0..threads).map(|n| vec![Write(0, n)]).collect();
        assert_eq!(is_whole(&program), orders);
    }
}

#[test]
fn threads_that_share_nothing_have_one_trace() {
    let program: Vec<_> = (0..4)
        .map(|n| vec![Write(n, 1), Read(n), Write(n, 2)])
        .collect();
    let mut toy = Toy::new(program);
    assert_eq!(explored(&mut toy), (1, 0));
}

#[test]
fn readers_of_a_variable_are_each_before_or_after_its_writer() {
    for readers in 0..6 {
        let mut program = vec![vec![Write(0, 1)]];
        program.extend((0..readers).map(|_| vec![Read(0)]));
        assert_eq!(is_whole(&program), 1 << readers);
    }
}

#[test]
fn critical_sections_come_in_every_order() {
    let section = |variable| vec![Lock(0), Write(variable, 1), Unlock(0)];
    assert_eq!(is_whole(&[section(0), section(1)]), 2);
    assert_eq!(is_whole(&[section(0), section(1), section(2)]), 6);
    let mut toy = Toy::new((0..5).map(section).collect());
    assert_eq!(explored(&mut toy), (120, 0));
}

#[test]
fn a_lock_order_that_deadlocks_is_found_to() {
    let program = [
        vec![Lock(0), Lock(1), Unlock(1), Unlock(0)],
        vec![Lock(1), Lock(0), Unlock(0), Unlock(1)],
    ];
    assert_eq!(is_whole(&program), 3);
}

#[test]
fn what_nobody_gives_back_is_waited_for_by_either() {
    assert_eq!(is_whole(&[vec![Lock(0)], vec![Lock(0)]]), 2);
    assert_eq!(is_whole(&[vec![Lock(0)], vec![Lock(0)], vec![Lock(0)]]), 3);
    is_whole(&[vec![Lock(0), Write(0, 1)], vec![Read(0), Lock(0)]]);
}

#[test]
fn semaphores_and_tries_are_covered() {
    is_whole(&[vec![Post(0)], vec![Post(0)], vec![Take(0)]]);
    is_whole(&[
        vec![Post(0), Write(1, 1)],
        vec![Take(0), Read(1)],
        vec![Take(0), Read(1)],
    ]);
    is_whole(&[
        vec![Lock(0), Write(0, 1), Unlock(0)],
        vec![TryLock(0), GotoIf(0, 4), Read(0), Unlock(0), Read(0)],
        vec![Write(0, 3)],
    ]);
}

#[test]
fn the_end_of_the_process_comes_before_or_after_what_others_do() {
    assert_eq!(is_whole(&[vec![Exit], vec![Write(0, 1), Write(1, 1)]]), 3);
}

/// `lastzero` of the paper: a thread looks for the last zero of an array, that others change.
fn lastzero(others: usize) -> Vec<Vec<ToyOp>> {
    let mut search = Vec::new();
    for place in (0..=others).rev() {
        search.extend([Read(place), GotoIf(0, usize::MAX)]);
    }
    let end = search.len();
    for op in &mut search {
        if let GotoIf(_, place) = op {
            *place = end;
        }
    }
    search.push(End);
    let mut program = vec![search];
    program.extend((1..=others).map(|n| vec![Read(n - 1), WriteSum(n, 1)]));
    program
}

#[test]
fn lastzero_has_as_many_traces_as_published() {
    for others in 1..4 {
        is_whole(&lastzero(others));
    }
    let mut toy = Toy::new(lastzero(5));
    assert_eq!(explored(&mut toy).0, 64);
    let mut toy = Toy::new(lastzero(8));
    assert_eq!(explored(&mut toy).0, 704);
}

/// Programs that come from a number.
fn drawn(mut number: u64) -> Vec<Vec<ToyOp>> {
    let mut draw = |below: u64| {
        number = number
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        (number >> 33) % below
    };
    (0..2 + draw(2))
        .map(|_| {
            let mut held = None;
            let mut ops = Vec::new();
            for _ in 0..1 + draw(4) {
                let place = draw(2) as usize;
                ops.push(match (draw(8), held) {
                    (0 | 1, _) => Read(place),
                    (2, _) => Write(place, draw(3) as i64),
                    (3, _) => WriteSum(place, 1),
                    (4 | 5, None) => {
                        held = Some(place);
                        Lock(place)
                    }
                    (4 | 5, Some(lock)) => {
                        held = None;
                        Unlock(lock)
                    }
                    (6, _) => Post(2),
                    _ => Take(2),
                });
            }
            ops
        })
        .collect()
}

#[test]
fn no_trace_of_programs_drawn_at_random_is_missed_or_run_twice() {
    for number in 0..400 {
        is_whole(&drawn(number));
    }
}

/// A place that only some schedules share.
fn shared_late() -> Vec<Vec<ToyOp>> {
    vec![
        vec![Read(0), GotoIf(0, 3), WriteSum(1, 5)],
        vec![Post(3), Write(1, 2), Read(1), WriteSum(2, 0)],
        vec![Take(3), Write(0, 1)],
    ]
}

#[test]
fn a_bound_on_preemptions_covers_what_it_says() {
    let drawn = (0..50).map(drawn);
    let programs = drawn.chain([shared_late(), lastzero(2)]);
    for (number, program) in programs.enumerate() {
        let toy = Toy::new(program);
        let (all, _) = toy.naive();
        for most in 0..6 {
            for sees in [true, false] {
                let mut bounded = toy.clone();
                let mut search = BoundedSearch::new(most, sees);
                loop {
                    let Ok(next) = search.next(&mut bounded);
                    if next.is_none() {
                        break;
                    }
                }
                assert!(!search.strayed);
                assert_eq!(bounded.ends, toy.within(most), "{number} {most}");
            }
        }
        assert_eq!(toy.within(20), all, "{number}");
    }
}
