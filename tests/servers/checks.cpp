// What the C interface promises, one case a run: checks CASE SOCKET. Exits 0 when it holds.

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/wait.h>
#include <unistd.h>

#include "heisenbed.h"

namespace {

const char* socket_path;

void expect(bool holds, const char* what) {
    if (!holds) {
        std::fprintf(stderr, "does not hold: %s\n", what);
        std::exit(1);
    }
}

hb_client* connect(uint32_t flags) {
    hb_client* client = nullptr;
    const hb_status status = hb_connect(socket_path, &client, flags);
    if (status != HB_STATUS_OK) {
        std::fprintf(stderr, "hb_connect: %s\n", hb_error_text(status));
        std::exit(2);
    }
    return client;
}

hb_buffer buffer(uint64_t sequence, uint64_t generation) {
    hb_buffer buffer{};
    buffer.memory = HB_MEMORY_L1;
    buffer.address = 0x40;
    buffer.size_bytes = 128 * generation;
    buffer.generation = generation;
    buffer.sequence = sequence;
    buffer.thread = HB_THIS_THREAD;
    return buffer;
}

// Three messages about one address, the last first.
void reversed() {
    hb_client* client = connect(HB_BLOCKING);
    const hb_buffer third = buffer(3, 2), second = buffer(2, 1), first = buffer(1, 1);
    expect(hb_alloc(client, &third) == HB_STATUS_OK, "third");
    expect(hb_free(client, &second) == HB_STATUS_OK, "second");
    expect(hb_alloc(client, &first) == HB_STATUS_OK, "first");
    hb_totals totals{};
    expect(hb_query_totals(client, 0, 10000, &totals) == HB_STATUS_OK, "query");
    expect(totals.l1_bytes == 256, "only the second life is live");
    hb_close(client);
}

// A number that is taken and never sent.
void gap() {
    hb_client* client = connect(HB_BLOCKING);
    uint64_t lost = 0;
    expect(hb_stamp(client, 0, &lost) == HB_STATUS_OK && lost == 1, "the first number is 1");
    const hb_buffer sent = buffer(HB_STAMP_NOW, 1);
    expect(hb_alloc(client, &sent) == HB_STATUS_OK, "alloc");
    hb_close(client);
}

// Memory type on FREE, and circular buffers apart from buffers.
void apart() {
    hb_client* client = connect(HB_BLOCKING);
    hb_buffer l1 = buffer(HB_UNSTAMPED, 1), dram = l1;
    dram.memory = HB_MEMORY_DRAM;
    expect(hb_alloc(client, &l1) == HB_STATUS_OK && hb_alloc(client, &dram) == HB_STATUS_OK, "alloc");
    expect(hb_cb_alloc(client, &l1) == HB_STATUS_OK, "cb_alloc");
    hb_totals totals{};
    expect(hb_query_totals(client, 0, 10000, &totals) == HB_STATUS_OK, "query");
    expect(totals.l1_bytes == 128 && totals.dram_bytes == 128 && totals.cb_bytes == 128, "three are live");
    expect(hb_free(client, &l1) == HB_STATUS_OK && hb_cb_free(client, &l1) == HB_STATUS_OK, "free");
    expect(hb_query_totals(client, 0, 10000, &totals) == HB_STATUS_OK, "query");
    expect(totals.l1_bytes == 0 && totals.dram_bytes == 128 && totals.cb_bytes == 0, "DRAM is left");
    hb_close(client);
}

// Two clients of one process to one server count together.
void reconnect() {
    for (int round = 0; round < 3; ++round) {
        hb_client* client = connect(HB_BLOCKING);
        const hb_buffer one = buffer(HB_STAMP_NOW, 1);
        expect(hb_alloc(client, &one) == HB_STATUS_OK && hb_free(client, &one) == HB_STATUS_OK, "a pair");
        hb_close(client);
    }
}

// A child can't use its parent's client, and can have its own.
void forked() {
    hb_client* client = connect(HB_BLOCKING);
    const pid_t child = fork();
    const hb_buffer one = buffer(HB_STAMP_NOW, 1);
    if (child == 0) {
        uint64_t number = 0;
        hb_totals totals{};
        expect(hb_alloc(client, &one) == HB_STATUS_FORKED, "alloc in the child");
        expect(hb_stamp(client, 0, &number) == HB_STATUS_FORKED, "stamp in the child");
        expect(hb_query_totals(client, 0, 1000, &totals) == HB_STATUS_FORKED, "query in the child");
        hb_client* own = connect(HB_BLOCKING);
        expect(hb_alloc(own, &one) == HB_STATUS_OK, "alloc of the child's own client");
        // Connections are read in any order: the answer says that this one was, before the parent asks.
        expect(hb_query_totals(own, 0, 10000, &totals) == HB_STATUS_OK, "the child's query");
        hb_close(own);
        hb_close(client);
        std::_Exit(0);
    }
    int status = 0;
    expect(waitpid(child, &status, 0) == child && status == 0, "the child");
    expect(hb_alloc(client, &one) == HB_STATUS_OK, "the parent goes on");
    hb_totals totals{};
    expect(hb_query_totals(client, 0, 10000, &totals) == HB_STATUS_OK, "the parent's query");
    expect(totals.l1_bytes == 256, "both processes' buffers");
    hb_close(client);
}

// A slow server and a client that does not wait: what is dropped is counted.
void dontwait() {
    hb_client* client = connect(HB_DONTWAIT);
    const hb_buffer one = buffer(HB_UNSTAMPED, 1);
    uint64_t dropped = 0;
    for (int i = 0; i < 20000; ++i) {
        const hb_status status = i % 2 ? hb_free(client, &one) : hb_alloc(client, &one);
        expect(status == HB_STATUS_OK || status == HB_STATUS_DROPPED, "sent or dropped");
        dropped += status == HB_STATUS_DROPPED;
    }
    expect(dropped > 0 && hb_dropped_count(client) == dropped, "each drop is counted");
    hb_totals totals{};
    expect(hb_query_totals(client, 0, 1, &totals) == HB_STATUS_NO_ANSWER, "no answer in 1 ms");
    expect(hb_alloc(client, &one) == HB_STATUS_CLOSED, "closed by the missing answer");
    hb_close(client);
}

// Messages as a program sends them for whom tracking must not matter: it never waits, and goes on
// whatever becomes of its server.
void traffic() {
    hb_client* client = nullptr;
    if (hb_connect(socket_path, &client, HB_DONTWAIT) != HB_STATUS_OK) {
        return;
    }
    for (uint64_t i = 1; i <= 1000; ++i) {
        const hb_buffer one = buffer(HB_UNSTAMPED, i);
        hb_alloc(client, &one);
        hb_free(client, &one);
        if (i % 20 == 0) {
            usleep(1000);
        }
    }
    hb_totals totals{};
    hb_query_totals(client, 0, 1000, &totals);
    hb_close(client);
}

// The server dies: the next calls say so, and SIGPIPE does not kill the client.
void gone() {
    hb_client* client = connect(HB_BLOCKING);
    std::printf("connected\n");
    std::fflush(stdout);
    expect(std::getchar() == '\n', "a line when the server is dead");
    const hb_buffer one = buffer(HB_UNSTAMPED, 1);
    expect(hb_alloc(client, &one) == HB_STATUS_CLOSED, "alloc");
    hb_totals totals{};
    expect(hb_query_totals(client, 0, 1000, &totals) == HB_STATUS_CLOSED, "query");
    hb_close(client);
    expect(hb_connect(socket_path, &client, HB_BLOCKING) == HB_STATUS_NO_SERVER && !client, "connect");
}

// Whatever is passed, the answer is a status.
void misuse() {
    hb_client* client = connect(HB_BLOCKING);
    hb_client* other = client;
    uint64_t number = 0;
    hb_totals totals{};
    hb_buffer one = buffer(HB_UNSTAMPED, 1);
    expect(hb_connect(nullptr, &other, 0) == HB_STATUS_BAD_ARGUMENT && !other, "no path");
    expect(hb_connect(socket_path, nullptr, 0) == HB_STATUS_BAD_ARGUMENT, "no client");
    expect(hb_connect(socket_path, &other, 7) == HB_STATUS_BAD_ARGUMENT, "unknown flags");
    char endless[300];
    std::memset(endless, 'x', sizeof endless - 1);
    endless[sizeof endless - 1] = 0;
    expect(hb_connect(endless, &other, 0) == HB_STATUS_CANNOT_CONNECT, "a long path");
    expect(hb_alloc(nullptr, &one) == HB_STATUS_BAD_ARGUMENT, "alloc without client");
    expect(hb_free(client, nullptr) == HB_STATUS_BAD_ARGUMENT, "free without buffer");
    one.device = 65536;
    expect(hb_alloc(client, &one) == HB_STATUS_BAD_ARGUMENT, "device");
    one = buffer(HB_UNSTAMPED, 1);
    one.memory = 4;
    expect(hb_alloc(client, &one) == HB_STATUS_BAD_ARGUMENT, "memory");
    one = buffer(HB_UNSTAMPED, 0);
    expect(hb_alloc(client, &one) == HB_STATUS_BAD_ARGUMENT, "size 0");
    expect(hb_stamp(client, 70000, &number) == HB_STATUS_BAD_ARGUMENT, "stamp of a device");
    expect(hb_stamp(client, 0, nullptr) == HB_STATUS_BAD_ARGUMENT, "stamp into nothing");
    expect(hb_query_totals(client, 0, 1000, nullptr) == HB_STATUS_BAD_ARGUMENT, "totals into nothing");
    expect(hb_query_totals(nullptr, 0, 1000, &totals) == HB_STATUS_BAD_ARGUMENT, "totals of nobody");
    expect(hb_dropped_count(nullptr) == 0, "drops of nobody");
    expect(std::strlen(hb_error_text(4000000000u)) > 0, "a text for any status");
    hb_close(nullptr);
    hb_close(client);
}

}  // namespace

int main(int, char** argv) {
    const struct { const char* name; void (*run)(); } cases[] = {
        {"reversed", reversed}, {"gap", gap},           {"apart", apart}, {"reconnect", reconnect},
        {"forked", forked},     {"dontwait", dontwait}, {"gone", gone},   {"misuse", misuse},
        {"traffic", traffic},
    };
    socket_path = argv[2];
    for (const auto& one : cases) {
        if (std::strcmp(one.name, argv[1]) == 0) {
            one.run();
            return 0;
        }
    }
    std::fprintf(stderr, "no case %s\n", argv[1]);
    return 2;
}
