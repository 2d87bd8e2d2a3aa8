#!/usr/bin/env python3
"""A Switchyard worker in Python, with redis-py (pip install redis): threads that call a function.

usage: worker.py ID [--queue Q] [--slots N] [--redis URL]

A task's `payload` is JSON: {"sleep": seconds, "fail": message, "echo": anything}. Replace `work` with your own function.
"""
import argparse
import json
import signal
import threading

import redis


class LeaseLost(Exception):
    """The task was cancelled, or the lease was lost: stop at once, because the result would be refused."""


def work(task, stopped):
    """Runs `task` (its fields, as bytes) and returns its result. `stopped` is set when it must end early."""
    order = json.loads(task.get(b"payload", b"{}"))
    if stopped.wait(order.get("sleep", 0)):
        raise LeaseLost
    if "fail" in order:
        raise RuntimeError(order["fail"])
    return json.dumps(order.get("echo")).encode()


class Worker:
    def __init__(self, connection, worker_id, queue, slots):
        self.redis, self.id, self.slots = connection, worker_id, slots
        self.prefix = f"switchyard:{{{queue}}}:"
        self.running = {}  # (task id, attempt) -> event that stops it
        self.draining = threading.Event()
        self.wake = threading.Event()

    def call(self, function, *arguments):
        return self.redis.fcall(f"switchyard_{function}", 2, self.prefix, self.prefix + "config", "worker", self.id, *arguments)

    def register(self):
        reply = self.call("register", "slots", self.slots)
        return int(dict(zip(reply[::2], reply[1::2]))[b"heartbeat_ms"]) / 1000

    def run(self):
        heartbeat = self.register()
        threading.Thread(target=self.beat, args=(heartbeat,), daemon=True).start()
        while not (self.draining.is_set() and not self.running):
            free = self.slots - len(self.running)
            if free and not self.draining.is_set():
                pulled = self.pull(free)
                for assignment in pulled:
                    self.start(dict(zip(assignment[::2], assignment[1::2])))
                if len(pulled) < free:
                    # Sleeps until there may be tasks, at most 1 s, so that a drain is noticed too.
                    self.redis.blpop(f"{self.prefix}wake:{self.id}", 1)
            else:
                self.wake.wait(1)
                self.wake.clear()
        self.call("deregister")

    def pull(self, count):
        try:
            return self.call("pull", "max", count, "start", 1)
        except redis.ResponseError as error:
            if not str(error).startswith("WORKERNOTFOUND"):
                raise
            self.register()
            return []

    def start(self, task):
        key = (task[b"task"].decode(), int(task[b"attempt"]))
        if key in self.running:
            return
        stopped = self.running[key] = threading.Event()
        threading.Thread(target=self.attempt, args=(key, task, stopped), daemon=True).start()

    def attempt(self, key, task, stopped):
        report = ["outcome", "completed"]
        try:
            report += ["result", work(task, stopped)]
        except LeaseLost:
            report = None
        except Exception as error:  # whatever `work` raises fails the attempt
            report = ["outcome", "failed", "error_code", type(error).__name__, "error_message", str(error)]
        if report and not stopped.is_set():
            # The reply has one value for each task: the new state, or an error such as LEASELOST.
            (outcome,), _ = self.call("finish", "task", key[0], "attempt", key[1], *report)
            if isinstance(outcome, Exception):
                print(f"{key[0]}: {outcome}", flush=True)
        del self.running[key]
        self.wake.set()

    def beat(self, interval):
        while True:
            threading.Event().wait(interval)
            held = [part for task, attempt in list(self.running) for part in ("task", task, "attempt", attempt)]
            try:
                reply = self.call("heartbeat", *held)
            except redis.ResponseError as error:
                if not str(error).startswith("WORKERNOTFOUND"):
                    raise
                self.register()
                continue
            orders = dict(zip(reply[::2], reply[1::2]))
            if orders[b"drain"] == b"1":
                self.draining.set()
            stop = orders[b"stop"]
            for task, attempt in zip(stop[::3], stop[1::3]):
                event = self.running.get((task.decode(), int(attempt)))
                if event:
                    event.set()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("id")
    parser.add_argument("--queue", default="default")
    parser.add_argument("--slots", type=int, default=1)
    parser.add_argument("--redis", default="redis://127.0.0.1:6379")
    options = parser.parse_args()
    connection = redis.Redis.from_url(options.redis)
    worker = Worker(connection, options.id, options.queue, options.slots)
    signal.signal(signal.SIGTERM, lambda *_: worker.draining.set())
    worker.run()


if __name__ == "__main__":
    main()
