#include "options.h"

#include <sstream>

static bool set_discipline(Options &options, const std::string &name)
{
    static const struct {
        const char *name;
        Locking locking;
        bool claims, views_first;
    } known[] = {
        {"unlocked", Locking::Unlocked, false, false},
        {"tracker-mutex", Locking::Tracker, false, false},
        {"lifecycle-narrow", Locking::Narrow, false, false},
        {"lifecycle-wide", Locking::Wide, false, false},
        {"lifecycle-array8", Locking::Array8, false, false},
        {"global-wide", Locking::Global, false, false},
        {"claimed-wide", Locking::Wide, true, false},
        {"views-first", Locking::Wide, true, true},
    };
    for (const auto &one : known)
        if (name == one.name) {
            options.locking = one.locking;
            options.claims = one.claims;
            options.views_first = one.views_first;
            return true;
        }
    return false;
}

static bool choose(bool &flag, const std::string &value, const char *no, const char *yes)
{
    flag = value == yes;
    return flag || value == no;
}

bool Options::set(const std::string &name, const std::string &value)
{
    if (name == "discipline")
        return set_discipline(*this, value);
    if (name == "order")
        return choose(free_first, value, "track-first", "free-first");
    if (name == "publish")
        return choose(early, value, "late", "early");
    if (name == "transport")
        return choose(dontwait, value, "blocking", "dontwait");
    if (name == "connect")
        return choose(lazy, value, "first", "lazy");
    if (name == "debug-log")
        debug_log = value;
    else if (name == "socket")
        socket = value;
    else
        return false;
    return true;
}

bool Options::set_all(const std::string &text, std::string &why)
{
    std::istringstream words(text);
    for (std::string word; std::getline(words, word, ',');) {
        size_t at = word.find('=');
        if (at == std::string::npos || !set(word.substr(0, at), word.substr(at + 1))) {
            why = word + ": expected discipline=NAME, order=track-first|free-first, "
                         "publish=late|early, transport=blocking|dontwait, connect=first|lazy, "
                         "debug-log=FILE or socket=PATH";
            return false;
        }
    }
    return true;
}
