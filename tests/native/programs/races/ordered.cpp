// Correct programs in C++, each ordered in another way, that must not be accused of a data race in
// any schedule. The case is the argument; "all" is all of them.
#undef NDEBUG
#include <atomic>
#include <barrier>
#include <cassert>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <exception>
#include <future>
#include <latch>
#include <locale>
#include <memory>
#include <mutex>
#include <queue>
#include <semaphore>
#include <shared_mutex>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

static void waits() {
    int shared = 0;
    std::atomic<int> turn = 0;
    std::jthread other([&] {
        turn.wait(0);
        shared++;
        turn = 2;
        turn.notify_all();
    });
    shared = 1;
    turn.store(1, std::memory_order_release);
    turn.notify_one();
    turn.wait(1);
    assert(shared == 2);
}

static void latches() {
    std::vector<int> parts(3);
    std::latch latch(3);
    std::vector<std::jthread> threads;
    for (int at = 0; at < 3; at++)
        threads.emplace_back([&, at] {
            parts[at] = 1;
            latch.count_down();
        });
    latch.wait();
    assert(parts[0] + parts[1] + parts[2] == 3);
}

static void barriers() {
    int parts[2] = {0, 0}, sum = 0;
    std::barrier barrier(2, [&]() noexcept { sum = parts[0] + parts[1]; });
    auto work = [&](int mine) {
        for (int round = 1; round <= 3; round++) {
            parts[mine] = round;
            barrier.arrive_and_wait();
            assert(sum == 2 * round);
        }
    };
    std::jthread one(work, 0), two(work, 1);
}

static void semaphores() {
    int shared = 0;
    std::binary_semaphore free(1);
    auto work = [&] {
        free.acquire();
        shared++;
        free.release();
    };
    std::jthread one(work), two(work);
}

static void stops() {
    int shared = 0;
    std::jthread worker([&](std::stop_token stop) {
        while (!stop.stop_requested())
            std::this_thread::yield();
        shared++;
    });
    shared = 1;
    worker.request_stop();
    worker.join();
    assert(shared == 2);
}

static void stop_callbacks() {
    int shared = 0;
    std::stop_source source;
    std::stop_callback callback(source.get_token(), [&] { shared++; });
    std::jthread other([&] {
        shared = 1;
        source.request_stop();
    });
    other.join();
    assert(shared == 2);
}

static void onces() {
    int shared = 0;
    std::once_flag flag;
    auto work = [&] {
        std::call_once(flag, [&] { shared = 3; });
        assert(shared == 3);
    };
    std::jthread one(work), two(work);
}

struct Slow {
    std::string name;
    Slow() : name("made by whoever comes first") {}
};
static void statics() {
    auto work = [] {
        static Slow slow;
        assert(slow.name.size() > 4);
    };
    std::jthread one(work), two(work);
}

static void futures() {
    std::promise<std::vector<int>> promise;
    auto result = promise.get_future();
    std::jthread teller([&] { promise.set_value(std::vector<int>{1, 2, 3}); });
    assert(result.get().size() == 3);
    auto sum = std::async(std::launch::async, [] { return std::vector<int>(5).size(); });
    assert(sum.get() == 5);
    std::packaged_task<std::string()> task([] { return std::string(100, 'x'); });
    auto text = task.get_future();
    std::jthread worker(std::move(task));
    assert(text.get().size() == 100);
}

static void exits() {
    std::promise<std::string> promise;
    auto result = promise.get_future();
    std::jthread teller([&] { promise.set_value_at_thread_exit(std::string(100, 'x')); });
    assert(result.get().size() == 100);
    std::mutex mutex;
    std::condition_variable condition;
    int shared = 0;
    std::thread last([&] {
        std::unique_lock lock(mutex);
        shared = 1;
        std::notify_all_at_thread_exit(condition, std::move(lock));
    });
    std::unique_lock lock(mutex);
    condition.wait(lock, [&] { return shared == 1; });
    lock.unlock();
    last.join();
}

// Whoever gives it up last destroys it.
struct Owned {
    int content = 1;
    ~Owned() { content = 0; }
};
static void owners() {
    auto owned = std::make_shared<Owned>();
    std::weak_ptr<Owned> weak = owned;
    std::thread one([mine = owned] { assert(mine->content == 1); });
    std::thread two([mine = std::move(owned)]() mutable {
        assert(mine->content == 1);
        mine.reset();
    });
    if (auto mine = weak.lock())
        assert(mine->content == 1);
    one.join();
    two.join();
}

static void atomic_owners() {
    std::atomic<std::shared_ptr<int>> current = std::make_shared<int>(1);
    std::jthread writer([&] { current.store(std::make_shared<int>(2)); });
    std::jthread reader([&] {
        auto mine = current.load();
        assert(*mine == 1 || *mine == 2);
    });
}

// The facet keeps what it was asked before: as regular expressions and streams do.
static void facets() {
    auto narrow = [] {
        const auto &facet = std::use_facet<std::ctype<char>>(std::locale::classic());
        assert(facet.narrow('x', '?') == 'x');
    };
    std::jthread one(narrow), two(narrow);
}

struct Refused : std::exception {
    std::string why = "a reason that is too long to be kept inside of the string itself";
    ~Refused() override { why.clear(); }
};
static void exceptions() {
    std::exception_ptr refused;
    try {
        throw Refused();
    } catch (...) {
        refused = std::current_exception();
    }
    auto look = [](std::exception_ptr mine) {
        try {
            std::rethrow_exception(std::move(mine));
        } catch (const Refused &error) {
            assert(error.why.size() > 20);
        }
    };
    std::thread one(look, refused), two(look, std::move(refused));
    refused = nullptr;
    one.join();
    two.join();
}

static void queues() {
    std::mutex mutex;
    std::condition_variable_any filled;
    std::queue<std::unique_ptr<std::string>> queue;
    std::jthread producer([&] {
        for (int at = 0; at < 3; at++) {
            auto text = std::make_unique<std::string>(50, 'x');
            std::lock_guard lock(mutex);
            queue.push(std::move(text));
            filled.notify_one();
        }
    });
    for (int at = 0; at < 3; at++) {
        std::unique_lock lock(mutex);
        filled.wait(lock, [&] { return !queue.empty(); });
        auto text = std::move(queue.front());
        queue.pop();
        lock.unlock();
        text->append("y");
        assert(text->size() == 51);
    }
}

static void shared_locks() {
    std::shared_mutex mutex;
    std::string text = "old";
    auto read = [&] {
        std::shared_lock lock(mutex);
        assert(text == "old" || text.size() == 60);
    };
    std::jthread one(read), two(read);
    std::jthread writer([&] {
        std::unique_lock lock(mutex);
        text.assign(60, 'x');
    });
}

int main(int argc, char **argv) {
    struct {
        const char *name;
        void (*run)();
    } cases[] = {
        {"wait", waits},           {"latch", latches},
        {"barrier", barriers},     {"semaphore", semaphores},
        {"stop", stops},           {"stop-callback", stop_callbacks},
        {"once", onces},           {"static", statics},
        {"facet", facets},
        {"future", futures},       {"exit", exits},
        {"owner", owners},         {"atomic-owner", atomic_owners},
        {"exception", exceptions}, {"queue", queues},
        {"shared-lock", shared_locks},
    };
    const char *name = argc > 1 ? argv[1] : "all";
    int done = 0;
    for (auto &one : cases)
        if (std::strcmp(name, one.name) == 0 || std::strcmp(name, "all") == 0) {
            one.run();
            done++;
        }
    if (done)
        return 0;
    std::fprintf(stderr, "%s: no such case\n", name);
    return 70;
}
