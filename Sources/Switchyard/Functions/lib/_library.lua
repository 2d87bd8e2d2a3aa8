-- The function library "switchyard": every change of a queue's state is one call of a function below.
--
-- Each function takes one key, the prefix of its queue ("switchyard:{Q}:"), and arguments in pairs
-- (name, value). Pairs before the first "task" are about the call, those after it about that task;
-- unknown names are ignored, so that newer callers can talk to older libraries.
--
-- A function first validates and reads, collecting what is to change in a change-set (changes.lua);
-- commit then writes and publishes. Nothing can fail between the first write and the last. Plain tasks take shorter ways that do
-- the same: they look at all that they need, and then write.

-- Replicas load this library where it is missing or has a lower version, and never over a higher one.
local VERSION = 4

-- Shared helpers by name. One table, because Lua allows a function only 60 upvalues.
local sw = {}

-- Bound when the first call meets its queue: while the library is loaded there are none, and the look-up of a global is not
-- free.
local call, find, match

-- The server's hash-max-listpack-value: whoever loads the library says it here. In a small hash, one value that is longer
-- costs more than all others. A payload that is longer, but no longer than IN_PIECES, stands in its task's hash in pieces
-- (payload.lua).
local SHORT_VALUE = 64
local IN_PIECES = 512

-- Bounds on what one call may carry, so that no call holds Redis for more than a few milliseconds.
sw.MAX_TASKS_PER_CALL = 1000
sw.MAX_VALUE_BYTES = 1048576
sw.MAX_SLOTS = 1000

-- Names and values that a new task's hash may have: what one command takes from Lua.
local MOST_FIELDS = 4000

-- How many tasks a call moves at most that nobody named to it: a tick, a step of a batch, what follows from an end, a
-- worker's farewell. Each costs 10 to 25 µs, so that a step takes about half a millisecond, five times what a call costs by
-- itself; the rest is left to ticks, which follow upon one another while there is a rest.
sw.TASKS_PER_STEP = 25
