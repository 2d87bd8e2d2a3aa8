-- Chooses which tasks a worker gets, and in which order: the most urgent ones first, and the longest waiting among
-- these, of all lanes that its class serves and whose tasks fit its room. Smaller tasks start before a task that does
-- not fit (backfill), as far as reservations.lua allows.
--
-- A chooser has three functions: next() returns a task's id and lane, or nil; took(lane) is called after the task was
-- taken; fits(lane) is for choosers that look ahead, because a task that they keep back may no longer fit later.

-- Limit on the lanes and tasks that one pull examines in vain: lanes that are empty, closed or less urgent than their
-- bound, and tasks that cannot be handed out. Each of these corrects an index, so the next pull gets further.
local LOOKS = 200

-- Makes a source of tasks from the line of a lane ('': none). `score` is that of its next task, or false at the end
-- of the line.
local function new_source(q, lane, want, bound, cursor)
    return { lane = lane, line = q.index_keys[lane] or sw.line_of(lane ~= '' and lane or nil),
        ids = false, at = 1, from = 0,
        want = want, score = false, bound = bound, cursor = cursor }
end

-- Reads the next page of the line: one more entry than wanted, for the score after the last.
local function fill(q, source)
    local key = q.index_keys[source.line] or q.prefix .. source.line
    source.ids = call('ZRANGE', key, source.from, source.from + source.want, 'WITHSCORES')
    sw.know(source.line)
    source.at = 1
    source.score = source.ids[2] and tonumber(source.ids[2]) or false
end

-- Takes the next task of the source. Returns its id.
local function take(q, source)
    local id = source.ids[source.at]
    source.from = source.from + 1
    source.at = source.at + 2
    if source.at >= source.want * 2 and source.ids[source.at] then
        fill(q, source)
    else
        local score = source.ids[source.at + 1]
        source.score = score and tonumber(score) or false
    end
    return id
end

-- Returns what is left of a worker's capacity beside the attempts that it keeps.
function sw.room_left(class, held, worker)
    local occupied = {}
    if held then
        local over = sw.planned_end_ids(worker)
        for i = 1, #held, 2 do
            local _, _, _, _, lane = sw.lease_of(held[i + 1])
            if lane and not over[held[i]] then occupied[#occupied + 1] = lane end
        end
    end
    -- This includes what this pull has given the worker.
    for _, lane in ipairs(sw.planned_lanes(worker)) do occupied[#occupied + 1] = lane end
    return sw.room(class, occupied)
end

-- The chooser of a queue without lanes, which has one line.
local function pending_chooser(c, want)
    local q = c.q
    local source = new_source(q, '', want)
    source.line = 'pending'
    fill(q, source)
    local looks = 0
    return {
        next = function()
            looks = looks + 1
            if not source.score or looks > want + LOOKS then return nil end
            return take(q, source), nil
        end,
        took = function() end,
        fits = function() return true end,
    }
end

-- The chooser of a queue with lanes: the tasks that the worker's class serves and that fit its room.
local function lane_chooser(c, plan, held, want)
    local q, worker, class = c.q, plan.worker, plan.class
    local has_amounts = sw.has_amounts(class)
    local room = has_amounts and sw.room_left(class, held, worker) or {}
    local groups, cursors, sources, seen = plan.groups or sw.groups_for(q, class), {}, {}, {}
    if sw.serves(class, '') then
        sources[1] = new_source(q, '', want)
        sources[1].line = 'pending'
        fill(q, sources[1])
    end
    local reservation = has_amounts and sw.reservation_of(c, plan, room, held) or nil
    local looks, has_misfit = 0, false

    -- Opens the next group of the class. Of the groups that do not fit, only the most urgent may get a reservation;
    -- the others are skipped.
    local function open_group()
        local group, bound = sw.advance(groups)
        local fits = sw.has_room(room, group)
        if not fits and has_misfit then return end
        looks = looks + 1
        has_misfit = has_misfit or not fits
        local cursor = sw.lanes_in(q, group)
        if not cursor.bound or cursor.bound > bound then plan.stale_groups[group] = true end
        cursors[#cursors + 1] = cursor
    end

    -- Opens the next lane of a group as a source. Returns the source, or nil.
    local function open_lane(cursor)
        local lane, bound = sw.advance(cursor)
        if seen[lane] or sw.group_of(lane) ~= cursor.group then return nil end
        seen[lane] = true
        local source = new_source(q, lane, want, bound, cursor)
        fill(q, source)
        if not source.score then
            plan.stale_lanes[#plan.stale_lanes + 1] = lane
            plan.stale_groups[cursor.group] = true
            return nil
        end
        if sw.has_gates(lane) and (c.closing[lane] or sw.note_gate(c, lane)) then
            plan.stale_groups[cursor.group] = true
            return nil
        end
        sources[#sources + 1] = source
        return source
    end

    -- Considers a reservation for the most urgent task that does not fit now.
    local has_considered = false
    local function consider(cursor)
        cursor.is_skipped = true
        if has_considered then return end
        local source = open_lane(cursor)
        if not source then return end
        has_considered = true
        sources[#sources] = nil
        reservation = sw.consider_reservation(c, plan, source, room, held) or reservation
    end

    -- Returns the source whose next task is the most urgent, or nil.
    local function first_of()
        local best
        for i = 1, #sources do
            local source = sources[i]
            if source.score and (not best or source.score < best.score) then best = source end
        end
        while true do
            if looks > want + LOOKS then
                -- The indexes are corrected by what was seen, and the worker is told to pull again at once.
                plan.is_full = true
                return nil
            end
            local least
            for i = 1, #cursors do
                local cursor = cursors[i]
                if cursor.bound and not cursor.is_skipped and (not least or cursor.bound < least.bound) then
                    least = cursor
                end
            end
            if groups.bound and not (least and least.bound <= groups.bound) then
                if best and best.score <= groups.bound then return best end
                open_group()
            elseif not least or best and best.score <= least.bound then
                return best
            elseif sw.has_room(room, least.group) then
                looks = looks + 1
                local opened = open_lane(least)
                if opened and (not best or opened.score < best.score) then best = opened end
            else
                consider(least)
            end
        end
    end

    local chooser = {}
    function chooser.next()
        while true do
            looks = looks + 1
            local source = first_of()
            if not source then return nil end
            local lane = source.lane ~= '' and source.lane or nil
            if lane and not sw.has_room(room, lane) then
                source.score = false
            elseif lane and sw.has_gates(lane) and sw.note_gate(c, lane) then
                source.score = false
            elseif reservation and not sw.may_pass(c, reservation, source) then
                source.score = false
            else
                return take(q, source), lane
            end
        end
    end
    function chooser.fits(lane)
        return not lane or sw.has_room(room, lane) and not (sw.has_gates(lane) and sw.note_gate(c, lane))
    end
    function chooser.took(lane)
        if lane then
            if has_amounts then sw.take_room(room, lane) end
            if sw.has_gates(lane) then plan.gated[lane] = true end
        end
        if has_amounts then sw.note_taken(c, plan, reservation, lane) end
    end
    -- Called when the pull is planned. Raises the bounds of the lanes whose tasks it took, if their order matters.
    --   looks_ahead   tasks were chosen but not taken, so commit reads the first task of each lane again
    function chooser.finish(looks_ahead)
        local lanes_seen = 0
        for i = 1, #sources do
            if sources[i].cursor then lanes_seen = lanes_seen + 1 end
        end
        for i = 1, #cursors do
            if cursors[i].bound then lanes_seen = lanes_seen + 1 end
        end
        if groups.bound then lanes_seen = lanes_seen + 1 end
        for i = 1, #sources do
            local source = sources[i]
            if source.cursor then
                if looks_ahead then
                    plan.stale_lanes[#plan.stale_lanes + 1] = source.lane
                elseif lanes_seen > 1 and source.ids[source.at] then
                    local score = tonumber(source.ids[source.at + 1])
                    if score > source.bound then
                        source.score = score
                        plan.raised[#plan.raised + 1] = source
                    end
                end
                -- The order within the lane's group, and the group's bound, may have changed.
                if looks_ahead or lanes_seen > 1 then plan.stale_groups[source.cursor.group] = true end
            end
        end
    end
    return chooser
end

-- Returns the chooser for a pull.
--   plan       the plan of the pull (pull.lua)
--   held       the worker's leases, if its class has capacity
--   together   tasks of one group key are wanted together
function sw.chooser(c, plan, held, want, together)
    local inner = c.q.has_lanes and lane_chooser(c, plan, held, want) or pending_chooser(c, want)
    local chooser, finish = inner, inner.finish
    if c.q.has_affinity then chooser = sw.affine_chooser(c, plan.worker, chooser) end
    if together then chooser = sw.group_chooser(c, chooser) end
    chooser.finish = finish and function() finish(c.q.has_affinity or together) end
    return chooser
end

-- Called by commit. Corrects the bounds of lanes and groups by what the pull has seen.
function sw.commit_corrections(q, plan)
    local lists = {}
    local function raise(lane, score)
        local group = sw.group_of(lane)
        local list = lists[group]
        if not list then
            list = {}
            lists[group] = list
            plan.stale_groups[group] = true
        end
        list[#list + 1] = score
        list[#list + 1] = lane
    end
    for _, source in ipairs(plan.raised) do
        -- The call may also have put a more urgent task into this line.
        if sw.enters_line(source.lane) then
            plan.stale_lanes[#plan.stale_lanes + 1] = source.lane
        else
            raise(source.lane, sw.digits(source.score))
        end
    end
    for _, lane in ipairs(plan.stale_lanes) do
        local first = call('ZRANGE', q.prefix .. sw.line_of(lane), 0, 0, 'WITHSCORES')
        if not first[1] then
            sw.forget_lane(q, lane)
        elseif sw.derived('ZSCORE', q.lanes_key, lane) then
            raise(lane, first[2])
        end
    end
    for group, list in pairs(lists) do
        sw.derived('ZADD', sw.work_key(q, group), 'XX', unpack(list))
        sw.derived('ZADD', q.lanes_key, 'XX', 'GT', unpack(list))
    end
    for group in pairs(plan.stale_groups) do sw.correct_bound(q, group) end
end
