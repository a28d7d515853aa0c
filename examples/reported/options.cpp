#include "options.h"

#include <sstream>

static const struct {
    const char *name;
    Locking locking;
    bool claims, views_first;
} disciplines[] = {
    {"unlocked", Locking::Unlocked, false, false},
    {"tracker-mutex", Locking::Tracker, false, false},
    {"lifecycle-narrow", Locking::Narrow, false, false},
    {"lifecycle-wide", Locking::Wide, false, false},
    {"lifecycle-array8", Locking::Array8, false, false},
    {"global-wide", Locking::Global, false, false},
    {"claimed-wide", Locking::Wide, true, false},
    {"views-first", Locking::Wide, true, true},
};

static const struct {
    const char *name, *no, *yes;
    bool Options::*flag;
} switches[] = {
    {"order", "track-first", "free-first", &Options::free_first},
    {"publish", "late", "early", &Options::early},
    {"transport", "blocking", "dontwait", &Options::dontwait},
    {"connect", "first", "lazy", &Options::lazy},
};

bool Options::set(const std::string &name, const std::string &value)
{
    if (name == "debug-log" || name == "socket") {
        (name == "socket" ? socket : debug_log) = value;
        return true;
    }
    for (const auto &one : disciplines)
        if (name == "discipline" && value == one.name) {
            locking = one.locking, claims = one.claims, views_first = one.views_first;
            return true;
        }
    for (const auto &one : switches)
        if (name == one.name && (value == one.yes || value == one.no)) {
            this->*one.flag = value == one.yes;
            return true;
        }
    return false;
}

bool Options::set_all(const std::string &text, std::string &why)
{
    std::istringstream words(text);
    for (std::string word; std::getline(words, word, ',');) {
        size_t at = word.find('=');
        if (at == std::string::npos || !set(word.substr(0, at), word.substr(at + 1))) {
            why = word + ": no such switch, or no such value of it: see options.cpp";
            return false;
        }
    }
    return true;
}
