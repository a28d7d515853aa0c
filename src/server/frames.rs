//! What a frame does: it acts on the registry and the counters, is shown to the observer, and may
//! be answered.

use std::thread;
use std::time::Duration;

use super::client::{ClientAccount, Fate, Output, ServedClient};
use super::listener::{ClientId, Counters, Observer, Refused, ServerConfig};
use super::reference_rules;
use crate::registry::{Outcome, Registry};
use crate::tracking::codec::DecodedFrame;
use crate::tracking::wire::{DeviceInfo, encode_device_info, encode_response};
use crate::tracking::{Layout, Message, MessageKind};

/// Everything that a frame acts on, apart from its client.
pub(super) struct Core<O> {
    pub(super) config: ServerConfig,
    pub(super) registry: Registry,
    pub(super) counters: Counters,
    pub(super) observer: O,
    pub(super) delay: Duration,
}

impl<O: Observer> Core<O> {
    pub(super) fn refuse(&mut self, why: Refused) {
        self.counters.refused += 1;
        log::warn!("a client was turned away: {}", why.words());
        self.observer.on_refused(why);
    }

    /// Sends what waits for the client; what it shows is safe before.
    pub(super) fn send(&mut self, client: &mut ServedClient) -> Fate {
        if !client.output.is_empty() {
            self.observer.before_answers();
        }
        client.output.send_to(&client.fd)
    }

    /// Says once how a client's messages are read.
    pub(super) fn tell_layout(&mut self, client: &mut ServedClient) {
        if !client.told_layout
            && let (Some(layout), Some(why)) = (client.decoder.layout(), client.decoder.detection())
        {
            client.told_layout = true;
            log::debug!("client {}: layout {layout} ({})", client.id, why.words());
            self.observer.on_layout(client.id, layout, why);
        }
    }

    #[inline]
    pub(super) fn take(
        &mut self,
        client: ClientId,
        frame: DecodedFrame<'_>,
        output: &mut Output,
        account: &mut ClientAccount,
    ) {
        match frame {
            DecodedFrame::Message(message, raw) => {
                self.take_message(client, message, raw, output, account)
            }
            DecodedFrame::TableRequest if output.has_table() => {}
            DecodedFrame::TableRequest => output.push_table(self.registry.live()),
            DecodedFrame::Unknown(raw) => {
                self.counters.unknown_frames += 1;
                self.observer.on_unknown(client, raw);
            }
        }
    }

    #[inline]
    fn take_message(
        &mut self,
        client: ClientId,
        message: &Message,
        raw: &[u8],
        output: &mut Output,
        account: &mut ClientAccount,
    ) {
        self.counters.messages += 1;
        let Core {
            config,
            registry,
            counters,
            observer,
            ..
        } = self;
        if account.buffers >= config.max_client_buffers && message.kind.opens() {
            counters.rejected += 1;
            // Once a client: it may go on for long.
            if !std::mem::replace(&mut account.told_limit, true) {
                log::warn!(
                    "an ALLOC of client {client} is rejected, and further ones: {}",
                    Refused::TooManyBuffers.words()
                );
            }
            observer.on_refused(Refused::TooManyBuffers);
            return;
        }
        let layout = || Layout::from_frame_bytes(raw.len()).expect("a frame has its layout's size");
        if !std::mem::replace(&mut account.has_spoken, true) {
            observer.on_first_message(client, layout());
        }
        if config.like_reference
            && let Some(reason) = reference_rules::refusal(layout(), message)
        {
            counters.rejected += 1;
            return observer.on_message(client, message, &Outcome::Rejected(reason));
        }
        observer.on_received(client, message);
        registry.apply_from(account.owner, message, &mut |message, outcome| {
            match outcome {
                Outcome::Inserted => account.open(),
                // It holds of it what a sweep has to drop.
                Outcome::Replaced { .. } | Outcome::Incremented { .. } => account.opened = true,
                Outcome::Removed { .. } => account.buffers = account.buffers.saturating_sub(1),
                _ => {}
            }
            counters.count(&outcome);
            observer.on_message(client, message, &outcome);
        });
        match message.kind {
            MessageKind::Query => {
                let response = self.registry.response(message.device);
                output.push(encode_response(layout(), &response).as_bytes());
            }
            MessageKind::DeviceInfoQuery => {
                output.push(
                    encode_device_info(layout(), &self.device_info(message.device)).as_bytes(),
                );
            }
            MessageKind::DumpRemaining | MessageKind::DumpKernels => {
                self.observer.on_dump(client, message, &self.registry);
            }
            _ => {}
        }
        if !self.delay.is_zero() {
            pause(self.delay);
        }
    }

    fn device_info(&self, device: i32) -> DeviceInfo {
        let mut all = self.config.device_info;
        all.num_devices = all.num_devices.max(self.registry.devices_seen());
        if (0..i64::from(all.num_devices)).contains(&i64::from(device)) {
            DeviceInfo { device, ..all }
        } else {
            DeviceInfo {
                device,
                num_devices: all.num_devices,
                ..DeviceInfo::default()
            }
        }
    }
}

impl Counters {
    #[inline]
    pub(super) fn count(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::UnknownFree => self.unknown_frees += 1,
            Outcome::Replaced { .. } | Outcome::Incremented { .. } => self.duplicate_allocs += 1,
            Outcome::Rejected(_) => self.rejected += 1,
            _ => {}
        }
    }
}

/// Sleeps take tens of µs longer than asked, so a short pause is spent spinning.
fn pause(length: Duration) {
    const SHORTEST_SLEEP: Duration = Duration::from_micros(200);
    if length >= SHORTEST_SLEEP {
        return thread::sleep(length);
    }
    let start = std::time::Instant::now();
    while start.elapsed() < length {
        std::hint::spin_loop();
    }
}

/// Takes what the decoder still has when a client has sent its last byte.
pub(super) fn finish<O: Observer>(core: &mut Core<O>, client: &mut ServedClient) {
    let ServedClient {
        decoder,
        output,
        id,
        account,
        ..
    } = client;
    let tail = decoder.finish(&mut |frame| core.take(*id, frame, output, account));
    core.counters.torn_frames += u64::from(tail.torn_bytes > 0);
}
