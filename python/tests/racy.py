"""A lost update, and its twin with a lock: for the test of the plugin. Not collected by itself."""

import os
import threading


class Account:
    def __init__(self, lock):
        self.balance = 0
        self.lock = lock
        self.log = os.open(os.devnull, os.O_WRONLY)

    def deposit(self):
        with self.lock:
            before = self.balance
            os.write(self.log, b"deposit\n")
            self.balance = before + 1


class NoLock:
    def __enter__(self):
        pass

    def __exit__(self, *_):
        pass


def deposited(lock):
    account = Account(lock)
    threads = [threading.Thread(target=account.deposit) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return account.balance


def test_planted_lost_update():
    assert deposited(NoLock()) == 2


def test_twin_with_a_lock():
    assert deposited(threading.Lock()) == 2


def test_parametrised():
    assert True
