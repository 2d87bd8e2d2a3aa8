#!/usr/bin/env python3
"""Writes a queue on which version 4 of the function library has worked, as the Redis commands that rebuild it.

usage: python3 queue-of-version-4.py LIBRARY > queue-of-version-4.txt
       python3 queue-of-version-4.py LIBRARY aging > queue-of-version-4-aging.txt

LIBRARY is the joined text of version 4. Needs redis-server and python3-redis. Each line of the dump is one command, its
words separated by tabs. `{}` stands for the queue's prefix, and times are relative to the moment of the dump:
    <ms-5000>        ms since 1970
    <us+20>          µs since 1970
    <tag-70>         µs since 2024
    <tag-70+2*W>     the same plus two levels of width W: a score in a lane
"""
import re, subprocess, sys, tempfile, time
import redis

PREFIX, LEVELS = 'switchyard:{old}:', ['critical', 'high', 'normal', 'low']
EPOCH_2024_US, LEVEL_WIDTH = 1704067200000000, 1 << 50


class Queue:
    """Calls the functions. When a task is pulled, no more urgent task may be pending before it."""

    def __init__(self, server):
        self.server = server

    def __call__(self, function, words, **more):
        """`words`: the arguments, separated by spaces. `more`: names with values that may contain spaces."""
        pairs = [text for pair in more.items() for text in pair]
        return self.server.fcall('switchyard_' + function, 1, PREFIX, *words.split(), *pairs)

    def submit(self, *ids, options=''):
        for name in ids:
            self('submit', f'task {name} {options}')

    def take(self, worker, *ids, start=1):
        """Pulls these tasks as `worker`."""
        reply = self('pull', f'worker {worker} max {len(ids)} start {start}')
        got = [entry[entry.index('task') + 1] for entry in reply]
        assert got[-len(ids):] == list(ids), (worker, ids, got)

    def begin(self, *ids, options='', worker='w1', start=1):
        """Submits critical tasks, which `worker` pulls one by one."""
        for name in ids:
            self.submit(name, options='priority critical ' + options)
            self.take(worker, name, start=start)

    def end(self, name, outcome='completed', attempt=1, worker='w1', **more):
        self('finish', f'worker {worker} task {name} attempt {attempt} outcome {outcome}', **more)

    def run(self, name, options='', outcome='completed', **more):
        self.begin(name, options=options)
        self.end(name, outcome, **more)


def ended_tasks(q):
    q('register', 'worker w1 slots 60 host build-1 pid 42 version 1.0')
    q.run('done', 'repo kernel target //all payload 1', result='a result', exit_code='0')
    q.run('done-without-result')
    q.run('purged')
    q('purge', 'task purged')
    q.run('failed', 'max_retries 0', 'failed', error_code='Exit', error_message='it went wrong', exit_code='3')
    q.run('timed-out', 'max_retries 0', 'timeout')
    q('configure', 'retry_delay_ms 0')
    for outcome in ['failed', 'completed']:
        q.run('again-' + outcome, 'max_retries 1', 'failed', error_message='the first time')
        q.take('w1', 'again-' + outcome)
        q.end('again-' + outcome, outcome, attempt=2)
    q.submit('cancelled-pending')
    q('cancel', 'task cancelled-pending', reason='not wanted')
    q.begin('cancelled-running')
    q('cancel', 'task cancelled-running')


def attempts(q):
    """Live attempts, and pending tasks that had some."""
    q.run('third-attempt', '', 'failed')
    q.take('w1', 'third-attempt')
    q.end('third-attempt', 'timeout', attempt=2)
    q.take('w1', 'third-attempt')
    q('configure', 'retry_delay_ms 60000 retry_jitter_percent 0')
    q.run('waits-for-retry', '', 'failed')
    q.run('retried-by-hand', 'max_retries 0', 'failed', error_message='the first time')
    q('retry', 'task retried-by-hand')
    q('prioritize', 'priority low task retried-by-hand')
    q.begin('running', 'running-too')
    q.begin('running-briefly', options='timeout_ms 300000')
    q('log', 'worker w1 task running attempt 1', stdout='compiling 1 of 2', stderr='a warning')
    q('heartbeat', 'worker w1 task running attempt 1 progress 50%')
    q.begin('returned', start=0)
    q('release', 'worker w1 task returned attempt 1')
    q('prioritize', 'priority low task returned')
    q.begin('started-later', start=0)
    q('start', 'worker w1 task started-later attempt 1')
    q.begin('assigned', start=0)


def limits(q):
    """Concurrency and rate limits, and unique keys."""
    options = {
        'deploy': 'concurrency_key deploy concurrency_limit 1 ', 'pair': 'concurrency_key pair concurrency_limit 2 ',
        'slow': 'rate_key slow rate_per_second 0.1 ', 'fast': 'rate_key fast rate_per_second 20 rate_burst 1 '}
    for key in options:
        q.begin(key + '-1', options=options[key])
    q.begin('pair-2', options=options['pair'])
    q.submit('deploy-2', 'deploy-3', options=options['deploy'] + 'priority critical')
    q.submit('pair-3', options=options['pair'] + 'priority critical')
    q.submit('slow-2', options=options['slow'] + 'priority critical')
    q.submit('fast-2', options=options['fast'] + 'priority critical')
    # This pull meets the other five before the sixth, and removes them from their lane.
    q.begin('met-the-others')
    time.sleep(0.1)
    q('tick', '')
    q('prioritize', 'priority low task fast-2')
    for key in options:
        q.submit(key + '-last', options=options[key] + 'priority low')
    q.begin('unique-running', options='unique_key u-running')
    q.run('unique-done', 'unique_key u-done unique_for_ms 3600000', result='its result')
    q.run('unique-over', 'unique_key u-over')
    q.submit('unique-pending', options='priority low unique_key u-pending unique_for_ms 60000')


def lost_worker(q):
    """A worker whose heartbeats are overdue, which no tick has noticed."""
    q('configure', 'lease_ms 100 heartbeat_ms 20')
    q('register', 'worker dead slots 1')
    q.begin('of-the-dead', worker='dead')
    q('configure', 'lease_ms 600000 heartbeat_ms 5000')
    time.sleep(0.1)


def dependencies(q):
    q.submit('dep-a', 'dep-c', options='priority low')
    q.begin('dep-b')
    q.submit('after-a', options='priority high depends_on dep-a')
    q.submit('after-a-and-b', options='depends_on dep-a,dep-b')
    q.submit('after-done-and-a', options='depends_on done,dep-a')
    q.submit('after-after-a', options='depends_on after-a requires gpu')
    q.submit('after-c-anyway', options='priority high depends_on dep-c run_anyway 1')
    q.submit('after-failed', options='depends_on failed')
    q.submit('later-after-a', options='depends_on dep-a delay_ms 7200000')
    q.begin('fan-root', options='max_retries 0')
    q.submit(*[f'fan-{i}' for i in range(1, 41)], options='priority low depends_on fan-root')
    q.submit('fan-anyway', options='priority low depends_on fan-root,dep-a run_anyway 1')
    q.submit('after-fan', options='depends_on fan-1,fan-40')


def batches(q, cancels_first):
    follow_up = '["task","%s-after","priority","low","payload","over"]'
    q('submit', 'batch b-done on_complete ' + follow_up % 'b-done' + ' task b-done-1 priority critical'
      ' task b-done-2 priority critical')
    q.take('w1', 'b-done-1', 'b-done-2')
    q.end('b-done-1')
    q.end('b-done-2', 'failed', retryable='0')
    q('submit', 'batch b-mixed on_complete ' + follow_up % 'b-mixed' + ' task b-mixed-1 priority critical'
      ' task b-mixed-2 priority critical task b-mixed-3 priority low task b-mixed-4 priority low requires gpu')
    q.take('w1', 'b-mixed-1', 'b-mixed-2')
    q.end('b-mixed-1')
    q.begin('bad-root', options='max_retries 0')
    q('submit', 'batch b-staged stage 1 on_complete ' + follow_up % 'b-staged' + ' task staged-1 priority low payload x'
      ' task staged-2 depends_on staged-1 task staged-3 depends_on dep-a task staged-4 depends_on bad-root'
      ' task staged-5 requires gpu')
    q('submit', 'batch b-staged stage 1 task staged-6 unique_key u-staged task staged-7 delay_ms 60000'
      ' task staged-8 priority low concurrency_key deploy')
    q.end('bad-root', 'failed')
    sizes = {'open': 30, 'cancel': 60} if cancels_first else {'open': 60, 'cancel': 30}
    tasks = {kind: ' '.join(f'task {kind}-{i} priority low' for i in range(1, sizes[kind] + 1)) for kind in sizes}
    q('submit', 'batch b-open stage 1 ' + tasks['open'])
    q('submit', 'batch b-cancel task cancel-live priority critical ' + tasks['cancel'])
    q.take('w1', 'cancel-live')


def lanes(q):
    """Labels and resources, a reservation, a worker that drains, affinity and groups."""
    q('register', 'worker gpu-1 slots 4 labels gpu,os=linux,zone=us cpu 8 memory_mb 32768')
    q('register', 'worker arm-1 slots 2 labels arch=arm,os=linux')
    q('register', 'worker drains slots 2 labels old')
    q.begin('lane-running', options='requires gpu,os=linux cpu 2', worker='gpu-1')
    q.begin('arm-running', options='requires arch=arm|x86', worker='arm-1')
    q.begin('drains-running', options='requires old', worker='drains')
    q('drain', 'worker drains')
    q.begin('lane-assigned', options='requires gpu memory_mb 1024', worker='gpu-1', start=0)
    q.submit('deploy-cpu', options='priority critical requires gpu cpu 1 concurrency_key deploy')
    q.begin('met-deploy-cpu', options='requires gpu', worker='gpu-1')
    q.submit('lane-big', options='priority critical requires gpu cpu 8')
    q('configure', 'reserve_after_ms 0')
    q('pull', 'worker gpu-1 max 1 start 1')
    q('configure', 'reserve_after_ms 10000')
    for level in LEVELS:
        q.submit(f'gpu-{level}-1', f'gpu-{level}-2', options=f'priority {level} requires gpu')
        q.submit(f'cpu-{level}', options=f'priority {level} cpu 0.5 memory_mb 100')
    q.submit('not-eu', options='priority low requires zone!=eu')
    q.submit('mac', options='requires os=mac cpu 4')
    q.submit('licensed', options='resources license=1,seats=2')
    q.submit('gpu-delayed', options='requires gpu delay_ms 60000')
    q.run('warm', 'affinity_key repo-a')
    q.submit('warm-next', options='priority low affinity_key repo-a')
    q.submit('group-1', options='priority low group_key g')
    q.submit('group-2', options='priority low group_key g')


def tenants(q):
    for tenant, weight in [('a', '1'), ('b', '3'), ('c', '0.5')]:
        options = f'priority critical fairness_key tenant-{tenant} fairness_weight {weight}'
        q.submit(*[f'tenant-{tenant}-{i}' for i in range(1, 5)], options=options)
        q.submit(f'tenant-{tenant}-gpu', options=options + ' requires gpu')
    q('pull', 'worker w1 max 4 start 1')


def plain_tasks(q):
    for level in LEVELS:
        q.submit(f'{level}-1', f'{level}-2', options=f'priority {level}')
    q('submit', 'task in-pieces repo kernel env A=1', payload='0123456789' * 30)
    q('submit', 'task long', payload='0123456789' * 70, command='["make", "all"]')
    q.submit('delayed', options='delay_ms 60000')
    q('prioritize', 'priority high task low-2')
    template = '["task","x","priority","low","payload","scheduled"]'
    now = q.server.time()[0] * 1000
    q('schedule', f'schedule hourly zone UTC next {now + 3600000}', cron='30 * * * *',
      template=template)
    q('schedule', f'schedule fired cron @hourly zone Europe/Berlin missed once next {now - 1000}', template=template)
    q('fire', f'schedule fired due {now - 1000} next {now + 7200000}')
    q('schedule', f'schedule due cron @daily next {now - 1000}', template=template)


def story(q, is_aging):
    """Batches. The second dump has aging and no sleeping workers; it cancels and opens its batches in the other order."""
    q('configure', 'max_queue_length 100000 lease_ms 600000 assign_timeout_ms 600000 retention_ms 86400000')
    if is_aging:
        q('configure', 'aging_ms 60000')
    ended_tasks(q)
    attempts(q)
    q.submit('early-high-1', 'early-high-2', options='priority high')
    q.submit('early-low-1', 'early-low-2', options='priority low')
    limits(q)
    lost_worker(q)
    dependencies(q)
    batches(q, is_aging)
    lanes(q)
    tenants(q)
    plain_tasks(q)
    # There is no tick from here on: what these calls begin stays unfinished.
    q.end('fan-root', 'failed')
    steps = ['open', 'cancel']
    for step in reversed(steps) if is_aging else steps:
        q(step + '_batch', 'batch b-' + step)
    if not is_aging:
        q('configure', 'paused 1')
        for worker, offers in [('woken', ''), ('idle-1', ''), ('idle-2', 'slots 3'),
                               ('idle-mac', 'labels os=mac cpu 8'), ('idle-gpu', 'labels gpu slots 2')]:
            q('register', f'worker {worker} {offers}')
            q('pull', f'worker {worker} start 1')
            if worker == 'woken':
                q('configure', 'paused 0')
                q('configure', 'paused 1')


def tag_text(score, now, width):
    level = int(score) // width if width else 0
    return f'<tag{int(score) - level * width - now["tag"]:+}' + (f'+{level}*{width}>' if level else '>')


def time_text(unit, score, now):
    return f'<{unit}{int(score) - now[unit]:+}>' if float(score) > 0 else '0'


def field_text(kind, name, value, now, width):
    """Returns the value of a hash's field, with relative times."""
    def milliseconds(match):
        return match[1] + time_text('ms', match[2], now) + match[3]
    if name == 'place':
        return tag_text(value, now, width)
    if kind == 'fair' and (name == 'v' or name.startswith('f:')):
        return tag_text(value, now, 0)
    if name == '@last':
        return time_text('us', value, now)
    if name.endswith('_at') or kind == 'schedule' and name in ('next', 'last'):
        return time_text('ms', value, now)
    if kind == 'attempts' and not name.startswith('@'):
        return re.sub(r'^(\d+:)(\d+)(.*)$', milliseconds, value)
    if kind == 'task' and name.startswith('attempt:'):
        return re.sub(r'("\w+_at":)(\d+)()', milliseconds, value)
    return value


UNITS = {'idle': 'us', 'workers': 'ms', 'leases': 'ms', 'held': 'ms', 'finished': 'ms', 'schedules': 'ms',
         'staged_batches': 'ms'}


def commands(server, width):
    seconds, below = server.time()
    now = {'us': seconds * 1000000 + below}
    now['ms'], now['tag'] = now['us'] // 1000, now['us'] - EPOCH_2024_US
    for key in sorted(server.keys()):
        name = '{}' + key[len(PREFIX):]
        kind = name[2:].split(':')[0]
        kept = server.type(key)
        if kept == 'hash':
            pairs = sorted(server.hgetall(key).items())
            yield ['HSET', name] + [text for n, v in pairs for text in (n, field_text(kind, n, v, now, width))]
        elif kept == 'zset':
            def score_text(score):
                return time_text(UNITS[kind], score, now) if kind in UNITS else tag_text(score, now, width)
            yield ['ZADD', name] + [text for m, s in server.zrange(key, 0, -1, withscores=True)
                                    for text in (score_text(s), m)]
        elif kept == 'list':
            yield ['RPUSH', name] + server.lrange(key, 0, -1)
        elif kept == 'set':
            yield ['SADD', name] + sorted(server.smembers(key))
        elif kept == 'string':
            value, left = server.get(key), server.pttl(key)
            yield (['SET', name, time_text('us', value, now) if kind == 'rate' else value]
                   + (['PXAT', f'<ms{left:+}>'] if left > 0 else []))
        else:
            for entry, fields in server.xrange(key):
                at, number = entry.split('-')
                yield (['XADD', name, time_text('ms', at, now) + '-' + number]
                       + [text for pair in fields.items() for text in pair])


def main():
    is_aging = sys.argv[2:] == ['aging']
    with tempfile.TemporaryDirectory() as directory:
        path = directory + '/socket'
        process = subprocess.Popen(
            ['redis-server', '--port', '0', '--unixsocket', path, '--save', '', '--dir', directory],
            stdout=subprocess.DEVNULL)
        try:
            server = redis.Redis(unix_socket_path=path, decode_responses=True)
            while True:
                try:
                    server.ping()
                    break
                except redis.ConnectionError:
                    time.sleep(0.02)
            with open(sys.argv[1]) as library:
                server.function_load(library.read())
            story(Queue(server), is_aging)
            for words in commands(server, 0 if is_aging else LEVEL_WIDTH):
                assert not any('\t' in word or '\n' in word for word in words), words
                print('\t'.join(words))
        finally:
            process.terminate()
            process.wait()


main()
