-- Which tasks a worker gets, in which order. In a plain queue, the line as it stands. In a queue that has lanes: of all
-- lanes that its class serves and that fit its room, the most urgent and longest waiting first; smaller tasks may go
-- before one that does not fit (backfill), until that has waited for `reserve_after_ms`: then the worker is reserved for
-- its lane, and takes nothing else until it fits.
--
-- A chooser has next(), which answers a task's id and lane, or nil; took(lane), to be called when the task was taken; and
-- fits(lane), for those that look ahead: what they hold back may not fit any more when its turn comes.

-- Tasks that one call looks at beyond those that it hands out: those that their limits send out of the line.
local LOOK_AHEAD = 100

-- Lanes fetched at once. They come in the order of their first tasks, so that a worker rarely needs more than the first few.
local LANES_AT_ONCE = 8

-- The lanes with tasks in line that `class` serves, most urgent first, fetched as needed: a list of
-- { lane, score, ids, next }, and in `beyond` the score from which on there may be more (nil: that was all).
local function sources_of(q, class)
    local first = call('ZRANGE', q.pending_key, 0, 0, 'WITHSCORES')
    return { first[1] and { lane = '', score = tonumber(first[2]) } or nil, class = class, fetched = 0, beyond = -1 }
end

local function fetch_lanes(q, sources)
    local lanes = call('ZRANGE', q.prefix .. 'lanes', sources.fetched, sources.fetched + LANES_AT_ONCE - 1,
        'WITHSCORES')
    for i = 1, #lanes, 2 do
        if sw.serves(sources.class, lanes[i]) then
            sources[#sources + 1] = { lane = lanes[i], score = tonumber(lanes[i + 1]) }
        end
    end
    sources.fetched = sources.fetched + #lanes / 2
    sources.beyond = #lanes == LANES_AT_ONCE * 2 and sources.fetched < 1000 and tonumber(lanes[#lanes]) or nil
end

-- The next task of a source; its score is then that of the one after it, or nil.
local function take(q, sources, source, want)
    if not source.ids or source.next > #source.ids then
        local from = source.from and source.from + want or 0
        local line = q.prefix .. sw.line_of(source.lane ~= '' and source.lane or nil)
        -- One more than wanted, for the score after the last. Beside no other line, that there is one is enough.
        if #sources > 1 or sources.beyond then
            source.step, source.ids = 2, call('ZRANGE', line, from, from + want, 'WITHSCORES')
        else
            source.step, source.ids = 1, call('ZRANGE', line, from, from + want)
        end
        source.from, source.next, source.last = from, 1, math.min(#source.ids, want * source.step)
    end
    local ids, at = source.ids, source.next
    source.next = at + source.step
    if source.step == 2 then
        source.score = tonumber(ids[at + 3])
    elseif not ids[at + 1] then
        source.score = nil
    end
    if source.next > source.last then source.ids = nil end
    return ids[at]
end

-- The source whose first task is the most urgent; nil when none is left.
local function first_of(q, sources)
    while true do
        local first
        for _, source in ipairs(sources) do
            if source.score and (not first or source.score < first.score) then first = source end
        end
        if not sources.beyond or (first and first.score <= sources.beyond) then return first end
        fetch_lanes(q, sources)
    end
end

-- Whether the first task of a lane has waited so long that a worker is to be reserved for it.
local function has_waited(q, lane)
    local id = call('ZRANGE', q.prefix .. sw.line_of(lane), 0, 0)[1]
    local since = id and call('HGET', q.prefix .. 'task:' .. id, 'submitted_at')
    return since and q.now - tonumber(since) >= q.reserve_after_ms
end

local function do_nothing() end
local function always() return true end

-- The line as it stands behind its first `from` tasks, fetched as needed.
local function plain_chooser(c, want, from)
    local ids, at = {}, 0
    local chooser = { took = do_nothing, fits = always }
    function chooser.next()
        at = at + 1
        if at > #ids then
            if from > LOOK_AHEAD then return nil end
            ids = call('ZRANGE', c.q.pending_key, from, from + want - 1)
            at, from = 1, from + want
        end
        return ids[at]
    end
    return chooser
end

-- What is left of a worker's capacity beside the attempts that it goes on holding.
local function room_left(c, class, held)
    local occupied = {}
    if held then
        local over = sw.ending(c)
        for i = 1, #held, 2 do
            local _, _, _, lane = sw.lease_of(held[i + 1])
            if lane and not over[held[i]] then occupied[#occupied + 1] = lane end
        end
    end
    return sw.room(class, occupied)
end

-- What the worker's class may take into the room that is left.
local function lane_chooser(c, plan, held, want)
    local q, worker = c.q, plan.worker
    local class = sw.class_in(q, worker, plan.state)
    local room = room_left(c, class, held)
    local reserved = {}
    local pairs_ = call('HGETALL', q.prefix .. 'reserved')
    for i = 1, #pairs_, 2 do reserved[pairs_[i]] = pairs_[i + 1] end

    local sources = sources_of(q, class)
    local chooser, looked = {}, 0
    local function unreserve(lane)
        c.unreserve = c.unreserve or {}
        c.unreserve[#c.unreserve + 1] = lane
        reserved[lane] = nil
    end
    for lane, reserver in pairs(reserved) do
        if reserver == worker then
            local score = call('ZSCORE', q.prefix .. 'lanes', lane)
            -- Reserved for a lane that still has tasks: that lane only. Else nobody waits for it any more: left as it is, it would
            -- come to hold beside the worker's next one.
            if score then sources = { { lane = lane, score = tonumber(score) }, class = class } else unreserve(lane) end
        end
    end
    function chooser.next()
        looked = looked + 1
        while looked <= want + LOOK_AHEAD do
            local source = first_of(q, sources)
            if not source then return nil end
            local lane = source.lane
            if lane == '' then return take(q, sources, source, want), nil end
            if sw.has_room(room, lane) then return take(q, sources, source, want), lane end
            if reserved[lane] == worker then return nil end
            if not reserved[lane] and has_waited(q, lane) then
                c.reserve = { lane, worker }
                return nil
            end
            source.score = nil
        end
    end
    -- Whether what next() answered earlier still fits, after what was taken meanwhile.
    function chooser.fits(lane) return not lane or sw.has_room(room, lane) end
    function chooser.took(lane)
        if not lane then return end
        sw.take_room(room, lane)
        if reserved[lane] then unreserve(lane) end
    end
    return chooser
end

--   plan   what the pull is about (sw.plan_pull)
--   held   the worker's leases, where its class has capacity that they take
--   together   tasks of one group are wanted together
--   looked   how many of the first in a line without lanes were looked at
function sw.chooser(c, plan, held, want, together, looked)
    local chooser = c.q.has_lanes and lane_chooser(c, plan, held, want) or plain_chooser(c, want, looked)
    if c.q.has_affinity then chooser = sw.affine_chooser(c, plan.worker, chooser) end
    if together then chooser = sw.group_chooser(c, chooser) end
    return chooser
end

-- Called by commit.
function sw.commit_reservation(c)
    if c.unreserve then call('HDEL', c.q.prefix .. 'reserved', unpack(c.unreserve)) end
    if c.reserve then call('HSET', c.q.prefix .. 'reserved', c.reserve[1], c.reserve[2]) end
end

-- The worker takes no more work: another is to be reserved instead of it.
function sw.unreserve_worker(q, worker)
    local reserved = call('HGETALL', q.prefix .. 'reserved')
    for i = 1, #reserved, 2 do
        if reserved[i + 1] == worker then call('HDEL', q.prefix .. 'reserved', reserved[i]) end
    end
end

-- A worker of `class` registers: who it is, and how many of its class there are. '' is the class without anything.
function sw.join_class(q, worker, class)
    sw.leave_class(q, worker)
    if class == '' then return end
    call('HSET', q.prefix .. 'class', worker, class)
    call('HINCRBY', q.prefix .. 'classes', class, 1)
end

function sw.leave_class(q, worker)
    local class = call('HGET', q.prefix .. 'class', worker)
    if class then
        call('HDEL', q.prefix .. 'class', worker)
        if call('HINCRBY', q.prefix .. 'classes', class, -1) <= 0 then
            call('HDEL', q.prefix .. 'classes', class)
        end
    end
    sw.unreserve_worker(q, worker)
end
