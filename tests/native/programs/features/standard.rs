//! Features: the Rust library's threads: spawn, scope, mpsc, Mutex, Condvar, RwLock, Barrier,
//! Once, park and unpark, thread-local destructors, panics that a join returns.
//!
//! Each section prints a line, the same in every schedule; standard.rs.out has them.
//! Ends: exit 0.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, TrySendError};
use std::sync::{Arc, Barrier, Condvar, LazyLock, Mutex, Once, OnceLock, RwLock};
use std::thread;
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(2);

fn main() {
    mutex();
    condvar();
    rwlock();
    barrier();
    channels();
    once();
    parking();
    scope();
    locals();
    panics();
    time();
}

fn mutex() {
    let count = Arc::new(Mutex::new(0));
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let count = Arc::clone(&count);
            thread::spawn(move || {
                for _ in 0..50 {
                    *count.lock().unwrap() += 1;
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let held = count.lock().unwrap();
    let busy = thread::scope(|scope| scope.spawn(|| count.try_lock().is_err()).join().unwrap());
    println!("mutex: {}, busy {busy}", *held);
}

fn condvar() {
    let pair = (Mutex::new(0), Condvar::new());
    thread::scope(|scope| {
        for mine in 0..2 {
            let (turn, changed) = &pair;
            scope.spawn(move || {
                for _ in 0..10 {
                    let mut turn = changed
                        .wait_while(turn.lock().unwrap(), |turn| *turn % 2 != mine)
                        .unwrap();
                    *turn += 1;
                    changed.notify_all();
                }
            });
        }
    });
    let (turn, changed) = &pair;
    let (turn, result) = changed
        .wait_timeout_while(turn.lock().unwrap(), SHORT, |_| true)
        .unwrap();
    println!("condvar: {}, timed out {}", *turn, result.timed_out());
}

fn rwlock() {
    let value = RwLock::new(0);
    let sorted = AtomicBool::new(true);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..20 {
                    *value.write().unwrap() += 1;
                }
            });
            scope.spawn(|| {
                let mut last = 0;
                for _ in 0..20 {
                    let now = *value.read().unwrap();
                    if now < last {
                        sorted.store(false, Ordering::Relaxed);
                    }
                    last = now;
                }
            });
        }
    });
    let reading = value.read().unwrap();
    let (write, read) = (value.try_write().is_ok(), value.try_read().is_ok());
    println!(
        "rwlock: {}, sorted {sorted:?}, write {write}, read {read}",
        *reading
    );
}

fn barrier() {
    let meeting = Barrier::new(3);
    let leaders = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..4 {
                    if meeting.wait().is_leader() {
                        leaders.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    println!("barrier: {leaders:?} leaders of 4 rounds");
}

fn channels() {
    let (sender, receiver) = mpsc::channel();
    for first in [0, 100] {
        let sender = sender.clone();
        thread::spawn(move || (first..first + 5).for_each(|i| sender.send(i).unwrap()));
    }
    drop(sender);
    let mut received: Vec<i32> = receiver.iter().collect();
    received.sort_unstable();

    let (sender, receiver) = mpsc::sync_channel(1);
    sender.send(1).unwrap();
    let full = matches!(sender.try_send(2), Err(TrySendError::Full(2)));
    let sending = thread::spawn(move || (2..5).for_each(|i| sender.send(i).unwrap()));
    let sum: i32 = receiver.iter().sum();
    sending.join().unwrap();

    let (sender, receiver) = mpsc::sync_channel::<()>(0);
    let late = receiver.recv_timeout(SHORT) == Err(RecvTimeoutError::Timeout);
    let meeting = thread::spawn(move || sender.send(()).is_ok());
    let met = receiver.recv().is_ok();
    println!(
        "mpsc: {received:?}, full {full}, sum {sum}, late {late}, met {met} {}",
        meeting.join().unwrap()
    );
}

fn once() {
    static ONCE: Once = Once::new();
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    static CELL: OnceLock<usize> = OnceLock::new();
    static LAZY: LazyLock<usize> = LazyLock::new(|| CALLS.fetch_add(100, Ordering::Relaxed));
    thread::scope(|scope| {
        for i in 0..3 {
            scope.spawn(move || {
                ONCE.call_once(|| {
                    thread::yield_now();
                    CALLS.fetch_add(1, Ordering::Relaxed);
                });
                CELL.get_or_init(|| i);
                LazyLock::force(&LAZY);
            });
        }
    });
    println!("once: {CALLS:?}, cell {}", CELL.get().is_some());
}

fn parking() {
    let turn = Arc::new(AtomicUsize::new(0));
    let main = thread::current();
    let theirs = Arc::clone(&turn);
    let other = thread::spawn(move || {
        for i in 0..5 {
            while theirs.load(Ordering::SeqCst) != 2 * i + 1 {
                thread::park();
            }
            theirs.store(2 * i + 2, Ordering::SeqCst);
            main.unpark();
        }
    });
    for i in 0..5 {
        turn.store(2 * i + 1, Ordering::SeqCst);
        other.thread().unpark();
        while turn.load(Ordering::SeqCst) != 2 * i + 2 {
            thread::park();
        }
    }
    other.join().unwrap();
    thread::park_timeout(SHORT);
    println!("park: {turn:?} turns");
}

fn scope() {
    let mut numbers = vec![5, 3, 1];
    let (first, rest) = numbers.split_at_mut(1);
    let sum = thread::scope(|scope| {
        let one = scope.spawn(|| first.iter().sum::<i32>());
        let other = thread::Builder::new()
            .name("rest".to_owned())
            .spawn_scoped(scope, || {
                rest.reverse();
                thread::current().name().map(str::len)
            })
            .unwrap();
        (one.join().unwrap(), other.join().unwrap())
    });
    println!("scope: {sum:?} {numbers:?}");
}

fn locals() {
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    struct Local(Cell<usize>);
    impl Drop for Local {
        fn drop(&mut self) {
            DROPPED.fetch_add(self.0.get(), Ordering::SeqCst);
        }
    }
    thread_local!(static LOCAL: Local = const { Local(Cell::new(0)) });
    // Joins of threads and not of a scope: a scope ends before its threads' values are dropped.
    let threads = [1, 10].map(|uses| thread::spawn(move || LOCAL.with(|local| local.0.set(uses))));
    for thread in threads {
        thread.join().unwrap();
    }
    println!("thread_local: dropped {DROPPED:?}");
}

fn panics() {
    std::panic::set_hook(Box::new(|_| ()));
    let mutex = Arc::new(Mutex::new(0));
    let theirs = Arc::clone(&mutex);
    let result = thread::spawn(move || {
        let _guard = theirs.lock().unwrap();
        panic!("on purpose");
    })
    .join();
    let text = result
        .unwrap_err()
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned());
    println!("panic: {text:?}, poisoned {}", mutex.is_poisoned());
}

fn time() {
    let before = Instant::now();
    thread::sleep(SHORT);
    println!("sleep: long enough {}", before.elapsed() >= SHORT);
}
