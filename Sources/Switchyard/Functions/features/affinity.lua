-- Affinity: a task with an affinity_key (for example its repository) preferably goes to the worker that last ran a
-- task with this key, whose caches are warm. The preference is weak: a worker without tasks for its keys takes the
-- next task. It applies only among the first few tasks of the same level, and never passes over a task that has
-- waited for AFFINITY_WAIT_MS.
--
-- `affinity:<key>` contains the worker's id, and expires after a day.

local LOOK_AHEAD = 16
local AFFINITY_WAIT_MS = 10000
local REMEMBERED_SECONDS = 86400

-- Called by commit. Stores which worker ran each key.
function sw.commit_affinity(c)
    for key, worker in pairs(c.warm) do
        call('SET', c.q.prefix .. 'affinity:' .. key, worker, 'EX', REMEMBERED_SECONDS)
    end
end

-- Returns how well a task suits the worker: 2 if the worker ran the key last, 1 if no registered worker did, 0 if
-- another worker did.
local function suits(c, worker, key)
    local last = sw.has(c, 'warm') and c.warm[key] or call('GET', c.q.prefix .. 'affinity:' .. key)
    if last == worker then return 2 end
    if last and call('EXISTS', c.q.prefix .. 'worker:' .. last) == 1 then return 0 end
    return 1
end

-- Returns a chooser that takes tasks from another chooser and reorders the first few.
function sw.affine_chooser(c, worker, inner)
    local q, window = c.q, {}
    local function fill()
        while #window < LOOK_AHEAD do
            local id, lane = inner.next()
            if not id then return end
            local v = call('HMGET', q.prefix .. 'task:' .. id, 'affinity_key', 'priority', 'submitted_at')
            window[#window + 1] = { id = id, lane = lane, key = v[1], priority = v[2],
                submitted_at = sw.whole(v[3], 0) }
        end
    end
    -- Returns the index of the best task in the window: the first, unless another worker's caches are warm for it and
    -- a later task suits better.
    local function best()
        local first = window[1]
        if not first.key or q.now - first.submitted_at >= AFFINITY_WAIT_MS then return 1 end
        local index, score = 1, suits(c, worker, first.key)
        for i = 2, #window do
            local entry = window[i]
            if score == 2 or entry.priority ~= first.priority then break end
            local better = entry.key and suits(c, worker, entry.key) or 1
            if better > score and (better == 2 or score == 0) then index, score = i, better end
        end
        return index
    end
    local chooser = { took = inner.took, fits = inner.fits }
    function chooser.next()
        while true do
            fill()
            if #window == 0 then return nil end
            local entry = table.remove(window, best())
            if inner.fits(entry.lane) then return entry.id, entry.lane end
        end
    end
    return chooser
end
