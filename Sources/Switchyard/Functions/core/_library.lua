-- The function library "switchyard". Each change of a queue's state is one call of one function.
--
-- Each function takes two keys, the prefix of its queue ("switchyard:{Q}:") and the name of the queue's `config`
-- hash, and arguments in pairs (name, value). The pairs before the first "task" belong to the call; the pairs after a
-- "task" belong to that task. A function ignores unknown names, so that newer callers work with older libraries.
--
-- A function has three steps. It parses and validates its arguments; it plans, which means that it reads and collects
-- moves in the change-set (transition.lua); and it commits. Commit checks the types of the keys that it will write,
-- writes, and publishes last. README.md has a diagram.

-- Replicas load this library if Redis has none or a lower version. They never replace a higher version.
local VERSION = 5

-- The version of the structure of a queue's keys, stored in `config`. upgrade.lua converts a queue with a lower
-- number.
local LAYOUT = 5

-- Whether the fast paths (fast/) are used. A test loads the library with `false` here and checks that only the cost
-- differs.
local FAST = true

-- The shared functions, by name. They are fields of one table because a Lua function can have only 60 upvalues.
local sw = {}

-- Bound when the first call opens its queue: `redis.call` does not exist while the library is loaded, and a lookup of
-- a global in each call costs time. `call` is redis.call, which raises an error for a key of a wrong type, until the
-- call begins to write (types.lua).
local call, strict_call, pcall_redis, find, match, byte, sub

-- The server's hash-max-listpack-value. The loader of the library replaces this number. In a small hash, one value
-- above this length makes Redis convert the whole hash to the larger encoding. A payload that is longer than
-- SHORT_VALUE, but not longer than IN_PIECES, is therefore stored in pieces (payload.lua). Both are in bytes.
local SHORT_VALUE = 64
local IN_PIECES = 512

-- The command that publishes. The loader of the library replaces it on the nodes of a Redis Cluster, by SPUBLISH:
-- there, PUBLISH sends each message to all nodes.
local PUBLISH = 'PUBLISH'

-- Limits on what one call may carry, so that no call blocks Redis for more than a few milliseconds.
sw.MAX_TASKS_PER_CALL = 1000
sw.MAX_VALUE_BYTES = 1048576
sw.MAX_CALL_BYTES = 4194304
sw.MAX_DEPENDENCIES = 1000
sw.MAX_SLOTS = 1000

-- Limit on the bytes of task hashes in one reply. A pull, or a page of a list, ends when it reaches this limit.
sw.REPLY_BYTES = 1048576

-- Limit on the names and values of a new task's hash: Lua's `unpack` fails above about 8,000 values.
local MOST_FIELDS = 4000

-- Limit on the tasks that one call may move beyond those named in its arguments: in a tick, a step of a batch, the
-- consequences of a task's end, or the end of a worker. Each costs 10 to 25 µs, so a step takes about half a
-- millisecond. Ticks do the rest, one after the other, until nothing is left.
sw.TASKS_PER_STEP = 25

-- The number of the current call. An index that the call has read, and whose type is therefore known, is marked with
-- it.
local call_number = 0
