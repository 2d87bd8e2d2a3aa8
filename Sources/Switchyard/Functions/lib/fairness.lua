-- Fairness: within a level, the tenants of a queue (fairness_key) share by their weights, whoever submitted first or most.
--
-- This is start-time fair queueing (P. Goyal, H. M. Vin, H. Cheng: Start-Time Fair Queueing, SIGCOMM 1996). A task's start
-- tag is the later of the virtual time and the finish tag of its tenant's task before; its finish tag lies a quantum
-- divided by the weight after that; virtual time is the start tag of the task that started last. The tag takes the place of the
-- submission time in the task's score. A tenant that comes back after an hour starts at the virtual time: it gets its share
-- from then on, and no arrears. Tasks without a key are one tenant of weight 1, once a queue has a tenant.
--
-- The hash `fair:<priority>` holds `v`, the virtual time, and `f:<key>`, the finish tag of each tenant.

-- The virtual length of a task of weight 1. Small, so that tags outlast 2^50 together with the time that they began at.
local QUANTUM = 1000

local function level_of(c, priority)
    local level = c.fair[priority]
    if not level then
        level = { finish = {}, v = tonumber(call('HGET', c.q.prefix .. 'fair:' .. priority, 'v')
            or sw.time_tag(c.q, 0)) }
        c.fair[priority] = level
    end
    return level
end

-- The start tag of a new task.
function sw.start_tag(c, t)
    local level, key = level_of(c, t.priority), t.fairness_key or ''
    local finish = level.finish[key]
        or tonumber(call('HGET', c.q.prefix .. 'fair:' .. t.priority, 'f:' .. key) or 0)
    local start = math.max(level.v, finish)
    level.finish[key] = start + math.max(1, math.floor(QUANTUM / tonumber(t.fairness_weight or 1)))
    return start
end

-- A task starts: virtual time goes on to its tag.
function sw.note_start(c, task)
    local level = level_of(c, task.priority)
    level.v = math.max(level.v, sw.tag_of(c.q, task.place, task.priority))
    level.moved = true
end

-- Called by commit.
function sw.commit_fairness(c)
    for priority, level in pairs(c.fair) do
        local set = {}
        for key, finish in pairs(level.finish) do
            set[#set + 1] = 'f:' .. key
            set[#set + 1] = sw.digits(finish)
        end
        if level.moved or #set > 0 then
            set[#set + 1] = 'v'
            set[#set + 1] = sw.digits(level.v)
            call('HSET', c.q.prefix .. 'fair:' .. priority, unpack(set))
        end
    end
end

-- Called by tick's clean-up: forgets tenants whose finish tag is past, which says no more than that they may start now.
-- Looks at about `limit` of each level, going on where it stopped.
function sw.forget_tenants(q, limit)
    for _, priority in ipairs(sw.PRIORITIES) do
        local key = q.prefix .. 'fair:' .. priority
        local v = call('HMGET', key, 'v', 'cursor')
        if v[1] then
            local page = call('HSCAN', key, v[2] or '0', 'MATCH', 'f:*', 'COUNT', limit)
            local past = {}
            for i = 1, #page[2], 2 do
                if tonumber(page[2][i + 1]) <= tonumber(v[1]) then past[#past + 1] = page[2][i] end
            end
            if #past > 0 then call('HDEL', key, unpack(past)) end
            call('HSET', key, 'cursor', page[1])
        end
    end
end
