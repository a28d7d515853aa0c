// Features: the C++20 library's threads: jthread, stop_token, latch, barrier, counting_semaphore,
// atomic wait and notify, shared_mutex, timed waits, call_once, condition_variable_any, futures,
// static initialisation, and destructors of thread_local objects.
// Each section prints a line, the same in every schedule; standard.cpp.out has them.
// Ends: exit 0.
// Two places ask much of what stands in between: `once` throws through call_once, and `futures`
// makes a value ready in the library's own code, where no loads and stores are instrumented.
#include <atomic>
#include <barrier>
#include <chrono>
#include <condition_variable>
#include <future>
#include <iostream>
#include <latch>
#include <mutex>
#include <numeric>
#include <semaphore>
#include <shared_mutex>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

static const char *yes(bool value) {
    return value ? "yes" : "no";
}

static void stopping() {
    std::mutex mutex;
    std::condition_variable_any changed;
    std::atomic<int> callbacks = 0;
    bool stopped = false;
    {
        std::jthread waiting([&](std::stop_token token) {
            std::stop_callback callback(token, [&] { callbacks++; });
            std::unique_lock lock(mutex);
            stopped = !changed.wait(lock, token, [] { return false; });
        });
        // The destructor asks to stop, and joins.
    }
    std::jthread polling([](std::stop_token token) {
        while (!token.stop_requested()) {
            std::this_thread::yield();
        }
    });
    bool first = polling.request_stop(), second = polling.request_stop();
    polling.join();
    std::cout << "jthread: stopped " << yes(stopped) << ", callbacks " << callbacks << ", asked "
              << yes(first) << " " << yes(second) << "\n";
}

static void meeting() {
    std::latch ready(3), go(1);
    std::atomic<int> sum = 0;
    int rounds = 0;
    auto completed = [&rounds]() noexcept { rounds++; };
    std::barrier meeting(3, completed);
    {
        std::vector<std::jthread> threads;
        for (int i = 1; i <= 3; i++) {
            threads.emplace_back([&, i] {
                ready.count_down();
                go.wait();
                meeting.arrive_and_wait();
                sum += i;
                if (i == 3) {
                    meeting.arrive_and_drop();
                } else {
                    meeting.arrive_and_wait();
                }
            });
        }
        ready.wait();
        int before = sum;
        go.count_down();
        std::cout << "latch: before " << before;
    }
    std::cout << ", after " << sum << ", barrier rounds " << rounds << "\n";
}

static void semaphores() {
    std::counting_semaphore<3> places(2);
    std::atomic<int> inside = 0, worst = 0;
    {
        std::vector<std::jthread> threads;
        for (int i = 0; i < 4; i++) {
            threads.emplace_back([&] {
                places.acquire();
                int now = ++inside;
                for (int seen = worst; seen < now && !worst.compare_exchange_weak(seen, now);) {
                }
                inside--;
                places.release();
            });
        }
    }
    bool in_time = places.try_acquire_for(1ms) && places.try_acquire();
    bool late = places.try_acquire() || places.try_acquire_for(1ms) ||
                places.try_acquire_until(std::chrono::steady_clock::now() + 1ms);
    std::binary_semaphore handed(0);
    std::jthread poster([&] { handed.release(); });
    handed.acquire();
    std::cout << "semaphore: at most two " << yes(worst <= 2) << ", in time " << yes(in_time)
              << ", late " << yes(late) << "\n";
}

static void atomics() {
    std::atomic<int> turn = 0;
    std::atomic_flag flag = ATOMIC_FLAG_INIT;
    std::atomic<long> wide = 0;
    {
        auto play = [&](int mine) {
            for (int i = 0; i < 10; i++) {
                for (int seen = turn; seen % 2 != mine; seen = turn) {
                    turn.wait(seen);
                }
                turn++;
                turn.notify_all();
            }
            flag.wait(false);
            wide++;
            wide.notify_one();
        };
        std::jthread one(play, 0), other(play, 1);
        flag.test_and_set();
        flag.notify_all();
        for (long seen = wide; seen < 2; seen = wide) {
            wide.wait(seen);
        }
    }
    std::cout << "atomic wait: " << turn << " turns, wide " << wide << "\n";
}

static void locks() {
    std::shared_mutex shared;
    int value = 0;
    std::atomic<bool> sorted = true;
    {
        std::vector<std::jthread> threads;
        for (int i = 0; i < 2; i++) {
            threads.emplace_back([&] {
                for (int turn = 0; turn < 10; turn++) {
                    std::unique_lock lock(shared);
                    value++;
                }
            });
            threads.emplace_back([&] {
                for (int turn = 0, last = 0; turn < 10; turn++) {
                    std::shared_lock lock(shared);
                    sorted = sorted && last <= value;
                    last = value;
                }
            });
        }
    }
    std::shared_timed_mutex timed;
    std::timed_mutex plain_timed;
    std::recursive_timed_mutex recursive;
    std::scoped_lock all(timed, plain_timed, recursive);
    bool got = false;
    std::thread([&] {
        got = timed.try_lock_for(1ms) || timed.try_lock_shared_for(1ms) ||
              plain_timed.try_lock_until(std::chrono::system_clock::now() + 1ms) ||
              recursive.try_lock_until(std::chrono::steady_clock::now() + 1ms) ||
              plain_timed.try_lock();
    }).join();
    bool again = recursive.try_lock();
    recursive.unlock();
    std::cout << "locks: value " << value << ", sorted " << yes(sorted) << ", got a held one "
              << yes(got) << ", recursive " << yes(again) << "\n";
}

static void conditions() {
    std::mutex mutex;
    std::condition_variable changed;
    bool set = false;
    std::unique_lock lock(mutex);
    bool early = changed.wait_for(lock, 1ms, [&] { return set; });
    bool until = changed.wait_until(lock, std::chrono::system_clock::now() + 1ms,
                                    [&] { return set; });
    std::jthread setter([&] {
        std::lock_guard guard(mutex);
        set = true;
        changed.notify_one();
    });
    changed.wait(lock, [&] { return set; });
    std::jthread at_exit([&] {
        std::unique_lock own(mutex);
        set = false;
        std::notify_all_at_thread_exit(changed, std::move(own));
    });
    changed.wait(lock, [&] { return !set; });
    lock.unlock();
    std::condition_variable_any any;
    std::shared_mutex other;
    std::shared_lock shared(other);
    bool any_early = any.wait_for(shared, 1ms, [] { return false; });
    std::cout << "condition: early " << yes(early) << " " << yes(until) << " " << yes(any_early)
              << "\n";
}

static int instances = 0;

struct Instance {
    Instance() {
        std::this_thread::yield();
        instances++;
    }
};

static void once() {
    std::once_flag flag;
    int calls = 0, thrown = 0;
    auto body = [&] {
        std::call_once(flag, [&] { calls++; });
        static Instance instance;
        (void)instance;
    };
    {
        std::jthread one(body), two(body), three(body);
    }
    std::once_flag retried;
    for (int i = 0; i < 2; i++) {
        try {
            std::call_once(retried, [&] {
                if (thrown++ == 0) {
                    throw std::runtime_error("first time");
                }
            });
        } catch (const std::runtime_error &) {
        }
    }
    std::cout << "once: calls " << calls << ", instances " << instances << ", tries " << thrown
              << "\n";
}

static void futures() {
    auto sum = std::async(std::launch::async, [] {
        std::vector<int> numbers(100);
        std::iota(numbers.begin(), numbers.end(), 1);
        return std::accumulate(numbers.begin(), numbers.end(), 0);
    });
    auto failing = std::async(std::launch::async, []() -> int { throw std::logic_error("wrong"); });
    std::promise<std::string> promise;
    std::shared_future<std::string> text = promise.get_future().share();
    bool early = text.wait_for(1ms) == std::future_status::ready;
    std::packaged_task<int(int)> task([](int x) { return 2 * x; });
    std::future<int> doubled = task.get_future();
    std::jthread worker(std::move(task), 21);
    std::jthread teller([&promise] { promise.set_value_at_thread_exit("told"); });
    std::string caught;
    try {
        failing.get();
    } catch (const std::logic_error &error) {
        caught = error.what();
    }
    std::cout << "future: " << sum.get() << ", " << caught << ", early " << yes(early) << ", "
              << text.get() << ", " << doubled.get() << "\n";
}

static std::atomic<int> destroyed = 0;

struct Local {
    int uses = 0;
    ~Local() { destroyed += uses; }
};

static thread_local Local local;

static void locals() {
    {
        std::jthread one([] { local.uses += 1; }), other([] { local.uses += 10; });
    }
    std::cout << "thread_local: destroyed " << destroyed << "\n";
}

static void times() {
    auto before = std::chrono::steady_clock::now();
    std::this_thread::sleep_for(1ms);
    std::this_thread::sleep_until(std::chrono::steady_clock::now() + 1ms);
    auto passed = std::chrono::steady_clock::now() - before;
    std::cout << "sleep: long enough " << yes(passed >= 2ms) << "\n";
}

int main() {
    stopping();
    meeting();
    semaphores();
    atomics();
    locks();
    conditions();
    once();
    futures();
    locals();
    times();
    return 0;
}
