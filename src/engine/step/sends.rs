//! A message on its way: on which connection, made when it is first asked for, and in how many
//! writes.

use crate::engine::backend::{Backend, Flow, Outgoing};
use crate::engine::code::Code;
use crate::scenario::Connections;
use crate::scenario::objects::ConnId;
use crate::trace::event::{Event, SendOutcome};
use crate::tracking::sent::SentKind;

use super::{At, SendPhase, Stepped, Thread};

impl Thread {
    #[inline]
    pub(super) fn begin_send<B: Backend>(
        &mut self,
        code: &Code,
        kind: SentKind,
        backend: &mut B,
    ) -> Stepped {
        let conn = match code.connections {
            Connections::Shared => ConnId(0),
            Connections::PerThread => ConnId(self.index),
            Connections::Lazy => {
                let (found, version) = backend.shared_connection();
                backend.record(&Event::ConnRead { found, version });
                let phase = match found {
                    Some(conn) => SendPhase::Write { conn, chunk: 0 },
                    None => SendPhase::Connect,
                };
                self.at = At::Sending(kind, phase);
                return Stepped::Ran;
            }
        };
        self.write(code, kind, conn, 0, backend)
    }

    #[inline(never)]
    pub(super) fn send<B: Backend>(
        &mut self,
        code: &Code,
        kind: SentKind,
        phase: SendPhase,
        backend: &mut B,
    ) -> Stepped {
        match phase {
            SendPhase::Connect => match backend.connect() {
                Flow::Done(conn) => {
                    backend.record(&Event::Connect { conn });
                    self.at = At::Sending(kind, SendPhase::Share(conn));
                }
                Flow::Blocked => return Stepped::Blocked,
                Flow::Stop(_) => return self.give_up(backend),
            },
            SendPhase::Share(conn) => {
                let version = backend.share_connection(conn);
                backend.record(&Event::ConnStore { conn, version });
                self.at = At::Sending(kind, SendPhase::Write { conn, chunk: 0 });
            }
            SendPhase::Write { conn, chunk } => {
                return self.write(code, kind, conn, chunk, backend);
            }
        }
        Stepped::Ran
    }

    #[inline]
    fn write<B: Backend>(
        &mut self,
        code: &Code,
        kind: SentKind,
        conn: ConnId,
        chunk: u8,
        backend: &mut B,
    ) -> Stepped {
        let outgoing = Outgoing {
            kind,
            at: self.place,
            sequence: self.sequence,
            conn,
            chunk,
        };
        let (outcome, version) = match backend.send(&outgoing) {
            Flow::Done(done) => done,
            Flow::Blocked => {
                self.at = At::Sending(kind, SendPhase::Write { conn, chunk });
                return Stepped::Blocked;
            }
            Flow::Stop(reason) => {
                return self.stop(reason, Event::BlockedOnSend { conn }, backend);
            }
        };
        backend.record(&Event::Send {
            kind,
            chunk,
            conn,
            outcome,
            version,
        });
        if outcome == SendOutcome::Sent && chunk + 1 < code.chunks {
            let chunk = chunk + 1;
            self.at = At::Sending(kind, SendPhase::Write { conn, chunk });
        } else {
            self.pc += 1;
            self.at = At::Program;
        }
        Stepped::Ran
    }
}
