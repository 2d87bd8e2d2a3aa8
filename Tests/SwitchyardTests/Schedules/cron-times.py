#!/usr/bin/env python3
"""Writes cron-times.tsv: the times of cron expressions, computed by PyPI's croniter. CronTimesTests compares ours with
these.

usage: pip install croniter && python3 cron-times.py > cron-times.tsv

Each line has an expression, time zone, start, and the next times after it, as local times with their offset.

Where Switchyard differs on purpose (see CronExpression.swift), croniter's result is corrected here, and only here:
  - A wall time that exists twice fires the first time only, where the hour is restricted. croniter fires twice.
  - A time in the gap fires at the first moment after it. croniter keeps the seconds of the time that does not exist.
"""
import random
import sys
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from croniter import croniter

TIMES = 4  # for each line

# Changes of clocks: 2026 and 2027, of 60 and of 30 minutes, on both hemispheres, at midnight, in none.
STARTS = {
    'Europe/Berlin': ['2026-03-28T12:00', '2026-03-29T01:10', '2026-10-24T12:00', '2026-10-25T01:50', '2026-02-27T00:00'],
    'America/New_York': ['2026-03-07T12:00', '2026-03-08T01:59', '2026-10-31T12:00', '2026-11-01T00:30', '2027-12-31T23:59'],
    'Australia/Lord_Howe': ['2026-04-04T12:00', '2026-04-05T01:20', '2026-10-03T12:00', '2026-10-04T01:45', '2026-06-15T08:30'],
    'America/Santiago': ['2026-04-04T12:00', '2026-04-04T22:50', '2026-09-05T12:00', '2026-09-05T23:30'],
    'Asia/Kolkata': ['2026-03-29T00:00', '2028-02-28T00:00'],
    'UTC': ['2026-03-29T00:00', '2096-03-01T00:00'],
}

EXPRESSIONS = [
    '* * * * *', '*/15 * * * *', '*/30 * * * *', '7 * * * *', '*/20 2 * * *', '30 2 * * *', '0 2 * * *', '15 2 * * *',
    '45 1 * * *', '30 1 * * *', '0 0 * * *', '30 0,23 * * *', '0 3 * * *', '0 2,3 * * *', '30 1-3 * * *', '0 */2 * * *',
    '0 9 * * mon-fri', '0 0 1 * *', '0 0 1 * 1', '0 12 13 * 5', '0 0 31 * *', '0 0 L * *', '0 0 29 2 *', '0 6 * jan,jul 0',
    '5/20 8-10 * * *', '0 0 * * 7', '0 0 * * 5-7', '0 0 */2 * *', '0 0 */10 * 3', '59 23 31 12 *', '0 4 1,15 */3 *',
    '*/10 * * * * *', '0 */7 * * * *', '30 59 23 * * *', '15,45 30 2 * * *', '0 0 2 * * *', '@hourly', '@daily', '@weekly',
    '@monthly', '@yearly',
]


def is_second_of_two(time):
    first, second = time.replace(fold=0), time.replace(fold=1)
    return first.utcoffset() > second.utcoffset() and time.utcoffset() == second.utcoffset()


def end_of_gap(time, minutes=60):
    """The end of a gap in the hour before `time`, or None."""
    moment = time.astimezone(timezone.utc).replace(second=0)
    for back in range(minutes):
        at = moment - timedelta(minutes=back)
        before, after = (t.astimezone(time.tzinfo).utcoffset() for t in (at - timedelta(seconds=1), at))
        if after > before:
            return at.astimezone(time.tzinfo)
    return None


def times(expression, start):
    cron = croniter(expression, start, second_at_beginning=True)
    hours = cron.expanded[1]
    found = []
    while len(found) < TIMES:
        time = cron.get_next(datetime)
        if hours != ['*'] and is_second_of_two(time):
            continue
        # A firing that is no time of the expression can only stand for one in the gap.
        if hours != ['*'] and time.hour not in hours:
            time = end_of_gap(time) or time
        # As text: to Python, the two times of a repeated hour are equal.
        if time.isoformat() not in found:
            found.append(time.isoformat())
    return found


def random_field(rng, low, high):
    kind = rng.random()
    if kind < 0.4:
        return '*'
    if kind < 0.55:
        return f'*/{rng.randint(2, max(2, high // 2))}'
    if kind < 0.8:
        return ','.join(str(n) for n in sorted(rng.sample(range(low, high + 1), rng.randint(1, 3))))
    first = rng.randint(low, high - 1)
    last = rng.randint(first + 1, high)
    return f'{first}-{last}' + (f'/{rng.randint(1, 4)}' if rng.random() < 0.4 else '')


def random_expression(rng):
    limits = [(0, 59), (0, 23), (1, 28), (1, 12), (0, 6)]
    return ' '.join(random_field(rng, low, high) for low, high in limits)


def main():
    rng = random.Random(2026)
    lines = []
    for zone, starts in STARTS.items():
        expressions = EXPRESSIONS if zone != 'UTC' else EXPRESSIONS[::2]
        for index, expression in enumerate(expressions + [random_expression(rng) for _ in range(25)]):
            # Each expression at two of the starts: all of them would only be longer.
            for text in {starts[index % len(starts)], starts[(index + 2) % len(starts)]}:
                start = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))
                lines.append('\t'.join(
                    [expression, zone, start.isoformat()] + times(expression, start)))
    sys.stdout.write('\n'.join(sorted(set(lines))) + '\n')


main()
