// Idiom: a transfer between two accounts, each with a lock of its own.
// Bug: the sum is taken between the withdrawal and the deposit, since no lock spans both.
// Fewest preemptions: 1, of the transfer after its first unlock, or of the audit after its first.
// Failure: an assertion on the sum: abort.
#include "common.h"

struct account {
    pthread_mutex_t mutex;
    int balance;
};

static struct account first = {PTHREAD_MUTEX_INITIALIZER, 100};
static struct account second = {PTHREAD_MUTEX_INITIALIZER, 50};

static void *transfer(void *unused) {
    (void)unused;
    pthread_mutex_lock(&first.mutex);
#ifdef FIXED
    pthread_mutex_lock(&second.mutex);
    first.balance -= 20;
    second.balance += 20;
    pthread_mutex_unlock(&second.mutex);
    pthread_mutex_unlock(&first.mutex);
#else
    first.balance -= 20;
    pthread_mutex_unlock(&first.mutex);
    pthread_mutex_lock(&second.mutex);
    second.balance += 20;
    pthread_mutex_unlock(&second.mutex);
#endif
    return NULL;
}

static void *audit(void *unused) {
    (void)unused;
    pthread_mutex_lock(&first.mutex);
    int sum = first.balance;
#ifndef FIXED
    pthread_mutex_unlock(&first.mutex);
#endif
    pthread_mutex_lock(&second.mutex);
    sum += second.balance;
    pthread_mutex_unlock(&second.mutex);
#ifdef FIXED
    pthread_mutex_unlock(&first.mutex);
#endif
    assert(sum == 150);
    return NULL;
}

int main(void) {
    pthread_t mover = start(transfer, NULL);
    pthread_t auditor = start(audit, NULL);
    join(mover);
    join(auditor);
    return 0;
}
