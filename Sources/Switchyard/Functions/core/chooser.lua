-- Which tasks a worker gets, in which order: of all lanes that its class serves and that fit its room, the most
-- urgent and longest waiting first. Smaller tasks go before one that does not fit (backfill), as far as
-- reservations.lua allows.
--
-- A chooser has next(), which returns a task's id and lane, or nil; took(lane), to be called when the task was taken;
-- and fits(lane), for those that look ahead: what they keep back may not fit any more when its turn comes.

-- Limit on what one pull looks at: lanes that turn out to be empty, closed or less urgent than their bound, and tasks
-- that cannot be handed out. The next pull goes on, for each look corrects an index.
local LOOKS = 200

-- The line of a lane ('': none) as a source of tasks: `score` is that of its next task, false at the end of the line.
local function new_source(q, lane, want, bound, cursor)
    return { lane = lane, line = q.index_keys[lane] or sw.line_of(lane ~= '' and lane or nil), ids = false, at = 1, from = 0,
        want = want, score = false, bound = bound, cursor = cursor }
end

-- Reads the next piece of the line; one more than wanted, for the score after the last.
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

-- What is left of a worker's capacity beside the attempts that it goes on holding.
function sw.room_left(class, held, worker)
    local occupied = {}
    if held then
        local over = sw.planned_end_ids(worker)
        for i = 1, #held, 2 do
            local _, _, _, _, lane = sw.lease_of(held[i + 1])
            if lane and not over[held[i]] then occupied[#occupied + 1] = lane end
        end
    end
    -- What this pull has given it already.
    for _, lane in ipairs(sw.planned_lanes(worker)) do occupied[#occupied + 1] = lane end
    return sw.room(class, occupied)
end

-- Without lanes there is one line.
local function plain_chooser(c, want)
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

-- The tasks that the worker's class may take into the room that is left.
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

    -- Opens the next group of the class. Of those that do not fit, the most urgent may deserve a reservation; no
    -- other is looked at.
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

    -- Opens the next lane of a group as a source, and returns it; or nil.
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

    -- The most urgent task of a shape that does not fit now: its worker may be reserved for it.
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

    -- The source whose next task is the most urgent, or nil.
    local function first_of()
        local best
        for i = 1, #sources do
            local source = sources[i]
            if source.score and (not best or source.score < best.score) then best = source end
        end
        while true do
            if looks > want + LOOKS then
                -- What was seen is corrected; the worker is to ask again at once.
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
    -- Called when the pull is planned: raises the bounds of the lanes that it took tasks of, where their order matters.
    --   looks_ahead   not every task that was chosen was taken: the first one that is left is to be read again
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
                -- The order within its group, and the bound of that, may be another now.
                if looks_ahead or lanes_seen > 1 then plan.stale_groups[source.cursor.group] = true end
            end
        end
    end
    return chooser
end

-- The chooser for a pull.
--   plan       what the pull is about (pull.lua)
--   held       the worker's leases, if its class has capacity that they take
--   together   tasks of one group are wanted together
function sw.chooser(c, plan, held, want, together)
    local inner = c.q.has_lanes and lane_chooser(c, plan, held, want) or plain_chooser(c, want)
    local chooser, finish = inner, inner.finish
    if c.q.has_affinity then chooser = sw.affine_chooser(c, plan.worker, chooser) end
    if together then chooser = sw.group_chooser(c, chooser) end
    chooser.finish = finish and function() finish(c.q.has_affinity or together) end
    return chooser
end

-- Called by commit: corrects the bounds of lanes and groups by what the pull has seen.
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
        -- A call that also puts tasks into the line may have put one before it.
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
