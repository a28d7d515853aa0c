//! The bytes of a trace's blocks, one block after the other. Where one is damaged, they end.

use super::file::TraceFile;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct BlockCursor<'a> {
    pub(super) trace: &'a TraceFile,
    /// The block at hand.
    pub(super) raw: Vec<u8>,
    /// How much of it was taken.
    pub(super) at: usize,
    /// How many blocks were read.
    pub(super) blocks: usize,
    /// What is wrong with the part that was read: data is behind it.
    pub(super) damage: Option<String>,
}

impl<'a> BlockCursor<'a> {
    /// Starts at the beginning.
    pub(super) fn new(trace: &'a TraceFile) -> BlockCursor<'a> {
        BlockCursor {
            trace,
            raw: Vec::new(),
            at: 0,
            blocks: 0,
            damage: None,
        }
    }

    /// What is wrong with the part that was read, or with the file as a whole.
    pub(super) fn any_damage(&self) -> Option<&str> {
        self.damage.as_deref().or(self.trace.damage())
    }

    /// Reads on where the block at hand was taken whole; false: there is nothing more.
    #[inline]
    pub(super) fn fill(&mut self) -> bool {
        while self.at >= self.raw.len() {
            if self.damage.is_some() || self.blocks >= self.trace.blocks(0) {
                return false;
            }
            if let Err(why) = self.trace.read_block(0, self.blocks, &mut self.raw) {
                self.damage = Some(why);
                self.raw.clear();
            }
            self.blocks += 1;
            self.at = 0;
        }
        true
    }
}
