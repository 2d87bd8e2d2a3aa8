-- Classes of workers that appear and go: the lanes that they serve get other audiences, and move to other groups, in
-- bounded steps.

-- Lanes, and pairs of a lane and a class that are decided or written, in one step.
local LANES_PER_STEP, PAIRS_PER_STEP = 150, 2000

-- Classes that have appeared or gone are worked on in steps: the list `class_work` holds "add <class>" or "gone
-- <class>", and the field class_cursor of `config` the lane that the first of them has come to.
local function begin_work(q, kind, class)
    sw.set_config(q, 'classes_version', sw.digits(q.classes_version + 1))
    sw.derived('RPUSH', q.prefix .. 'class_work', kind .. ' ' .. class)
end

-- A worker of `class` registers. '' is the class without anything.
function sw.join_class(q, worker, class)
    local before = call('HGET', q.prefix .. 'class', worker) or ''
    if before == class then return end
    sw.leave_class(q, worker)
    if class ~= '' then
        call('HSET', q.prefix .. 'class', worker, class)
        if call('HINCRBY', q.prefix .. 'classes', class, 1) == 1 then
            begin_work(q, 'add', class)
            sw.step_classes(q)
        end
    end
end

function sw.leave_class(q, worker)
    local class = call('HGET', q.prefix .. 'class', worker)
    if class then
        call('HDEL', q.prefix .. 'class', worker)
        if call('HINCRBY', q.prefix .. 'classes', class, -1) <= 0 then
            call('HDEL', q.prefix .. 'classes', class)
            begin_work(q, 'gone', class)
            sw.step_classes(q)
        end
    end
    sw.unreserve_worker(q, worker)
end

-- A class has appeared or gone: moves a lane that it serves to the group of its new audience.
local function change_group(q, lane, class, is_add)
    if is_add then sw.derived('ZREM', q.prefix .. 'unserved', lane) else sw.note_unserved(q, lane) end
    local bound = sw.derived('ZSCORE', q.lanes_key, lane)
    if not bound then return end
    local former = sw.group_in(sw.changed_audience(q, sw.audience_of(q, lane), class, not is_add), lane)
    if former then sw.derived('ZREM', sw.work_key(q, former), lane) end
    sw.add_to_group(q, lane, bound)
end

-- Called by a pull that found `lane` in `group`, which is not its group any more.
function sw.correct_group(q, lane, group)
    sw.derived('ZREM', sw.work_key(q, group), lane)
    local bound = sw.derived('ZSCORE', q.lanes_key, lane)
    if bound then sw.add_to_group(q, lane, bound) end
end

-- Forgets the groups of a class that has gone, as far as one step goes. They leave `work`, so that a lane that enters
-- one tells all of its classes, also this one when it comes back. Lanes that were left behind in one move. Returns
-- whether all are forgotten.
local function forget_groups_of(q, class)
    local key = sw.serves_key(q, class)
    local groups, left = sw.derived('ZRANGE', key, 0, LANES_PER_STEP - 1), LANES_PER_STEP
    for _, group in ipairs(groups) do
        local strays = sw.derived('ZRANGE', sw.work_key(q, group), 0, left - 1)
        for _, lane in ipairs(strays) do sw.correct_group(q, lane, group) end
        left = left - #strays - 1
        if left <= 0 then return false end
        sw.derived('ZREM', q.prefix .. 'work', group)
        sw.derived('ZREM', key, group)
    end
    return #groups < LANES_PER_STEP
end

-- A step for the first class that has appeared or gone. Returns whether there is more to do.
function sw.step_classes(q)
    local key = q.prefix .. 'class_work'
    local kind, class = match(call('LINDEX', key, 0) or '', '^(%a+) (.*)$')
    if not kind then return false end
    local is_add = call('HEXISTS', q.prefix .. 'classes', class) == 1
    local cursor = call('HGET', q.config_key, 'class_cursor')
    local lanes = sw.derived('ZRANGEBYLEX', q.prefix .. 'lane_names', cursor and '(' .. cursor or '-', '+', 'LIMIT', 0, LANES_PER_STEP)
    local done = 0
    sw.pairs_decided = 0
    while done < #lanes and sw.pairs_decided < PAIRS_PER_STEP do
        done = done + 1
        if sw.serves(class, lanes[done]) then change_group(q, lanes[done], class, is_add) end
    end
    if done == LANES_PER_STEP or done < #lanes then
        call('HSET', q.config_key, 'class_cursor', lanes[done])
        return true
    end
    if not is_add and not forget_groups_of(q, class) then return true end
    call('LPOP', key)
    call('HDEL', q.config_key, 'class_cursor')
    return call('EXISTS', key) == 1
end
