-- Affinity: a task with an affinity_key (say, its repository) goes by preference to the worker that ran its key last,
-- whose caches are warm. Soft: a worker that has nothing of its own takes what is next; and only among the first few
-- tasks of the same level, and never past one that has waited for AFFINITY_WAIT_MS.
--
-- `affinity:<key>` is the worker's id, and lives for a day.

local LOOK_AHEAD = 16
local AFFINITY_WAIT_MS = 10000
local REMEMBERED_SECONDS = 86400

-- Called by commit.
function sw.commit_affinity(c)
    for key, worker in pairs(c.warm) do
        call('SET', c.q.prefix .. 'affinity:' .. key, worker, 'EX', REMEMBERED_SECONDS)
    end
end

-- How well a task suits the worker: 2 if it ran the key last, 1 if nobody did who is still registered, 0 if another
-- did.
local function suits(c, worker, key)
    local last = sw.has(c, 'warm') and c.warm[key] or call('GET', c.q.prefix .. 'affinity:' .. key)
    if last == worker then return 2 end
    if last and call('EXISTS', c.q.prefix .. 'worker:' .. last) == 1 then return 0 end
    return 1
end

-- A chooser that takes from another, and reorders a few at its head.
function sw.affine_chooser(c, worker, inner)
    local q, window = c.q, {}
    local function fill()
        while #window < LOOK_AHEAD do
            local id, lane = inner.next()
            if not id then return end
            local v = call('HMGET', q.prefix .. 'task:' .. id, 'affinity_key', 'priority', 'submitted_at')
            window[#window + 1] = { id = id, lane = lane, key = v[1], priority = v[2],
                submitted_at = tonumber(v[3] or 0) }
        end
    end
    -- Which of the window is best: the first, unless another worker would have it warm and one behind it suits better.
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
