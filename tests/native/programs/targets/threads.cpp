// A target whose threads look at who they are: at recursive and error-checking locks, at
// thread-local variables, at their numbers, and at what an exception carries. `options` names what
// it does besides: threads, handlers of signals, sleeping, ways to end, and what is done once.
#include <heisenbed.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <map>
#include <mutex>
#include <pthread.h>
#include <sstream>
#include <stdexcept>
#include <string>
#include <sys/types.h>
#include <thread>
#include <unistd.h>

namespace {

std::string what;
thread_local int depth = 0;
thread_local std::string name;
volatile sig_atomic_t got;

struct Space {
    std::recursive_mutex deep;
    pthread_mutex_t checked;
    uint64_t next = 1 << 16;
    std::map<uint64_t, uint64_t> live;
};

[[noreturn]] void wrong() { abort(); }

void expect(bool holds)
{
    if (!holds)
        wrong();
}

void down(Space &space, int more)
{
    std::lock_guard<std::recursive_mutex> guard(space.deep);
    depth++;
    if (more)
        down(space, more - 1);
    else
        expect(depth == 4);
    depth--;
}

struct Once {
    std::mutex inside;
    Once() { std::lock_guard<std::mutex> guard(inside); }
};

void *open_target(const hb_target_config *config, char *, size_t)
{
    what = config->options;
    if (what == "once") {
        static Once once;
        std::istringstream words(what);
        std::string word;
        words >> word;
    }
    auto space = new Space;
    pthread_mutexattr_t kind;
    pthread_mutexattr_init(&kind);
    pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_ERRORCHECK);
    pthread_mutex_init(&space->checked, &kind);
    return space;
}

void look_around(Space &space)
{
    down(space, 3);
    if (name.empty())
        name = std::to_string(gettid());
    expect(name == std::to_string(gettid()));
    try {
        down(space, 3);
        throw std::runtime_error(name);
    } catch (const std::exception &error) {
        down(space, 3);
        expect(error.what() == name);
    }
}

void besides(const Space &space)
{
    if (what == "thread")
        std::thread([] {}).join();
    if (what == "signal") {
        got = 0;
        signal(SIGUSR1, [](int) { got = 1; });
        raise(SIGUSR1);
        expect(got);
    }
    if (what == "sleep") {
        timespec span{0, 10000};
        nanosleep(&span, nullptr);
    }
    if (what == "abort" && space.live.size() == 2)
        abort();
    if (what == "segv" && space.live.size() == 2)
        *reinterpret_cast<volatile int *>(8) = 1;
}

int allocate(void *opened, uint32_t, uint32_t memory, uint64_t size, uint32_t flags, void *,
             void **handle, uint64_t *address)
{
    auto &space = *static_cast<Space *>(opened);
    if (memory > 1 || flags)
        return HB_TARGET_UNSUPPORTED;
    pid_t number = gettid();
    pthread_t self = pthread_self();
    double third = 1.0 / static_cast<double>(memory + 3);
    look_around(space);
    expect(pthread_mutex_lock(&space.checked) == 0);
    expect(pthread_mutex_lock(&space.checked) == EDEADLK);
    look_around(space);
    *address = space.next;
    space.next += (size + 4095) / 4096 * 4096;
    space.live[*address] = size;
    *handle = reinterpret_cast<void *>(*address);
    besides(space);
    expect(pthread_mutex_unlock(&space.checked) == 0);
    expect(number == gettid() && pthread_equal(self, pthread_self()));
    expect(third == 1.0 / static_cast<double>(memory + 3));
    return HB_TARGET_OK;
}

int deallocate(void *opened, void *handle)
{
    auto &space = *static_cast<Space *>(opened);
    look_around(space);
    expect(pthread_mutex_lock(&space.checked) == 0);
    space.live.erase(reinterpret_cast<uint64_t>(handle));
    expect(pthread_mutex_unlock(&space.checked) == 0);
    return HB_TARGET_OK;
}

void close_target(void *opened)
{
    auto space = static_cast<Space *>(opened);
    pthread_mutex_destroy(&space->checked);
    delete space;
}

} // namespace

extern "C" const hb_target *hb_target_v1(void)
{
    static const hb_target target = [] {
        hb_target made{};
        made.abi = HB_TARGET_ABI;
        made.abilities = HB_TARGET_SCATTERED;
        made.name = "threads";
        // So that no compiler makes it before the program runs.
        made.policy = getpid() > 0 ? "bump" : nullptr;
        made.open = open_target;
        made.allocate = allocate;
        made.deallocate = deallocate;
        made.close = close_target;
        return made;
    }();
    return &target;
}
