"""Features: a threaded Python program: Lock, RLock, Condition, Event, Barrier, Semaphore, Timer,
queues, thread-local values and ThreadPoolExecutor.

Each section prints a line, the same in every schedule; threaded.py.out has them.
Ends: exit 0.
"""

import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed


def run(*bodies):
    threads = [threading.Thread(target=body) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def locks():
    lock, recursive, count = threading.Lock(), threading.RLock(), [0]

    def add():
        for _ in range(100):
            with lock, recursive, recursive:
                count[0] += 1

    run(add, add, add)
    with lock:
        late = lock.acquire(timeout=0.002)
        busy = lock.acquire(blocking=False)
    print("lock:", count[0], late, busy)


def condition():
    changed, turn = threading.Condition(), [0]

    def play(mine):
        for _ in range(10):
            with changed:
                changed.wait_for(lambda: turn[0] % 2 == mine)
                turn[0] += 1
                changed.notify_all()

    run(lambda: play(0), lambda: play(1))
    with changed:
        early = changed.wait_for(lambda: False, timeout=0.002)
    print("condition:", turn[0], early)


def event():
    go, done, seen = threading.Event(), threading.Event(), []

    def wait():
        go.wait()
        seen.append(1)
        done.set()

    waiter = threading.Thread(target=wait)
    waiter.start()
    before = list(seen)
    go.set()
    done.wait()
    waiter.join()
    print("event:", before, seen, threading.Event().wait(0.002))


def barrier():
    meeting, places, lock = threading.Barrier(3), [], threading.Lock()

    def meet():
        for _ in range(3):
            place = meeting.wait()
            with lock:
                places.append(place)

    run(meet, meet, meet)
    broken = threading.Barrier(2)
    try:
        broken.wait(timeout=0.002)
    except threading.BrokenBarrierError:
        places.append("broken")
    print("barrier:", sorted(places[:-1]), places[-1])


def semaphore():
    places, lock, inside, worst = threading.BoundedSemaphore(2), threading.Lock(), [0], [0]

    def enter():
        with places:
            with lock:
                inside[0] += 1
                worst[0] = max(worst[0], inside[0])
            time.sleep(0.001)
            with lock:
                inside[0] -= 1

    run(enter, enter, enter, enter)
    print("semaphore: at most two", worst[0] <= 2)


def queues():
    work, results = queue.Queue(maxsize=2), queue.SimpleQueue()

    def produce():
        for i in range(10):
            work.put(i)
        work.put(None)
        work.put(None)

    def consume():
        while (item := work.get()) is not None:
            results.put(item * item)
            work.task_done()
        work.task_done()

    run(produce, consume, consume)
    work.join()
    try:
        work.get(timeout=0.002)
    except queue.Empty:
        print("queue:", sorted(results.get() for _ in range(10)), "empty")


def pool():
    with ThreadPoolExecutor(max_workers=3) as executor:
        powers = list(executor.map(lambda x: 2**x, range(8)))
        futures = [executor.submit(divmod, 7, i) for i in range(3)]
        failed = sum(future.exception() is not None for future in as_completed(futures))
    print("pool:", powers, failed)


def local():
    values, seen, lock = threading.local(), [], threading.Lock()

    def use(value):
        values.mine = value
        time.sleep(0.001)
        with lock:
            seen.append(values.mine)

    run(lambda: use(1), lambda: use(2))
    print("local:", sorted(seen), hasattr(values, "mine"))


def timer():
    rung = threading.Event()
    alarm = threading.Timer(0.002, rung.set)
    alarm.start()
    print("timer:", rung.wait())
    alarm.join()


for section in (locks, condition, event, barrier, semaphore, queues, pool, local, timer):
    section()
