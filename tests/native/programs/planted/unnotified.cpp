// Planted: it stores what another thread waits for, and notifies nobody. Who waits tries a number
// of times before it sleeps.
// Fewest preemptions: 1, of main before it stores.
// Failure: deadlock: the thread sleeps although it need not.
#include <atomic>
#include <thread>

static std::atomic<int> flag{0};

int main() {
    std::thread waiter([] { flag.wait(0); });
    flag.store(1);
#ifdef FIXED
    flag.notify_one();
#endif
    waiter.join();
}
