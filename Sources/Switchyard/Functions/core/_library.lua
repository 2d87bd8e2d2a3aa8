-- The function library "switchyard": every change of a queue's state is one call of a function below.
--
-- Each function takes the prefix of its queue ("switchyard:{Q}:") as its first key, the name of the queue's `config`
-- as its second, and arguments in pairs (name, value). Pairs before the first "task" belong to the call, those after
-- it to that task. Unknown names are ignored, so that newer callers can talk to older libraries.
--
-- A function parses and validates, plans by reading and by collecting moves in the change-set (transition.lua), and
-- commits: commit checks the types of the keys it is about to write, writes, and publishes last. README.md has the
-- picture.

-- Replicas load this library where it is missing or has a lower version, and never over a higher one.
local VERSION = 5

-- What the keys of a queue look like; `config` says it. A queue with a lower number is converted by upgrade.lua.
local LAYOUT = 5

-- Whether the files of fast/ are used. A test loads the library with "false" here, and sees that nothing changes but
-- the cost.
local FAST = true

-- Shared functions by name. One table, because Lua allows a function only 60 upvalues.
local sw = {}

-- Bound when the first call meets its queue: there is no `redis.call` while the library is loaded, and looking up a
-- global in each call costs time. `call` is redis.call, which raises an error for a key of a wrong type, until the
-- call has begun to write (types.lua).
local call, strict_call, pcall_redis, find, match, byte, sub

-- The server's hash-max-listpack-value: whoever loads the library replaces this number. In a small hash, one longer
-- value costs more memory than all others. A payload that is longer, but no longer than IN_PIECES, is stored in
-- pieces (payload.lua).
local SHORT_VALUE = 64
local IN_PIECES = 512

-- Bounds on what one call may carry, so that no call holds Redis for more than a few milliseconds.
sw.MAX_TASKS_PER_CALL = 1000
sw.MAX_VALUE_BYTES = 1048576
sw.MAX_CALL_BYTES = 4194304
sw.MAX_DEPENDENCIES = 1000
sw.MAX_SLOTS = 1000

-- Bytes of task hashes that one reply carries: a pull and a page of a list end there.
sw.REPLY_BYTES = 1048576

-- Names and values that a new task's hash may have: `unpack` fails above some 8,000 values.
local MOST_FIELDS = 4000

-- Limit on the tasks that one call may move beyond those named in its arguments: a tick, a step of a batch, what
-- follows from an end, the end of a worker. Each costs 10 to 25 µs, so a step takes about half a millisecond. Ticks
-- do the rest, and follow one another while there is a rest.
sw.TASKS_PER_STEP = 25

-- Numbers the calls: an index that a call has read, so that its type is known, is marked with its number.
local call_number = 0
