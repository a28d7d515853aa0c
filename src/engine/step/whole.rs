//! Mesh buffers that a discipline treats as a whole: what only programs of its `[mesh]` have, and
//! how the parts are taken up one after the other.

use crate::engine::backend::{Backend, PartAt, Touch};
use crate::engine::code::{Action, Code, Pc};
use crate::trace::event::Event;

use super::{At, Stepped, Thread};

impl Thread {
    /// Where the release of a mesh buffer begins: where its allocation failed half way, nothing was
    /// sent of it.
    #[inline(never)]
    pub(super) fn first_of_mesh_release<B: Backend>(&self, code: &Code, backend: &B) -> Pc {
        let last = PartAt {
            part: self.parts - 1,
            ..self.place
        };
        match code.unannounced() {
            Some(unannounced) if !backend.has_address(last) => unannounced.first,
            _ => code.program(self.program, self.kind).first,
        }
    }

    /// Takes up another part of the mesh buffer at hand.
    pub(super) fn reach<B: Backend>(&mut self, code: &Code, place: PartAt, backend: &B) {
        self.place = place;
        self.device = code
            .objects
            .device_of(backend.buffer(place.slot).device, place.part);
        self.sequence = 0;
    }

    /// One of the instructions that only programs for whole mesh buffers have.
    #[inline(never)]
    pub(super) fn run_mesh_instruction<B: Backend>(
        &mut self,
        code: &Code,
        action: Action,
        backend: &mut B,
    ) -> Option<Stepped> {
        match action {
            Action::EachDevice {
                is_first: false, ..
            } => self.at = At::NextPart,
            Action::EndEach { .. } if self.has_next_part() => self.at = At::NextPart,
            Action::EndEach { .. } => {
                // What is done once is done on the first device.
                let first = PartAt {
                    part: 0,
                    ..self.place
                };
                self.reach(code, first, backend);
                self.pc += 1;
            }
            Action::PublishWhole => {
                let (_, version) = backend.touch(self.place, Touch::Publish(u8::MAX));
                backend.record(&Event::Publish { version });
                self.pc += 1;
                return Some(Stepped::Ran);
            }
            Action::EndWhole => {
                self.place.part = self.parts - 1;
                return self.finish_part(backend);
            }
            _ => self.pc += 1,
        }
        None
    }
}
