//! Recordings of the Vulkan Memory Allocator.

use heisenbed::trace::file::ImportFormat;

use super::{Recording, assert_uncontradicted, buffer, cut_anywhere, records, refused_lines};

const HEAD: &str = "Vulkan Memory Allocator,Calls recording\n1,8\nConfig,Begin\nVulkanApiVersion,1,0\n\
    PhysicalDevice,deviceName,Radeon, of some kind\nPhysicalDeviceMemory,Type,3,propertyFlags,14\nConfig,End\n";
const CALLS: &str = "12552,0.000,0,vmaCreateAllocator\n\
    12552,0.010,0,vmaCreateImage,0,1,37,128,128,1,1,1,1,1,1,0,8,36,2,0,0,0,0000000000000000,000001D85B8B1A80,\n\
    12552,0.010,0,vmaSetAllocationUserData,000001D85B8B1A80,Ala, \"ma\" kota\n\
    12553,0.017,1,vmaCreateBuffer,0,768,1,0,4,2,0,0,0,0000000000000000,000001D85B8B19E0,a \"name\", with commas\n\
    12553,0.018,1,vmaCreateBuffer,0,1048576,1,0,4,2,0,0,0,0000000000000000,0000000000000000,\n\
    12553,0.019,1,vmaAllocateMemory,65536,16,7,0,1,0,0,0,0000000000000000,000001D85B8B2000,\n\
    12552,0.020,1,vmaAllocateMemoryForBuffer,64,16,7,0,0,0,1,0,0,0,0000000000000000,000001D85B8B2100,\n\
    12552,0.021,1,vmaAllocateMemoryPages,4096,16,7,0,1,0,0,0,0000000000000000,000001D85B8B3000 000001D85B8B3100,pages\n\
    12552,0.022,1,vmaFreeMemoryPages,000001D85B8B3000 000001D85B8B3100\n\
    12552,0.023,1,vmaDestroyImage,000001D85B8B1A80\n\
    12553,0.024,1,vmaDestroyBuffer,000001D85B8B19E0\n\
    12553,0.025,1,vmaFreeMemory,000001D85B8B2000\n\
    12553,0.026,1,vmaFreeMemory,0000000000000000\n\
    12552,0.027,1,vmaCreateLostAllocation,000001D85B8B4000\n\
    12552,0.028,1,vmaFreeMemory,000001D85B8B4000\n\
    12552,0.695,1,vmaDestroyAllocator\n";

#[test]
fn a_call_whose_name_is_cut_is_not_understood() {
    let call = "12552,0.030,1,vmaDestroyAllocator";
    for length in "12552,0.030,1,v".len()..call.len() {
        let log = format!("{HEAD}{CALLS}{}", &call[..length]);
        let account = Recording::new("vma-replay", "vma.csv", log).import();
        assert_eq!(account["unrecognised"], 1, "{length}: {account}");
    }
}

#[test]
fn calls_have_their_threads_and_times() {
    let log = Recording::new("vma-replay", "vma.csv", format!("{HEAD}{CALLS}"));
    let account = log.import();
    assert_eq!(
        (
            &account["lines"],
            &account["parsed"],
            &account["unrecognised"]
        ),
        (&23.into(), &12.into(), &0.into()),
        "{account}"
    );
    let (checked, code) = log.said("check");
    assert_uncontradicted(&checked, code);
    assert_eq!(
        (
            &checked["allocations"],
            &checked["releases"],
            &checked["failed"],
            &checked["threads"],
            &checked["leaks"]
        ),
        (&6.into(), &5.into(), &1.into(), &2.into(), &1.into()),
        "{checked}"
    );
    let (read, _) = records(ImportFormat::VmaReplay, format!("{HEAD}{CALLS}").as_bytes());
    assert_eq!(
        (read[1].thread, read[1].at_ns),
        (Some(12553), Some(17_000_000))
    );
    assert_eq!(buffer(&read[0]).size_bytes, None, "an image says no size");
    assert_eq!(buffer(&read[1]).size_bytes, Some(768));
    let (run, code) = super::run_json(&format!(
        "explore --schedules 3 --workload import:{}",
        log.trace().display()
    ));
    assert!(code < 2, "{run}");
}

#[test]
fn lines_that_are_none_are_reported_and_cuts_are_harmless() {
    let wrong = [
        "12552,0.000",
        "12552,0.000,0,teleport",
        "one,0.010,0,vmaDestroyBuffer,000001D85B8B1A80",
        "1,soon,0,vmaDestroyBuffer,000001D85B8B1A80",
        "1,0.1,0,vmaDestroyBuffer",
        "1,0.1,0,vmaDestroyBuffer,",
        "1,0.1,0,vmaDestroyBuffer,here",
        "1,0.1,0,vmaCreateBuffer,0,768",
        "1,0.1,0,vmaCreateBuffer,0,many,1,0,4,2,0,0,0,0000000000000000,000001D85B8B19E0,",
    ];
    let text = format!("{HEAD}{}\n", wrong.join("\n"));
    let lines: Vec<u64> = (8..8 + wrong.len() as u64).collect();
    assert_eq!(refused_lines(ImportFormat::VmaReplay, &text), lines);
    cut_anywhere(ImportFormat::VmaReplay, &format!("{HEAD}{CALLS}"));
    // A configuration without an end.
    let (read, _) = records(
        ImportFormat::VmaReplay,
        format!("Config,Begin\n{CALLS}").as_bytes(),
    );
    assert_eq!(read.len(), 12);
}
