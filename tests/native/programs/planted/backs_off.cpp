// Planted: two threads take two locks in another order; the twin by std::scoped_lock, which gives
// up the first where the second is taken, and tries again.
// Fewest preemptions: 1, of either between its locks.
// Failure: deadlock; the twin ends, unless both back off in step for ever.
#include <mutex>
#include <thread>

static std::mutex left, right;

static void both(std::mutex &first, std::mutex &second) {
#ifdef FIXED
    std::scoped_lock locks(first, second);
#else
    std::lock_guard one(first);
    std::lock_guard other(second);
#endif
}

int main() {
    std::thread thread([] { both(right, left); });
    both(left, right);
    thread.join();
}
