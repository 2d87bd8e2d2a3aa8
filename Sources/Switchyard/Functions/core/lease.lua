-- Leases: the format of the entries of attempts:<worker>, and when a lease ends.
--
-- An entry consists of the attempt, its deadline in ms (0: not started), a mark if the task's end concerns more than
-- the task ("+": tasks may depend on it; "*": its hash must be read), "@" and its batch, a space and its lane. The mark
-- "!" means that the attempt has ended and its process has not (endings.lua); the deadline is then that of its ending.

function sw.lease_entry(attempt, deadline, uses, batch, lane)
    return attempt .. ':' .. deadline .. (uses and (uses == 'dependencies' and '+' or '*') or '')
        .. (batch and '@' .. batch or '') .. (lane and ' ' .. lane or '')
end

-- Tasks that start in the same millisecond often have equal entries, so parsed entries are cached.
local attempts, deadlines, marks, batches, lanes, count = {}, {}, {}, {}, {}, 0

-- Returns attempt and deadline as texts, the mark ("" if none), the batch and the lane (false if none); or nil if the
-- entry is absent or malformed.
function sw.lease_of(entry)
    if not entry then return nil end
    local attempt = attempts[entry]
    if attempt then return attempt, deadlines[entry], marks[entry], batches[entry], lanes[entry] end
    local deadline, mark, batch, lane
    attempt, deadline, mark, batch, lane = match(entry, '^(%d+):(%d+)([*+!]?)@?([^ ]*) ?(.*)$')
    if not attempt then return nil end
    if count == 1000 then attempts, deadlines, marks, batches, lanes, count = {}, {}, {}, {}, {}, 0 end
    batch, lane = batch ~= '' and batch, lane ~= '' and lane
    attempts[entry], deadlines[entry], marks[entry], batches[entry], lanes[entry] = attempt, deadline, mark, batch, lane
    count = count + 1
    return attempt, deadline, mark, batch, lane
end

-- Returns the deadline of an attempt that starts now, and the end of its lease, as texts in ms. Most tasks of a call
-- have the same time limit, so the texts are cached.
function sw.lease_ends(q, timeout_ms)
    if q.timeout ~= timeout_ms then
        q.timeout, q.deadline = timeout_ms, sw.digits(q.now + timeout_ms)
        q.lease_end = timeout_ms + 0 < q.lease_ms and q.deadline or sw.digits(q.now + q.lease_ms)
    end
    return q.deadline, q.lease_end
end

-- Returns the end of a lease that is renewed now; the lease never outlasts `deadline` (a text in ms).
function sw.renewed_lease(q, deadline)
    return sw.digits(math.min(q.now + q.lease_ms, tonumber(deadline)))
end

-- Marks the lease of a live task: from now on tasks depend on it.
function sw.mark_lease(q, worker, id)
    local key = q.attempts_prefix .. worker
    local attempt, deadline, mark, batch, lane = sw.lease_of(call('HGET', key, id))
    if attempt and mark == '' then
        call('HSET', key, id, sw.lease_entry(attempt, deadline, 'dependencies', batch, lane))
    end
end

-- Returns the leases of a worker: task id and entry, in pairs. Fields that begin with "@" are the state of the worker
-- (workers.lua).
function sw.leases_of(q, worker)
    local found, leases, n = call('HGETALL', q.attempts_prefix .. worker), {}, 0
    for i = 1, #found, 2 do
        if byte(found[i]) ~= 64 then
            leases[n + 1], leases[n + 2] = found[i], found[i + 1]
            n = n + 2
        end
    end
    return leases
end
