//! The blocks of the legacy log: what is live, and the closing statistics.

use super::line;
use super::numbers::{kilobytes, megabytes};
use crate::tracking::entry::{BUFFER_TYPE_NAMES, Class, Entry};

/// A dump lists single buffers of a memory when there are at most so many.
const LISTED_BUFFERS: usize = 10;
const BANNER_WIDTH: usize = 62;
const BANNER_TEXT_WIDTH: usize = 50;
const BOX_WIDTH: usize = 57;

pub(super) fn write_buffers(lines: &mut String, live: &[Entry]) {
    let buffers: Vec<&Entry> = live
        .iter()
        .filter(|entry| entry.class == Class::Plain)
        .collect();
    line(lines, format_args!("📋 Received DUMP_REMAINING request..."));
    write_banner(lines, "REMAINING ALLOCATED BUFFERS");
    line(
        lines,
        format_args!("Total tracked allocations: {}\n", buffers.len()),
    );
    for of_device in buffers.chunk_by(|a, b| a.device == b.device) {
        line(lines, format_args!("Device {}:", of_device[0].device));
        for (buffer_type, name) in BUFFER_TYPE_NAMES.iter().enumerate() {
            let of_type = of_device
                .iter()
                .filter(|e| usize::from(e.buffer_type) == buffer_type);
            write_memory(lines, name, &of_type.copied().collect::<Vec<_>>());
        }
        lines.push('\n');
    }
    if buffers.is_empty() {
        line(
            lines,
            format_args!("✓ No buffers remaining - perfect cleanup!"),
        );
    } else {
        line(
            lines,
            format_args!("Total remaining buffers: {}\n", buffers.len()),
        );
    }
    line(lines, format_args!("📋 DUMP_REMAINING complete."));
}

fn write_memory(lines: &mut String, memory: &str, buffers: &[&Entry]) {
    if buffers.is_empty() {
        return;
    }
    let total = megabytes(sum(buffers.iter().copied()));
    line(
        lines,
        format_args!("  {memory}: {} buffers, {total} MB total", buffers.len()),
    );
    if buffers.len() > LISTED_BUFFERS {
        return;
    }
    for Entry {
        address,
        size_bytes,
        pid,
        refcount,
        ..
    } in buffers
    {
        let size = kilobytes(*size_bytes);
        line(
            lines,
            format_args!("    - Buffer {address:#x}: {size} KB (PID {pid}, ref_count={refcount})"),
        );
    }
}

pub(super) fn write_kernels(lines: &mut String, live: &[Entry]) {
    let kernels: Vec<&Entry> = live
        .iter()
        .filter(|entry| entry.class == Class::Kernel)
        .collect();
    write_banner(lines, "DETAILED KERNEL ALLOCATIONS");
    line(
        lines,
        format_args!("Total kernel allocations: {}\n", kernels.len()),
    );
    for of_device in kernels.chunk_by(|a, b| a.device == b.device) {
        let total = megabytes(sum(of_device.iter().copied()));
        let (device, count) = (of_device[0].device, of_device.len());
        line(
            lines,
            format_args!("📊 Device {device} - Total: {total} MB ({count} kernels)"),
        );
        line(lines, format_args!("  ┌{}┐", "─".repeat(BOX_WIDTH)));
        for Entry {
            address,
            size_bytes,
            pid,
            ..
        } in of_device
        {
            let size = kilobytes(*size_bytes);
            line(lines, format_args!("  │ Kernel ID: {address:#x}"));
            line(lines, format_args!("  │   Size:      {size} KB"));
            line(lines, format_args!("  │   Owner PID: {pid}\n  │"));
        }
        line(lines, format_args!("  └{}┘\n", "─".repeat(BOX_WIDTH)));
    }
    line(lines, format_args!("📋 DUMP_KERNELS complete."));
}

fn write_banner(lines: &mut String, title: &str) {
    let edge = "═".repeat(BANNER_WIDTH);
    line(
        lines,
        format_args!("\n╔{edge}╗\n║           {title:<BANNER_TEXT_WIDTH$}║\n╚{edge}╝"),
    );
}

/// What is live on each device, as the reference servers print it when they stop.
pub(super) fn write_statistics(lines: &mut String, live: &[Entry]) {
    let buffers: Vec<&Entry> = live
        .iter()
        .filter(|entry| entry.class == Class::Plain)
        .collect();
    line(lines, format_args!("\n📊 Current Statistics:"));
    for of_device in buffers.chunk_by(|a, b| a.device == b.device) {
        let (device, count) = (of_device[0].device, of_device.len());
        line(
            lines,
            format_args!("  Device {device}:\n    Buffers: {count}"),
        );
        for (buffer_type, name) in BUFFER_TYPE_NAMES.iter().enumerate().take(2) {
            let of_type = of_device
                .iter()
                .filter(|entry| usize::from(entry.buffer_type) == buffer_type);
            let bytes = sum(of_type.copied());
            let kb = kilobytes(bytes);
            line(lines, format_args!("    {name}: {bytes} bytes ({kb} KB)"));
        }
        let total = sum(of_device.iter().copied());
        line(lines, format_args!("    Total: {total} bytes"));
    }
    line(
        lines,
        format_args!("  Active allocations: {}", buffers.len()),
    );
}

/// The bytes of some entries; wrapped, where any size is taken.
pub(super) fn sum<'a>(entries: impl Iterator<Item = &'a Entry>) -> u64 {
    entries.fold(0, |sum, entry| sum.wrapping_add(entry.size_bytes))
}
