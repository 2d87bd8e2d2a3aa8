#!/usr/bin/env python3
"""A Switchyard worker in Python, with redis-py (pip install redis): threads that call a function.

usage: worker.py ID [--queue Q] [--slots N] [--redis URL]     SWITCHYARD_REDIS is the default URL

It runs a task's `command`. A task without one does what its `payload` says, a JSON object: {"sleep": seconds,
"fail": message, "echo": anything}. Any other task fails with NoCommand. Replace `work` with your own function.
"""
import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid

import redis


class LeaseLost(Exception):
    """The task was cancelled, or the lease was lost: stop at once, because the result would be refused."""


class Replaced(Exception):
    """Another process has registered with this worker's id: this one must stop its work and end."""


class NoCommand(Exception):
    """The task has nothing that this worker can run, so a retry is pointless."""

    retryable = 0


class CommandFailed(Exception):
    """The command ended with another exit code than 0."""


def work(task, stopped):
    """Runs `task` (its fields, as bytes) and returns its result. `stopped` is set when it must end early."""
    command = json.loads(task.get(b"command", b"[]"))
    if command:
        return run(command, task, stopped)
    try:
        order = json.loads(task.get(b"payload", b"null"))
    except ValueError:
        order = None
    if not isinstance(order, dict) or not order.keys() & {"sleep", "fail", "echo"}:
        raise NoCommand("this worker runs a command, or a payload with sleep, fail or echo; the task has neither")
    if stopped.wait(order.get("sleep", 0)):
        raise LeaseLost
    if "fail" in order:
        raise RuntimeError(order["fail"])
    return json.dumps(order.get("echo")).encode()


def run(command, task, stopped):
    """Runs a command in a process group of its own, and returns the first 1000 bytes of its output."""
    environment = {**os.environ, **json.loads(task.get(b"env", b"{}"))}
    process = subprocess.Popen(
        command, env=environment, cwd=task.get(b"cwd"), start_new_session=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output = []
    reader = threading.Thread(target=lambda: output.append(process.stdout.read()), daemon=True)
    reader.start()
    while process.poll() is None:
        if stopped.wait(0.05):
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
            raise LeaseLost
    reader.join()
    if process.returncode != 0:
        raise CommandFailed(f"exit code {process.returncode}: {output[0][:1000].decode(errors='replace')}")
    return output[0][:1000]


def until_redis_replies(call):
    """Returns what `call` returns. While Redis is away it tries again, at most every 30 s."""
    pause = 1
    while True:
        try:
            return call()
        except (redis.ConnectionError, redis.TimeoutError) as error:
            print(f"Redis is away: {error}", flush=True)
            time.sleep(pause)
            pause = min(pause * 2, 30)


class Worker:
    def __init__(self, connection, worker_id, queue, slots):
        self.redis, self.id, self.slots = connection, worker_id, slots
        self.nonce = uuid.uuid4().hex  # tells this process from others with the same id
        self.prefix = f"switchyard:{{{queue}}}:"
        self.running = {}  # (task id, attempt) -> event that stops it
        self.draining = threading.Event()
        self.replaced = threading.Event()
        self.wake = threading.Event()

    def call(self, function, *arguments):
        keys = (self.prefix, self.prefix + "config")
        try:
            return until_redis_replies(
                lambda: self.redis.fcall(
                    f"switchyard_{function}", 2, *keys, "worker", self.id, "nonce", self.nonce, *arguments))
        except redis.ResponseError as error:
            if "is another process now" not in str(error):
                raise
            self.stop_for_replacement()
            raise Replaced(str(error)) from error

    def stop_for_replacement(self):
        self.replaced.set()
        self.draining.set()
        for stopped in list(self.running.values()):
            stopped.set()
        self.wake.set()

    def register(self):
        while True:
            reply = self.call("register", "slots", self.slots)
            terms = dict(zip(reply[::2], reply[1::2]))
            # One call ends at most 25 attempts of a former process.
            if terms.get(b"again") != b"1":
                return int(terms[b"heartbeat_ms"]) / 1000

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
                    until_redis_replies(lambda: self.redis.blpop(f"{self.prefix}wake:{self.id}", 1))
            else:
                self.wake.wait(1)
                self.wake.clear()
        if self.replaced.is_set():
            raise Replaced
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
            report = ["outcome", "failed", "error_code", type(error).__name__, "error_message", str(error),
                      "retryable", getattr(error, "retryable", 1)]
        if report and not stopped.is_set():
            # The reply has one value for each task: the new state, or an error such as LEASELOST.
            try:
                (outcome,), _ = self.call("finish", "task", key[0], "attempt", key[1], *report)
                if isinstance(outcome, Exception):
                    print(f"{key[0]}: {outcome}", flush=True)
            except Replaced:
                pass  # the task is another process's now
        del self.running[key]
        self.wake.set()

    def beat(self, interval):
        while True:
            threading.Event().wait(interval)
            if self.replaced.is_set():
                return
            held = [part for task, attempt in list(self.running) for part in ("task", task, "attempt", attempt)]
            try:
                reply = self.call("heartbeat", *held)
            except Replaced:
                return
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
    parser.add_argument("--redis", default=os.environ.get("SWITCHYARD_REDIS", "redis://127.0.0.1:6379"))
    options = parser.parse_args()
    connection = redis.Redis.from_url(options.redis)
    worker = Worker(connection, options.id, options.queue, options.slots)
    signal.signal(signal.SIGTERM, lambda *_: worker.draining.set())
    try:
        worker.run()
    except Replaced:
        for thread in threading.enumerate():  # those of attempts, which end their processes
            if thread is not threading.current_thread():
                thread.join(5)
        sys.exit(f"{options.id}: another process has this worker's id: this one ends")


if __name__ == "__main__":
    main()
