-- Fairness: within a level, the tenants of a queue (fairness_key) share the workers by their weights, independently
-- of who submitted first or most.
--
-- This is start-time fair queueing (P. Goyal, H. M. Vin, H. Cheng: Start-Time Fair Queueing, SIGCOMM 1996). The start
-- tag of a task is the later of the virtual time and the finish tag of its tenant's previous task. Its finish tag is
-- the start tag plus a quantum divided by the weight. The virtual time is at least the start tag of each task that
-- has started. The start tag replaces the submission time in the task's score. A tenant that returns after an hour
-- starts at the virtual time: it gets its share from then on, without compensation for the past. Once a queue has a
-- tenant, tasks without a key are one tenant of weight 1.
--
-- Tenants that submit only once would all start at the same virtual time, and always before the second task of any
-- other tenant. Therefore a task whose tenant has nothing else in line advances the virtual time, by a quantum
-- divided by the number of such tenants. Together these tenants get the share of one tenant for each of them that is
-- in line at a time. They are served in the order of their submissions, and other tenants between them.
--
--   tenants:<priority>        finish tags of the tenants with tasks in line
--   past_tenants:<priority>   finish tags of tenants whose tasks have all started, until the virtual time passes them
--   virtual_time              by priority

-- The virtual length of a task of weight 1, in µs of a tag. It is small, so that tags stay below 2^50; a task of
-- weight 1000 still has a length of 2.
local QUANTUM = 2000

-- The least weight that a submission may give. Something else may have written a smaller one.
local LEAST_WEIGHT = 0.001

-- Limit on the tenants with a past finish tag that one call removes from each index.
local REMOVED_AT_ONCE = 100

local function length_of(weight)
    local number = sw.number(weight, 1)
    return math.max(2, math.floor(QUANTUM / (number >= LEAST_WEIGHT and number or 1)))
end

-- Returns what the call knows of a level. v: the virtual time; finish: the finish tags that it assigns; new: the
-- tenants that it adds; past: the finish tags of tenants whose last task it starts.
local function level_of(c, priority)
    local level = c.tags[priority]
    if not level then
        local v = call('HGET', c.q.prefix .. 'virtual_time', priority)
        level = { finish = {}, v = sw.tag_in(v) or sw.time_tag(c.q, 0),
            key = c.q.prefix .. 'tenants:' .. priority,
            past_key = c.q.prefix .. 'past_tenants:' .. priority, new = {}, past = {}, has_moved = not sw.tag_in(v) }
        c.tags[priority] = level
    end
    return level
end

-- Returns how many tenants have at most one task in line, including those of this call: their finish tags are at most
-- a quantum past the virtual time.
local function count_single(level)
    local most = level.v + QUANTUM
    local count = call('ZCOUNT', level.key, '-inf', sw.digits(most))
    for tenant in pairs(level.new) do
        if level.finish[tenant] <= most then count = count + 1 end
    end
    return count
end

-- Returns the start tag of a new task of a tenant.
function sw.start_tag(c, priority, tenant, weight)
    local level = level_of(c, priority)
    local finish, is_in_line = level.finish[tenant], true
    if not finish then
        finish = call('ZSCORE', level.key, tenant)
        if not finish then
            is_in_line = false
            finish = call('ZSCORE', level.past_key, tenant)
        end
    end
    finish = sw.tag_in(finish) or 0
    local start, length = math.max(level.v, finish), length_of(weight)
    local single = not is_in_line and finish <= level.v and 1 + count_single(level)
    level.finish[tenant] = start + length
    if not is_in_line then level.new[tenant] = true end
    if single then
        level.v = level.v + math.max(1, math.floor(math.min(QUANTUM / single, length - 1)))
        level.has_moved = true
    end
    return start
end

-- Notes that a task of a tenant starts. The virtual time advances to the task's tag. If it was the tenant's last task
-- in line, the tenant moves to past_tenants.
function sw.note_start(c, priority, tag, tenant, weight)
    local level = level_of(c, priority)
    if tag > level.v then level.v, level.has_moved = tag, true end
    local finish = not level.past[tenant] and call('ZSCORE', level.key, tenant)
    if finish and tag + length_of(weight) 
        >= sw.number(finish, 0) then level.past[tenant] = finish end
end

-- Called by commit. Writes the finish tags and the virtual time.
function sw.commit_tags(c)
    for priority, level in pairs(c.tags) do
        local add, come, gone, past = {}, {}, {}, {}
        for tenant, finish in pairs(level.finish) do
            add[#add + 1] = sw.digits(finish)
            add[#add + 1] = tenant
            if level.new[tenant] then come[#come + 1] = tenant end
        end
        for tenant, finish in pairs(level.past) do
            gone[#gone + 1] = tenant
            past[#past + 1] = finish
            past[#past + 1] = tenant
        end
        if #gone > 0 then
            sw.derived('ZREM', level.key, unpack(gone))
            sw.derived('ZADD', level.past_key, unpack(past))
        end
        if #add > 0 then sw.derived('ZADD', level.key, unpack(add)) end
        if #come > 0 then sw.derived('ZREM', level.past_key, unpack(come)) end
        if level.has_moved then sw.derived('HSET', c.q.prefix .. 'virtual_time', priority, sw.digits(level.v)) end
    end
end

-- Called by tick. Removes tenants whose finish tag the virtual time has passed: their next task starts at the virtual
-- time with or without the entry.
function sw.forget_tenants(q)
    for _, priority in ipairs(sw.PRIORITIES) do
        local v = sw.tag_in(call('HGET', q.prefix .. 'virtual_time', priority))
        for _, name in ipairs({ 'tenants:', 'past_tenants:' }) do
            local key = q.prefix .. name .. priority
            local past = v and call('ZRANGEBYSCORE', key, '-inf', sw.digits(v), 'LIMIT', 0, REMOVED_AT_ONCE) or {}
            if #past > 0 then call('ZREM', key, unpack(past)) end
        end
    end
end

-- Called by tick if no task is pending. The queue has no tenants any more.
function sw.end_fairness(q)
    sw.drop_flag(q, 'is_fair')
    call('UNLINK', q.prefix .. 'virtual_time')
    for _, priority in ipairs(sw.PRIORITIES) do
        call('UNLINK', q.prefix .. 'tenants:' .. priority, q.prefix .. 'past_tenants:' .. priority)
    end
end
