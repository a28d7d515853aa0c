// Which of the reported variants this runtime is.
#pragma once

#include <cstdint>
#include <string>

// What is locked around tracking, by the names that heisenbed's disciplines have.
enum class Locking {
    Unlocked,  // the runtime as it was first reported
    Tracker,   // level 1: one mutex around each send
    Narrow,    // level 2 as applied: a mutex a device, around debug log and send
    Wide,      // level 2 as described: the same from the address to its message
    Array8,    // the same, from a fixed array of 8 mutexes
    Global,    // one mutex for everything
};

struct Options {
    Locking locking = Locking::Unlocked;
    bool claims = false;      // the status is claimed by compare-and-swap, not looked at
    bool views_first = false; // the mesh fix: views are released before the address
    bool free_first = false;  // the address is given back before its FREE is sent
    bool early = false;       // the handle is known as soon as the address exists
    bool dontwait = true;     // a message is dropped where the socket is full
    bool lazy = false;        // the first message connects, without a lock
    std::string debug_log;    // a file; empty: none
    std::string socket = "/tmp/tt_allocation_server.sock";

    // One switch, as `discipline=lifecycle-narrow`; false: there is none such.
    bool set(const std::string &name, const std::string &value);
    // Several, with commas between them; what is wrong in `why`.
    bool set_all(const std::string &text, std::string &why);
};
