// Planted: data races of C++ that no check notices. The case is the argument. With -DFIXED each is
// ordered.
// Failure: data-race, where loads and stores are instrumented; none otherwise.
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

static std::mutex mutex;

#ifdef FIXED
#define GUARD std::lock_guard<std::mutex> guard(mutex)
#else
#define GUARD
#endif

// The destructor of the base changes the table of virtual functions that the other thread calls by.
struct Base {
    bool done = false;
    virtual void run() {}
    void finish() {
        std::lock_guard<std::mutex> guard(mutex);
        done = true;
    }
    virtual ~Base() {
        for (;;) {
            std::lock_guard<std::mutex> guard(mutex);
            if (done)
                break;
        }
    }
};

struct Derived : Base {
    void run() override {}
    ~Derived() override {
#ifdef FIXED
        for (;;) {
            std::lock_guard<std::mutex> guard(mutex);
            if (done)
                break;
        }
#endif
    }
};

static void destroy() {
    Base *object = new Derived;
    std::thread caller([object] {
        object->run();
        object->finish();
    });
    std::thread owner([object] { delete object; });
    caller.join();
    owner.join();
}

static void containers() {
    std::vector<int> list;
    std::map<int, int> tree;
    auto add = [&](int value) {
        GUARD;
        list.push_back(value);
        tree[value] = value;
    };
    std::thread one(add, 1), two(add, 2);
    one.join();
    two.join();
}

// Its count of owners is atomic, the pointer itself is not.
static void pointers() {
    auto shared = std::make_shared<int>(1);
    std::thread reader([&] {
        GUARD;
        auto mine = shared;
        (void)mine;
    });
    std::thread writer([&] {
        GUARD;
        shared = std::make_shared<int>(2);
    });
    reader.join();
    writer.join();
}

// Checked without the lock that it is made under.
static void lazy() {
    std::optional<int> value;
    auto get = [&] {
#ifndef FIXED
        if (value)
            return *value;
#endif
        std::lock_guard<std::mutex> guard(mutex);
        if (!value)
            value = 5;
        return *value;
    };
    std::thread one(get), two(get);
    one.join();
    two.join();
}

int main(int argc, char **argv) {
    const char *name = argc > 1 ? argv[1] : "vptr";
    if (std::strcmp(name, "vptr") == 0)
        destroy();
    else if (std::strcmp(name, "containers") == 0)
        containers();
    else if (std::strcmp(name, "pointer") == 0)
        pointers();
    else if (std::strcmp(name, "lazy") == 0)
        lazy();
    else {
        std::fprintf(stderr, "%s: no such case\n", name);
        return 70;
    }
    return 0;
}
