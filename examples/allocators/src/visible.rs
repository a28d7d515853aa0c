//! A lock that heisenbed sees: std's is a word in memory, unless somebody waits for it.

use std::cell::UnsafeCell;

/// Held around each call of an allocator.
pub struct Lock(Box<UnsafeCell<libc::pthread_mutex_t>>);

// SAFETY: a mutex is made to be used by several threads.
unsafe impl Sync for Lock {}
// SAFETY: it stays where it is, whoever has the box.
unsafe impl Send for Lock {}

impl Lock {
    pub fn new() -> Lock {
        Lock(Box::new(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER)))
    }

    pub fn held<T>(&self, work: impl FnOnce() -> T) -> T {
        // SAFETY: it was initialised, and nothing in `work` leaves by a panic that is caught.
        unsafe { libc::pthread_mutex_lock(self.0.get()) };
        let done = work();
        // SAFETY: this thread has just locked it.
        unsafe { libc::pthread_mutex_unlock(self.0.get()) };
        done
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // SAFETY: nobody has it any more.
        unsafe { libc::pthread_mutex_destroy(self.0.get()) };
    }
}
