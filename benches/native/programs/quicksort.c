// Idiom: a parallel quicksort. Who splits a range hands one half to an idle worker, if it finds
// one, and sorts it itself if not.
// Bug: a worker is seen to be idle under its lock and given the range under its lock, but not
// in one section: two threads find the same one, and one of the two ranges is lost.
// Fewest preemptions: 1, of a thread between its look and its gift.
// Failure: an assertion that the array is sorted: abort.
#include "common.h"

#ifndef WORKERS
#define WORKERS 3
#endif
enum { LENGTH = 12 };

struct worker {
    pthread_mutex_t mutex;
    pthread_cond_t given;
    enum { IDLE, BUSY, ENDING } state; // under the mutex, like the range
    int begin, end;
    pthread_t thread;
};

static struct worker workers[WORKERS];
static int array[LENGTH] = {5, 9, 2, 8, 3, 0, 1, 6, 11, 10, 4, 7};

static pthread_mutex_t count_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t all_idle = PTHREAD_COND_INITIALIZER;
static int busy; // under count_mutex: workers that are not idle

static void count(int change) {
    pthread_mutex_lock(&count_mutex);
    busy += change;
    if (busy == 0) {
        pthread_cond_signal(&all_idle);
    }
    pthread_mutex_unlock(&count_mutex);
}

static int give(struct worker *worker, int begin, int end) {
    pthread_mutex_lock(&worker->mutex);
    int idle = worker->state == IDLE;
#ifndef FIXED
    pthread_mutex_unlock(&worker->mutex);
    if (!idle) {
        return 0;
    }
    pthread_mutex_lock(&worker->mutex);
#endif
    if (idle) {
        if (worker->state == IDLE) {
            count(1);
        }
        worker->state = BUSY;
        worker->begin = begin;
        worker->end = end;
        pthread_cond_signal(&worker->given);
    }
    pthread_mutex_unlock(&worker->mutex);
    return idle;
}

static int split(int begin, int end) {
    int pivot = array[end - 1], place = begin;
    for (int i = begin; i < end; i++) {
        if (array[i] < pivot) {
            int moved = array[i];
            array[i] = array[place];
            array[place++] = moved;
        }
    }
    array[end - 1] = array[place];
    array[place] = pivot;
    return place;
}

static void sort(int begin, int end) {
    while (end - begin > 1) {
        int middle = split(begin, end);
        int given = 0;
        if (middle - begin > 1) {
            for (int i = 0; i < WORKERS && !given; i++) {
                given = give(&workers[i], begin, middle);
            }
            if (!given) {
                sort(begin, middle);
            }
        }
        begin = middle + 1;
    }
}

static void *work(void *argument) {
    struct worker *self = argument;
    pthread_mutex_lock(&self->mutex);
    for (;;) {
        while (self->state == IDLE) {
            pthread_cond_wait(&self->given, &self->mutex);
        }
        if (self->state == ENDING) {
            break;
        }
        int begin = self->begin, end = self->end;
        pthread_mutex_unlock(&self->mutex);
        sort(begin, end);
        pthread_mutex_lock(&self->mutex);
        self->state = IDLE;
        count(-1);
    }
    pthread_mutex_unlock(&self->mutex);
    return NULL;
}

int main(void) {
    for (int i = 0; i < WORKERS; i++) {
        pthread_mutex_init(&workers[i].mutex, NULL);
        pthread_cond_init(&workers[i].given, NULL);
        workers[i].thread = start(work, &workers[i]);
    }
    give(&workers[0], 0, LENGTH);
    pthread_mutex_lock(&count_mutex);
    while (busy > 0) {
        pthread_cond_wait(&all_idle, &count_mutex);
    }
    pthread_mutex_unlock(&count_mutex);
    for (int i = 0; i < WORKERS; i++) {
        pthread_mutex_lock(&workers[i].mutex);
        workers[i].state = ENDING;
        pthread_cond_signal(&workers[i].given);
        pthread_mutex_unlock(&workers[i].mutex);
        join(workers[i].thread);
    }
    for (int i = 0; i < LENGTH; i++) {
        assert(array[i] == i);
    }
    return 0;
}
