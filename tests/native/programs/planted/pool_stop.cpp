// Planted: a pool is told to stop without the lock of its workers. One that has looked whether it
// is to stop, and does not wait yet, is not woken.
// Fewest preemptions: 2, of main before it tells, and of the worker between the two.
// Failure: deadlock.
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <queue>
#include <thread>

static std::mutex mutex;
static std::condition_variable work;
static std::queue<int> jobs; // under the mutex
static std::atomic<bool> stop{false};

static void serve() {
    std::unique_lock lock(mutex);
    for (;;) {
        while (jobs.empty()) {
            if (stop) {
                return;
            }
            work.wait(lock);
        }
        jobs.pop();
    }
}

int main() {
    std::thread worker(serve);
    {
        std::lock_guard lock(mutex);
        jobs.push(1);
    }
    work.notify_one();
#ifdef FIXED
    {
        std::lock_guard lock(mutex);
        stop = true;
    }
#else
    stop = true;
#endif
    work.notify_all();
    worker.join();
}
