-- Which tasks a worker gets in a queue that has lanes: of all lanes that its class serves and that fit its room, the
-- most urgent and longest waiting first. Smaller tasks may go before one that does not fit (backfill), until that has
-- waited for `reserve_after_ms`: then this worker is reserved for its lane, and takes nothing else until it fits.

-- The lanes with tasks in line that `class` serves, each with its first score: { lane, score, ids, next }.
local function sources_of(q, class, want)
    local sources = {}
    local line = redis.call('ZRANGE', q.prefix .. 'pending', 0, want - 1, 'WITHSCORES')
    if line[1] then sources[1] = { lane = '', score = tonumber(line[2]), ids = line, next = 1 } end
    local lanes = redis.call('ZRANGE', q.prefix .. 'lanes', 0, 999, 'WITHSCORES')
    for i = 1, #lanes, 2 do
        if sw.serves(class, lanes[i]) then
            sources[#sources + 1] = { lane = lanes[i], score = tonumber(lanes[i + 1]) }
        end
    end
    return sources
end

-- The next task of a source; its score is then that of the one after it, or nil.
local function take(q, source, want)
    if not source.ids then
        source.ids = redis.call('ZRANGE', q.prefix .. sw.line_of(source.lane), 0, want - 1, 'WITHSCORES')
        source.next = 1
    end
    local id = source.ids[source.next]
    source.next = source.next + 2
    source.score = tonumber(source.ids[source.next + 1])
    return id
end

-- The source whose first task is the most urgent; nil when none is left.
local function first_of(sources)
    local first
    for _, source in ipairs(sources) do
        if source.score and (not first or source.score < first.score) then first = source end
    end
    return first
end

-- Whether the first task of a lane has waited so long that a worker is to be reserved for it.
local function has_waited(q, lane)
    local id = redis.call('ZRANGE', q.prefix .. sw.line_of(lane), 0, 0)[1]
    local since = id and redis.call('HGET', q.prefix .. 'task:' .. id, 'submitted_at')
    return since and q.now - tonumber(since) >= q.reserve_after_ms
end

-- Answers the ids chosen, and the lane of each (nil: none).
--   held   the reply of HGETALL attempts:<worker>
function sw.choose(c, plan, held, want)
    local q, worker = c.q, plan.worker
    local class = redis.call('HGET', q.prefix .. 'class', worker) or ''
    local occupied = {}
    for i = 1, #held, 2 do
        local lane = not c.ending_now[held[i]] and string.match(held[i + 1], ' (.*)$')
        if lane then occupied[#occupied + 1] = lane end
    end
    local room = sw.room(class, occupied)
    local reserved = {}
    local pairs_ = redis.call('HGETALL', q.prefix .. 'reserved')
    for i = 1, #pairs_, 2 do reserved[pairs_[i]] = pairs_[i + 1] end

    local sources = sources_of(q, class, want)
    for _, source in ipairs(sources) do
        -- Reserved for a lane that still has tasks: that lane only.
        if reserved[source.lane] == worker then
            sources = { source }
            break
        end
    end

    local ids, lanes = {}, {}
    while #ids < want do
        local source = first_of(sources)
        if not source then break end
        local lane = source.lane
        if lane == '' or sw.has_room(room, lane) then
            ids[#ids + 1] = take(q, source, want)
            lanes[#ids] = lane ~= '' and lane or nil
            sw.take_room(room, lane)
            if reserved[lane] then
                c.unreserve = c.unreserve or {}
                c.unreserve[#c.unreserve + 1] = lane
                reserved[lane] = nil
            end
        elseif reserved[lane] == worker then
            break
        elseif not reserved[lane] and has_waited(q, lane) then
            c.reserve = { lane, worker }
            break
        else
            source.score = nil
        end
    end
    return ids, lanes
end

-- Called by commit.
function sw.commit_reservation(c)
    if c.unreserve then redis.call('HDEL', c.q.prefix .. 'reserved', unpack(c.unreserve)) end
    if c.reserve then redis.call('HSET', c.q.prefix .. 'reserved', c.reserve[1], c.reserve[2]) end
end

-- A worker of `class` registers: who it is, and how many of its class there are. '' is the class without anything.
function sw.join_class(q, worker, class)
    sw.leave_class(q, worker)
    if class == '' then return end
    redis.call('HSET', q.prefix .. 'class', worker, class)
    redis.call('HINCRBY', q.prefix .. 'classes', class, 1)
end

function sw.leave_class(q, worker)
    local class = redis.call('HGET', q.prefix .. 'class', worker)
    if class then
        redis.call('HDEL', q.prefix .. 'class', worker)
        if redis.call('HINCRBY', q.prefix .. 'classes', class, -1) <= 0 then
            redis.call('HDEL', q.prefix .. 'classes', class)
        end
    end
    local reserved = redis.call('HGETALL', q.prefix .. 'reserved')
    for i = 1, #reserved, 2 do
        if reserved[i + 1] == worker then redis.call('HDEL', q.prefix .. 'reserved', reserved[i]) end
    end
end
