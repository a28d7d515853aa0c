// Planted: an uncaught C++ exception. A thread takes from a list that is empty when it comes
// first, and nobody catches what `at` throws.
// Fewest preemptions: 0, only an order: the taking thread before the list is filled.
// Failure: abort, with the exception's text.
#include <mutex>
#include <thread>
#include <vector>

static std::mutex mutex;
static std::vector<int> list;

static void fill() {
    std::lock_guard<std::mutex> guard(mutex);
    list.push_back(7);
}

static void take() {
    std::lock_guard<std::mutex> guard(mutex);
    list.at(0) = 8;
}

int main() {
    std::thread filler(fill);
#ifdef FIXED
    filler.join();
#endif
    std::thread taker(take);
    taker.join();
#ifndef FIXED
    filler.join();
#endif
    return 0;
}
