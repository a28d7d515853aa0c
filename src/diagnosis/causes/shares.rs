//! Evidence that two causes leave alike, divided between them by what else there is.
//!
//! - A FREE too many, long after an ALLOC too many of its address, or the other way round, is a
//!   message that was late, or two that are lost. A loss moves an address away from balance as
//!   often as back, and leaves some out of balance; a late message always moves it back, and at the
//!   end no more are out of balance than were on their way.
//! - A FREE after a FREE is a double release or has lost its ALLOC. A second release comes soon
//!   after the first, a life without ALLOC lasts as long as any other: the shorter the gap,
//!   compared with what is normal between two FREEs of an address, the more it is a double release.
//!   And a connection that loses ALLOCs loses FREEs as well: where no FREE is missing, more is due
//!   to releases.
//! - A FREE of an address that was never named is of a buffer from before the record, or has lost
//!   its ALLOC. The former come once an address and early, the latter at any time and with other
//!   traces of loss, by as many as addresses come back.
//! - What is live when all clients have ended is a leak, or its FREE is lost. Lost FREEs also show
//!   where the address comes back.

use super::super::facts::Facts;

/// From the second share of the late messages on they are those of views, below the first only by
/// chance.
const FEW_VIEWS: f64 = 0.2;
const MANY_VIEWS: f64 = 0.6;

/// What FREEs are worth to each cause where the record has no ALLOC.
const FREES_ONLY: f64 = 0.4;
/// Lost ALLOCs of addresses that no message named before, for each other trace of a burst.
const BURST: f64 = 4.0;
/// FREEs of known buffers that may come for one of an earlier buffer, up to the middle one of
/// these.
const PROMPT: f64 = 2.0;

/// The share of second releases that follow the first closely; the others come from a later life
/// that the second one ended.
const CLOSE: f64 = 0.8;
/// How close: their gaps are about as short as the shortest of this many normal ones.
const CLOSENESS: f64 = 8.0;
/// Lives without FREE that double releases seem to leave, for each FREE too many, by mistake.
const MISTAKEN: f64 = 0.01;

/// How likely a double release is beside each of a few FREEs of what no message named: it leaves
/// none, but the record may begin late.
const UNNAMED: f64 = 0.3;
const FEW_UNNAMED: u64 = 4;

/// How much likelier gaps must be those of second releases, as a logarithm.
pub(super) const CLOSE_BY: f64 = 1.0;

/// FREEs too many beside lives without FREE that are no chance where both are lost alike, in
/// standard deviations.
const LOPSIDED: f64 = 2.0;

/// Of the ALLOCs and FREEs too many at an address out of balance: the share of those that lead away
/// from balance, where messages are late. Two threads are seldom late at one address.
const LATE_TWICE: f64 = 0.1;
/// How likely it is that they do not come one by one: that of several connections each is read in
/// batches, so that an address is led away from balance as often as back, but comes back to it.
const BATCHES: f64 = 0.1;
/// Messages on their way at the end of a record whose clients have ended.
const NONE_ON_THEIR_WAY: f64 = 0.02;
/// How likely it is that clients have ended where the record does not say it.
const ENDED: f64 = 0.5;
/// Messages of an address within which a message that is late by little comes.
const NEAR_MESSAGES: f64 = 5.0;

/// The logarithm of the number of ways to choose `some` of `all`.
fn choices(all: f64, some: f64) -> f64 {
    (1..=some.round() as u64)
        .map(|k| ((all - some + k as f64) / k as f64).max(1.0).ln())
        .sum()
}

/// How likely `number` events are where `expected` are.
fn poisson(number: f64, expected: f64) -> f64 {
    let factorial_ln: f64 = (1..=number.round() as u64)
        .map(|factor| (factor as f64).ln())
        .sum();
    (number * expected.ln() - expected - factorial_ln).exp()
}

/// The counts that belong to each cause, in pieces.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shares {
    /// How much of what is late belongs to the views of mesh buffers, from 0 to 1.
    pub of_views: f64,
    /// Far pairs that are one late message each.
    pub far_late: f64,
    /// Far pairs that are a lost FREE and a lost ALLOC each.
    pub far_lost: f64,
    /// Lives without FREE that only a loss explains.
    pub lost_frees: f64,
    /// Lives without FREE that a change of process explains.
    pub cut: f64,
    /// Of those: where connections were closed and opened at that moment.
    pub cut_shown: f64,
    /// How much likelier the gaps between second FREEs and those before them are if they are second
    /// releases, as a logarithm.
    pub second_gaps: f64,
    pub second_double: f64,
    pub second_lost: f64,
    /// More FREEs have no ALLOC than losses leave beside lives without FREE: what else leaves such
    /// lives, messages that are late among second releases, may have left all of them.
    pub too_many_frees: bool,
    pub first_late: f64,
    pub first_lost: f64,
    /// All that a loss explains, but what is live.
    pub losses: f64,
    pub leaked: f64,
}

impl Shares {
    pub(super) fn of(facts: &Facts) -> Shares {
        let late = facts.late_messages.max(1) as f64;
        let of_views = (facts.late_views() as f64 / late - FEW_VIEWS) / (MANY_VIEWS - FEW_VIEWS);
        let mut shares = Shares {
            of_views: of_views.clamp(0.0, 1.0),
            second_gaps: facts.second_gaps.sum(&facts.cycles, |longer| {
                (CLOSE * CLOSENESS * longer.powf(CLOSENESS - 1.0) + 1.0 - CLOSE).ln()
            }),
            ..Shares::default()
        };
        shares.divide_far_pairs(facts);
        shares.divide_lives_without_free(facts);
        shares.divide_second_frees(facts);
        shares.divide_first_frees(facts);
        shares.divide_live(facts);
        shares
    }

    fn divide_far_pairs(&mut self, facts: &Facts) {
        let far = (facts.far_late_frees.count + facts.far_early_frees.count) as f64;
        if far == 0.0 {
            return;
        }
        let away = facts.deepened as f64;
        // Where second FREEs follow so closely, they are second releases: no message is missing.
        let second = match self.second_gaps >= CLOSE_BY {
            true => 0,
            false => facts.second_frees.inferred(),
        };
        let ends = facts.lost_frees.inferred();
        let ends = ends.saturating_sub(facts.ends_undecided);
        let unbalanced = (ends + second) as f64;
        let messages = facts.messages.max(1) as f64;
        // At any moment as many are on their way as messages are late by their number.
        let late_at_once = NONE_ON_THEIR_WAY + facts.far_lateness as f64 / messages;
        // How much likelier the messages are if they were late: seldom twice at an address, or in
        // batches. Of as many steps away as back each other one ends in balance at most.
        let one_by_one = far * (2.0 * (1.0 - LATE_TWICE)).ln() + away * (2.0 * LATE_TWICE).ln();
        let balanced = (facts.far_addresses() as f64 - unbalanced).max(0.0);
        let in_batches = BATCHES.ln() + balanced * 2_f64.ln();
        let walk = one_by_one.max(in_batches);
        let ended = poisson(unbalanced, NONE_ON_THEIR_WAY);
        let end = if facts.circumstances.complete {
            ended
        } else {
            ENDED * ended + (1.0 - ENDED) * poisson(unbalanced, late_at_once)
        };
        let near = (facts.late_frees.inferred() + facts.early_frees.inferred()) as f64;
        let rate = (2.0 * (far + near) + away + unbalanced) / messages;
        let near_by_loss = (NEAR_MESSAGES * rate).clamp(0.02, 0.5);
        let near = near.min(far) * (0.5 / near_by_loss).ln();
        let late = far / (1.0 + (-(walk + end.max(f64::MIN_POSITIVE).ln() + near)).exp());
        // What one thread did is not late.
        self.far_late = late.min(far - facts.far_of_one_thread as f64);
        self.far_lost = far - self.far_late;
    }

    fn divide_lives_without_free(&mut self, facts: &Facts) {
        let of_cuts = |reconnected: bool| {
            let cuts = facts.cuts.iter();
            let cuts = cuts.filter(move |cut| cut.reconnected == reconnected);
            cuts.fold((0.0, 0.0), |(lives, left), cut| {
                (lives + cut.lives.len() as f64, left + cut.left as f64)
            })
        };
        // Connections that were closed and opened again show the moment; that no life reaches
        // across it is the surer the more there are that might.
        let (shown, shown_left) = of_cuts(true);
        let credible = 1.0 - 0.5_f64.powf(shown + shown_left);
        self.cut_shown = (shown + shown_left) * credible;
        self.cut = self.cut_shown;
        let all = facts.lost_frees.count as f64 + self.far_lost - shown * credible;
        self.lost_frees = all;
        let (explained, left) = of_cuts(false);
        if all > 0.0 && explained > 0.0 {
            // Losses cluster around a quiet moment by chance; a change of process explains all that
            // there is.
            let credible = ((explained / all - 0.3) / 0.5).clamp(0.0, 1.0);
            // A process that ends leaves no FREE without ALLOC, a loss leaves as many.
            let surplus =
                (facts.lost_allocs.count + facts.second_frees.count) as f64 + self.far_lost;
            let credible = credible / (1.0 + 2.0 * surplus / explained.max(1.0));
            self.cut += (explained + left) * credible;
            self.lost_frees = all - explained * credible;
        }
    }

    fn divide_second_frees(&mut self, facts: &Facts) {
        let count = facts.second_frees.inferred() as f64;
        if count == 0.0 {
            return;
        }
        // What one burst of losses leaves is one piece, however many FREEs that are.
        let moments = facts.moments_of_second_frees().max(1) as f64;
        let gaps = self.second_gaps;
        let gaps = match gaps > 0.0 {
            true => gaps * (moments / count).min(1.0),
            false => gaps,
        };
        // How much likelier that so few FREEs are missing: a loss takes as many FREEs as ALLOCs.
        let unnamed = facts.first_frees.inferred().min(FEW_UNNAMED) as f64;
        let missing = self.lost_frees.min(4096.0);
        let without_alloc = count.min(moments) + self.far_lost.min(4096.0);
        let counts = unnamed * UNNAMED.ln()
            + missing * MISTAKEN.ln()
            + (without_alloc + missing) * 2_f64.ln()
            - choices(without_alloc + missing, missing);
        let double = 1.0 / (1.0 + (-gaps - counts).exp());
        // Where some certainly lack their ALLOC, others do by chance.
        let double = double / (1.0 + facts.other_sizes as f64);
        // A connection loses ALLOCs as often as FREEs.
        let surplus = count - (self.lost_frees - self.far_lost).max(0.0);
        let apart = (moments / count).min(1.0);
        let spread = ((count + self.lost_frees - self.far_lost) * apart).sqrt();
        self.too_many_frees = surplus * apart > LOPSIDED * spread;
        // Of lost ALLOCs they come no sooner than any.
        self.second_double = match self.too_many_frees && self.second_gaps >= CLOSE_BY {
            true => surplus.max(count * double),
            false => count * double,
        };
        self.second_lost = count - self.second_double;
    }

    fn divide_first_frees(&mut self, facts: &Facts) {
        let count = facts.first_frees.inferred() as f64;
        if count == 0.0 || facts.circumstances.begins_in_the_middle {
            return;
        }
        if facts.allocs == 0 {
            // It says nothing of what was allocated: it may hold the warnings only.
            self.first_late = FREES_ONLY;
            self.first_lost = FREES_ONLY;
            return;
        }
        let reuse = (facts.reused as f64 / facts.allocs.max(1) as f64).min(0.98);
        let other_traces = self.lost_frees + self.second_lost + self.far_lost;
        let expected = other_traces * (1.0 - reuse) / reuse.max(0.02);
        let of_losses = (expected + 2.0 * expected.sqrt()).min(count);
        let messages = (facts.messages + facts.odd()).saturating_sub(facts.epoch_began);
        let early = facts.first_frees_by_slice.share_in_first_third(messages);
        let early = ((early - 0.33) / 0.4).clamp(0.0, 1.0);
        // Were those that losses do not explain lost as well, addresses that came back would show
        // it: the less likely, the more there are.
        let alone = 1.0 - (1.0 - reuse).powf(count - of_losses);
        // Buffers from before are released among the first ones: as many known ones come between,
        // or somewhat more.
        let known = facts.known_frees_before_unknown() as f64;
        let promptly = 1.0 / (1.0 + (known / count - PROMPT).max(0.0));
        // Where messages are lost anyway, that explains these as well: early ones all, as one burst
        // may have hit the first ALLOCs of a thread, others by how many there are.
        let excess = count - of_losses;
        let by_time = early * promptly / (1.0 + other_traces);
        let by_number = excess / (excess + BURST * other_traces).max(1.0);
        self.first_late = excess * by_time.max(alone * promptly.max(0.5) * by_number);
        self.first_lost = count - self.first_late;
    }

    fn divide_live(&mut self, facts: &Facts) {
        self.losses = self.lost_frees
            + self.second_lost
            + self.first_lost
            + self.far_lost
            + (facts.lost_allocs.count + facts.dropped.count) as f64;
        if facts.circumstances.begins_in_the_middle {
            return;
        }
        let live = (facts.live.count + facts.swept_live.count) as f64;
        // Losses at addresses that did not come back.
        let reuse = (facts.reused as f64 / facts.allocs.max(1) as f64).clamp(0.1, 1.0);
        // Towards the end addresses come back less, and losses come in bursts: twice as many may be
        // left by them, and more by chance.
        let expected = self.losses * ((1.0 - reuse) / reuse).max(2.0);
        self.leaked = (live - expected - 2.0 * expected.sqrt()).max(0.0);
    }
}
