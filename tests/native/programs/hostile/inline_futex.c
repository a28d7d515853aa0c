// Hostile: two threads that hand over by a futex system call which is in the program's own text,
// where no library can stand in between (x86-64; elsewhere by syscall).
// Ends: exit 0.
#define _GNU_SOURCE
#include "../threads.h"
#include <linux/futex.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

static _Atomic int turn;

static long futex(_Atomic int *word, int operation, int value) {
#ifdef __x86_64__
    long result;
    register long timeout __asm__("r10") = 0;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"((long)SYS_futex), "D"(word), "S"((long)operation), "d"((long)value),
                       "r"(timeout)
                     : "rcx", "r11", "memory");
    return result;
#else
    return syscall(SYS_futex, word, operation, value, NULL);
#endif
}

static void *play(void *side) {
    int mine = *(const int *)side;
    for (int i = 0; i < 10; i++) {
        while (turn != mine) {
            futex(&turn, FUTEX_WAIT_PRIVATE, 1 - mine);
        }
        turn = 1 - mine;
        futex(&turn, FUTEX_WAKE_PRIVATE, 1);
    }
    return NULL;
}

int main(void) {
    static int sides[2] = {0, 1};
    pthread_t one = start(play, &sides[0]);
    pthread_t other = start(play, &sides[1]);
    join(one);
    join(other);
    return turn;
}
