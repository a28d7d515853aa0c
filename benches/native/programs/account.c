// Idiom: an unsynchronised counter, as the balance of an account.
// Bug: deposit and withdrawal read, compute and write without the lock, so one update is lost.
// Fewest preemptions: 1, between the load and the store of either.
// Failure: an assertion on the balance, in the audit or at the end: abort.
#include "common.h"

enum { OPENING = 100, DEPOSIT = 40, WITHDRAWAL = 30 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static shared_int balance = OPENING;
static int booked; // under the mutex

static void book(int amount) {
#ifdef FIXED
    pthread_mutex_lock(&mutex);
    balance = balance + amount;
#else
    balance = balance + amount;
    pthread_mutex_lock(&mutex);
#endif
    booked++;
    pthread_mutex_unlock(&mutex);
}

static void *deposit(void *unused) {
    (void)unused;
    book(DEPOSIT);
    return NULL;
}

static void *withdraw(void *unused) {
    (void)unused;
    book(-WITHDRAWAL);
    return NULL;
}

static void *audit(void *unused) {
    (void)unused;
    pthread_mutex_lock(&mutex);
    if (booked == 2) {
        assert(balance == OPENING + DEPOSIT - WITHDRAWAL);
    }
    pthread_mutex_unlock(&mutex);
    return NULL;
}

int main(void) {
    pthread_t auditor = start(audit, NULL);
    pthread_t payer = start(deposit, NULL);
    pthread_t payee = start(withdraw, NULL);
    join(auditor);
    join(payer);
    join(payee);
    assert(balance == OPENING + DEPOSIT - WITHDRAWAL);
    return 0;
}
