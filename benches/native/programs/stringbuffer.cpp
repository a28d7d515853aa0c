// Idiom: a string buffer with a lock in every method, appended to another one.
// Bug: append asks for the length and then for the characters in two locked calls; the source can
// shrink in between.
// Fewest preemptions: 2: of append between its calls, and of the other thread between erase and
// refill.
// Failure: an assertion on the range in get: abort.
#undef NDEBUG
#include <cassert>
#include <cstddef>
#include <mutex>
#include <string>
#include <thread>

class StringBuffer {
public:
    explicit StringBuffer(const char *text) : text_(text) {}

    std::size_t length() {
        std::lock_guard<std::recursive_mutex> guard(mutex_);
        return text_.size();
    }

    std::string get(std::size_t begin, std::size_t end) {
        std::lock_guard<std::recursive_mutex> guard(mutex_);
        assert(begin <= end && end <= text_.size());
        return text_.substr(begin, end - begin);
    }

    void erase(std::size_t begin, std::size_t end) {
        std::lock_guard<std::recursive_mutex> guard(mutex_);
        text_.erase(begin, end - begin);
    }

    void append(const char *more) {
        std::lock_guard<std::recursive_mutex> guard(mutex_);
        text_ += more;
    }

    void append(StringBuffer &other) {
        std::lock_guard<std::recursive_mutex> guard(mutex_);
#ifdef FIXED
        std::lock_guard<std::recursive_mutex> others(other.mutex_);
#endif
        std::size_t length = other.length();
        text_ += other.get(0, length);
    }

private:
    std::recursive_mutex mutex_;
    std::string text_;
};

int main() {
    StringBuffer source("abc");
    StringBuffer target("");
    std::thread writer([&source] {
        source.erase(0, 3);
        source.append("abc");
    });
    target.append(source);
    writer.join();
    return 0;
}
