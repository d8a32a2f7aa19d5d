"""The C side of interrupts: waiting, and what must not happen outside of generated code."""

from __future__ import annotations

import os
import resource
import select
import signal
import subprocess
import sys
import threading
import time

import pytest

from wasmjit.runtime.native import ffi, is_interrupted, lib, wait


def test_wait_is_poll() -> None:
    read_end, write_end = os.pipe()
    try:
        assert wait({read_end: select.POLLIN}, 0) == {}
        start = time.monotonic_ns()
        waits = 0
        while (left := start + 20_000_000 - time.monotonic_ns()) > 0:  # a signal may end a wait early
            assert wait({read_end: select.POLLIN}, left) == {}
            waits += 1
        assert waits < 10, "it returns at once instead of waiting"
        assert wait({read_end: select.POLLIN, write_end: select.POLLOUT}, None) == {write_end: select.POLLOUT}
        os.write(write_end, b"x")
        assert wait({read_end: select.POLLIN}, None) == {read_end: select.POLLIN}
    finally:
        os.close(read_end)
        os.close(write_end)
    assert wait({read_end: select.POLLIN}, 0) == {read_end: select.POLLNVAL}
    assert wait({}, 1000) == {}
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if descriptors < 1 << 20:
        with pytest.raises(OSError):
            wait({-number: select.POLLIN for number in range(1, descriptors + 10)}, 0)


def test_outside_of_wasm_nothing_is_interrupted() -> None:
    assert is_interrupted() is False
    store = lib.wj_store_new(1 << 20)
    assert lib.wj_store_interrupt(store) == 0
    lib.wj_store_free(store)


def test_epochs_count_in_c() -> None:
    epoch = ffi.new("uint64_t *")
    for _ in range(3):
        lib.wj_epoch_increment(epoch)
    assert epoch[0] == 3


STRAY = """
import os, signal, threading, time
from wasmjit import Engine, Func, FuncType, Instance, Module, Store
before = [n for n in range(signal.SIGRTMIN, signal.SIGRTMAX + 1)]
store = Store(Engine())
exports = Instance(store, Module(store.engine, '''(module (import "" "h" (func $h)) (func (export "f") (param i32)
  (loop call $h (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))))'''),
  [Func(store, FuncType([], []), lambda: None)]).exports(store)
exports["f"](store, 1)
ours = []
for number in before:  # ours do nothing where nothing is to be interrupted
    status = open("/proc/self/status").read()
    caught = int(next(line for line in status.splitlines() if line.startswith("SigCgt")).split()[1], 16)
    if caught >> (number - 1) & 1:
        ours.append(number)
assert len(ours) == 2, ours
def fire():
    for _ in range(300):
        for number in ours:
            signal.pthread_kill(threading.main_thread().ident, number)
        time.sleep(0.0002)
thread = threading.Thread(target=fire)
thread.start()
while thread.is_alive():
    exports["f"](store, 1000)
time.sleep(0.01)
print("ok")
"""


def test_stray_signals_do_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", STRAY], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("ok\n", "")


def test_threads_end_while_others_interrupt() -> None:
    """A thread's timer and its place in the list go with it."""
    from wasmjit import Engine, Func, FuncType, Store

    engine = Engine()
    stores: list[Store] = []

    def work() -> None:
        store = Store(engine, timeout=60)
        stores.append(store)
        Func(store, FuncType([], []), lambda: None)(store)

    for _ in range(100):
        thread = threading.Thread(target=work)
        thread.start()
        for store in stores[-3:]:
            store.interrupt()
        thread.join()
    assert not any(store.interrupt() for store in stores)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
