//! Records that hold a few messages of each burst, and nothing of what came between: what is left
//! of several lives of an address looks like a message that is late, and is none for certain.

use heisenbed::diagnosis::{CONFIDENT, Cause, Circumstances, Diagnoser, Diagnosis};
use heisenbed::scenario::random::{Purpose, Random};
use heisenbed::tracking::MessageKind;

use super::connections::message;

/// What arrives of a sound workload that allocates the address that was released last.
#[derive(Clone, Copy, Debug)]
struct Bursts {
    /// Messages that arrive in a row, and those that are lost after them, on average.
    arrive: u64,
    lost: u64,
    /// The most buffers that are live at once.
    live: usize,
}

impl Bursts {
    fn diagnosed(self, seed: u64) -> Diagnosis {
        let mut random = Random::new(seed, 0, Purpose::Schedule, 0);
        let (mut live, mut released, mut top) = (Vec::new(), Vec::new(), 0x1_9000);
        let mut diagnoser = Diagnoser::default();
        let (mut arrives, mut left) = (true, self.arrive);
        for position in 1..300 * (self.arrive + self.lost) / self.arrive {
            let releases = !live.is_empty() && (live.len() >= self.live || random.percent(45));
            let (kind, address) = if releases {
                let address = live.swap_remove(random.below(live.len() as u64) as usize);
                released.push(address);
                (MessageKind::Free, address)
            } else {
                let again = released.pop_if(|_| random.percent(90));
                let address = again.unwrap_or_else(|| {
                    top += 0x800;
                    top
                });
                live.push(address);
                (MessageKind::Alloc, address)
            };
            if arrives {
                diagnoser.observe(&message(position, 0, kind, address));
            }
            left -= 1;
            if left == 0 {
                arrives = !arrives;
                let average = if arrives { self.arrive } else { self.lost };
                left = 1 + random.below(2 * average);
            }
        }
        diagnoser.finish(Circumstances::default())
    }
}

#[test]
fn what_a_few_windows_show_of_a_sound_program_is_no_certain_reordering() {
    for (arrive, lost) in [
        (5, 500),
        (10, 500),
        (10, 2_000),
        (20, 500),
        (20, 2_000),
        (60, 60),
    ] {
        for live in [10, 25, 60] {
            let bursts = Bursts { arrive, lost, live };
            for seed in 0..8 {
                let diagnosis = bursts.diagnosed(seed);
                let wrong = diagnosis.causes.iter().find(|suspect| {
                    suspect.score >= CONFIDENT
                        && !matches!(suspect.cause, Cause::Loss | Cause::RealLeak)
                });
                let wrong = wrong.map(|suspect| (suspect.cause, suspect.score));
                assert_eq!(wrong, None, "{bursts:?}, seed {seed}");
            }
        }
    }
}
