// Correct, one case a word: what is done by calls, threads and processes that are left to the
// system. The last one is not correct: nobody posts what it waits for.
#include "../threads.h"
#include <aio.h>
#include <fcntl.h>
#include <semaphore.h>
#include <signal.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int value;
static sem_t posted;

static void wait_for(sem_t *semaphore) {
    while (sem_wait(semaphore) != 0) {
    }
}

static pthread_barrier_t *barrier;

static void *passes(void *unused) {
    (void)unused;
    if (pthread_barrier_wait(barrier) == PTHREAD_BARRIER_SERIAL_THREAD) {
        pthread_barrier_destroy(barrier);
        free(barrier);
    }
    return NULL;
}

static void barrier_destroyed(void) {
    barrier = malloc(sizeof *barrier);
    pthread_barrier_init(barrier, NULL, 2);
    pthread_t other = start(passes, NULL);
    passes(NULL);
    join(other);
}

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make(void) { value = 42; }

static void *uses(void *unused) {
    (void)unused;
    pthread_once(&once, make);
    assert(value == 42);
    return NULL;
}

static void made_once(void) {
    pthread_t one = start(uses, NULL), other = start(uses, NULL);
    join(one);
    join(other);
}

static void read_nothing(void) {
    int ends[2];
    assert(pipe(ends) == 0);
    char nothing;
    assert(read(ends[0], &nothing, 0) == 0);
}

static void *yields(void *unused) {
    (void)unused;
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
    for (;;)
        sched_yield();
    return NULL;
}

static void *pauses(void *unused) {
    (void)unused;
    for (;;)
        pause();
    return NULL;
}

static void cancelled(void *(*body)(void *)) {
    pthread_t other = start(body, NULL);
    pthread_cancel(other);
    void *result;
    assert(pthread_join(other, &result) == 0 && result == PTHREAD_CANCELED);
}

static int queue;

static void *sends(void *unused) {
    (void)unused;
    struct {
        long type;
        char text[4];
    } message = {1, "abc"};
    value = 7;
    assert(msgsnd(queue, &message, sizeof message.text, 0) == 0);
    return NULL;
}

static void message_queue(void) {
    struct {
        long type;
        char text[4];
    } message;
    queue = msgget(IPC_PRIVATE, 0600);
    assert(queue >= 0);
    pthread_t other = start(sends, NULL);
    assert(msgrcv(queue, &message, sizeof message.text, 1, 0) == sizeof message.text);
    assert(value == 7);
    join(other);
    msgctl(queue, IPC_RMID, NULL);
}

static void *signals(void *unused) {
    (void)unused;
    value = 7;
    kill(getpid(), SIGUSR1);
    return NULL;
}

static void signal_descriptor(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    int fd = signalfd(-1, &set, SFD_CLOEXEC);
    pthread_t other = start(signals, NULL);
    struct signalfd_siginfo info;
    assert(read(fd, &info, sizeof info) == sizeof info);
    assert(value == 7);
    join(other);
}

static int timer_fd;

static void *sets(void *unused) {
    (void)unused;
    struct itimerspec soon = {.it_value.tv_nsec = 1000000};
    value = 7;
    assert(timerfd_settime(timer_fd, 0, &soon, NULL) == 0);
    return NULL;
}

static void timer_descriptor(void) {
    timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    pthread_t other = start(sets, NULL);
    uint64_t count;
    assert(read(timer_fd, &count, sizeof count) == sizeof count);
    assert(value == 7);
    join(other);
}

static void posts(int unused) {
    (void)unused;
    sem_post(&posted);
}

static pid_t child_that_ends(sem_t *shared) {
    pid_t child = fork();
    if (child != 0)
        return child;
    struct timespec span = {.tv_nsec = 20000000};
    nanosleep(&span, NULL);
    if (shared)
        sem_post(shared);
    _exit(0);
}

static void child_signal(void) {
    sem_init(&posted, 0, 0);
    signal(SIGCHLD, posts);
    pid_t child = child_that_ends(NULL);
    wait_for(&posted);
    waitpid(child, NULL, 0);
}

static void shared_semaphore(void) {
    sem_t *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert(shared != MAP_FAILED && sem_init(shared, 1, 0) == 0);
    pid_t child = child_that_ends(shared);
    wait_for(shared);
    waitpid(child, NULL, 0);
}

static void rings(union sigval unused) {
    (void)unused;
    sem_post(&posted);
}

static void timer_thread(void) {
    sem_init(&posted, 0, 0);
    struct sigevent event = {.sigev_notify = SIGEV_THREAD, .sigev_notify_function = rings};
    timer_t timer;
    assert(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    struct itimerspec soon = {.it_value.tv_nsec = 20000000};
    assert(timer_settime(timer, 0, &soon, NULL) == 0);
    wait_for(&posted);
}

static void library_reads(void) {
    sem_init(&posted, 0, 0);
    static char text[4];
    int fd = open("/dev/zero", O_RDONLY);
    struct aiocb what = {.aio_fildes = fd, .aio_buf = text, .aio_nbytes = sizeof text};
    what.aio_sigevent.sigev_notify = SIGEV_THREAD;
    what.aio_sigevent.sigev_notify_function = rings;
    assert(aio_read(&what) == 0);
    wait_for(&posted);
}

static void runs_command(void) { assert(system("exit 0") == 0); }

static void reads_command(void) {
    FILE *said = popen("echo word", "r");
    char text[8] = "";
    assert(said && fgets(text, sizeof text, said) && strcmp(text, "word\n") == 0);
    assert(pclose(said) == 0);
}

static FILE *ends[2];
static int told;

static void *tells(void *late) {
    if (!late)
        told = 7;
    fprintf(ends[1], "go %d\n", 1);
    fflush(ends[1]);
    if (late)
        told = 7;
    return NULL;
}

static void streams(void *late) {
    int fds[2], number = 0;
    char line[16];
    assert(pipe(fds) == 0);
    ends[0] = fdopen(fds[0], "r");
    ends[1] = fdopen(fds[1], "w");
    pthread_t other;
    pthread_create(&other, NULL, tells, late);
    assert(fgets(line, sizeof line, ends[0]) && sscanf(line, "go %d", &number) == 1);
    assert(number == 1 && (late || told == 7));
    if (late)
        told++;
    pthread_join(other, NULL);
}

static void nobody_writes(void) {
    int fds[2];
    assert(pipe(fds) == 0);
    assert(getc(fdopen(fds[0], "r")) == EOF);
}

static int event;

static void *awaits_event(void *unused) {
    (void)unused;
    eventfd_t value;
    eventfd_read(event, &value);
    return NULL;
}

static void *does_nothing(void *unused) { return unused; }

/* The last that is done is the end of a thread. */
static void nobody_tells(void) {
    event = eventfd(0, 0);
    pthread_t one, other;
    pthread_create(&one, NULL, awaits_event, NULL);
    pthread_create(&other, NULL, does_nothing, NULL);
    pthread_join(one, NULL);
    pthread_join(other, NULL);
}

static void nobody_posts(void) {
    sem_init(&posted, 0, 0);
    pid_t child = child_that_ends(NULL);
    waitpid(child, NULL, 0);
    wait_for(&posted);
}

int main(int count, char **words) {
    const char *word = count > 1 ? words[1] : "";
#define CASE(name, call)                                                                           \
    if (strcmp(word, name) == 0)                                                                   \
    call
    CASE("barrier-destroyed", barrier_destroyed());
    CASE("once", made_once());
    CASE("read-nothing", read_nothing());
    CASE("cancelled-anywhere", cancelled(yields));
    CASE("cancelled-outside", cancelled(pauses));
    CASE("message-queue", message_queue());
    CASE("signal-descriptor", signal_descriptor());
    CASE("timer-descriptor", timer_descriptor());
    CASE("child-signal", child_signal());
    CASE("shared-semaphore", shared_semaphore());
    CASE("timer-thread", timer_thread());
    CASE("library-reads", library_reads());
    CASE("runs-command", runs_command());
    CASE("reads-command", reads_command());
    CASE("streams", streams(NULL));
    CASE("streams-late", streams(&told));
    CASE("nobody-writes", nobody_writes());
    CASE("nobody-tells", nobody_tells());
    CASE("nobody-posts", nobody_posts());
    return 0;
}
