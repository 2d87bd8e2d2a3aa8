-- Groups. A group is the open lanes with the same requirements and amounts. The same classes serve its lanes, which
-- differ only in their gates. Its name is what the lanes have in common: "gpu,+cpu=2".
--   work:<group>     the lanes of a group, with their scores in `lanes`
--   work             the groups with lanes
-- All scores are lower bounds of the score of the first task. A bound is lowered when a more urgent task enters the
-- line, and raised by a pull that examines it (chooser.lua).
--
-- Redis does not store which groups a class serves: classes come and go, and each new one would need an entry in each
-- group. Instead, each run of the library (from its loading until it is loaded again or the server's process ends)
-- decides it once for each pair and caches the result. The cache must know all groups with work. It does as long as
-- no other run has added a group, which the field `run` of `config` shows: it names the run that last added one.

-- A class that serves at most this many groups reads the bound of each. A class that serves more reads `work` from
-- its beginning, where it soon finds a group that it serves.
local FEW = 40

-- Limit on the pairs of class and group that one call decides.
local PAIRS_PER_CALL = 1000

-- Limits on the cached groups and pairs of a queue. Beyond them the cache is rebuilt.
local GROUPS_REMEMBERED, PAIRS_REMEMBERED = 5000, 500000

-- Members of an index that are read at once: at first, and at most. They are sorted by their first tasks, so a worker
-- rarely needs more.
local FIRST_READ, LARGEST_READ = 8, 256

local own_run

local function this_run(q)
    own_run = own_run or sub(redis.sha1hex(sw.now_us_text(q) .. tostring(sw)), 1, 12)
    return own_run
end

-- Returns the group of a lane.
function sw.group_of(lane) return sw.parse_name(lane).base end

function sw.work_key(q, group) return q.prefix .. 'work:' .. group end

local function note_group(known, group)
    if not known.set[group] then
        known.set[group] = true
        known.list[#known.list + 1] = group
    end
end

-- Adds `lane`, whose first task has `score`, to its group.
function sw.add_to_group(q, lane, score)
    local group = sw.group_of(lane)
    sw.derived('ZADD', sw.work_key(q, group), 'LT', score, lane)
    sw.derived('ZADD', q.prefix .. 'work', 'LT', score, group)
    if q.run ~= this_run(q) then
        q.groups = nil
        sw.set_config(q, 'run', this_run(q))
    end
    if q.groups then note_group(q.groups, group) end
end

-- Returns what this run knows of the groups with work: `list` and `set` of all of them (and of some that have no work
-- any more), and for each class how many of the list are decided, and which of these it serves.
local function known_groups(q)
    local known = q.groups
    if known and q.run == own_run and known.instance == q.instance and #known.list <= known.most
        and known.pairs <= PAIRS_REMEMBERED then
        return known
    end
    known = { instance = q.instance, list = {}, set = {}, of = {}, pairs = 0 }
    for _, group in ipairs(sw.derived('ZRANGE', q.prefix .. 'work', 0, -1)) do note_group(known, group) end
    known.most = math.max(GROUPS_REMEMBERED, 2 * #known.list)
    q.groups = known
    sw.claim_run(q, this_run(q))
    return known
end

-- Called by the reconciler. Empties the cache of groups.
function sw.forget_groups(q) q.groups = nil end

-- Returns the known groups that `class` serves, as a list and as a set, and whether all known groups were decided.
local function groups_served(q, class)
    local known = known_groups(q)
    local of = known.of[class]
    if not of then
        of = { seen = 0, list = {}, set = {} }
        known.of[class] = of
    end
    local last = math.min(#known.list, of.seen + PAIRS_PER_CALL)
    for i = of.seen + 1, last do
        local group = known.list[i]
        if sw.could_serve(class, group) then
            of.list[#of.list + 1] = group
            of.set[group] = true
        end
    end
    known.pairs = known.pairs + last - of.seen
    of.seen = last
    return of.list, of.set, last == #known.list
end

-- Reads further pages of an index until one has a member that the cursor keeps, or the index ends.
local function read(cursor)
    cursor.at, cursor.members = 1, {}
    repeat
        local members = call('ZRANGE', cursor.key, cursor.from, cursor.from + cursor.size - 1, 'WITHSCORES')
        cursor.from = cursor.from + cursor.size
        cursor.has_more = #members == cursor.size * 2
        cursor.size = math.min(cursor.size * 2, LARGEST_READ)
        if not cursor.keeps then
            cursor.members = members
        else
            local kept = cursor.members
            for i = 1, #members, 2 do
                if cursor.keeps(members[i]) then
                    kept[#kept + 1] = members[i]
                    kept[#kept + 1] = members[i + 1]
                end
            end
        end
    until cursor.members[1] or not cursor.has_more
    cursor.bound = cursor.members[2] and tonumber(cursor.members[2]) or false
    return cursor
end

-- Returns a cursor over the lanes of a group, most urgent first, which reads them as needed. Its `bound` is that of
-- the next lane, a lower bound for all that follow; false at the end.
function sw.lanes_in(q, group)
    return read({ group = group, key = sw.work_key(q, group), from = 0, size = FIRST_READ })
end

-- Returns a cursor over the groups with work that `class` serves.
function sw.groups_for(q, class)
    local list, set, is_all = groups_served(q, class)
    if not is_all then
        return read({ key = q.prefix .. 'work', from = 0, size = FIRST_READ,
            keeps = function(group) return set[group] or sw.could_serve(class, group) end })
    end
    if #list > FEW then
        return read({ key = q.prefix .. 'work', from = 0, size = FIRST_READ,
            keeps = function(group) return set[group] end })
    end
    local cursor = { members = {}, at = 1, bound = false, has_more = false }
    if #list == 0 then return cursor end
    local bounds, found = call('ZMSCORE', q.prefix .. 'work', unpack(list)), {}
    for i = 1, #list do
        if bounds[i] then found[#found + 1] = { list[i], tonumber(bounds[i]), bounds[i] } end
    end
    if found[2] then
        table.sort(found, function(left, right)
            return left[2] < right[2] or left[2] == right[2] and left[1] < right[1]
        end)
    end
    for i = 1, #found do
        cursor.members[2 * i - 1], cursor.members[2 * i] = found[i][1], found[i][3]
    end
    cursor.bound = found[1] and found[1][2] or false
    return cursor
end

-- Takes the next member from the cursor. Returns the member and its bound.
function sw.advance(cursor)
    local member, bound = cursor.members[cursor.at], cursor.members[cursor.at + 1]
    cursor.at = cursor.at + 2
    if cursor.members[cursor.at] then
        cursor.bound = tonumber(cursor.members[cursor.at + 1])
    elseif cursor.has_more then
        read(cursor)
    else
        cursor.bound = false
    end
    return member, tonumber(bound)
end

-- Called by commit. Sets the bound of a group to that of its first lane, or removes a group without lanes.
function sw.correct_bound(q, group)
    local first = sw.derived('ZRANGE', sw.work_key(q, group), 0, 0, 'WITHSCORES')
    if first[1] then
        sw.derived('ZADD', q.prefix .. 'work', first[2], group)
    else
        sw.derived('ZREM', q.prefix .. 'work', group)
    end
end

-- Compares up to `limit` lanes of `group`, from `rank` on, with `lanes`: removes lanes without work, and moves lanes
-- of another group there. Returns the next rank, or nil at the end.
function sw.check_group(q, group, rank, limit)
    local key, gone, left = sw.work_key(q, group), {}, 0
    local lanes = sw.derived('ZRANGE', key, rank, rank + limit - 1)
    for _, lane in ipairs(lanes) do
        local bound = sw.derived('ZSCORE', q.lanes_key, lane)
        if bound and sw.group_of(lane) == group then
            left = left + 1
        else
            gone[#gone + 1] = lane
            if bound then sw.add_to_group(q, lane, bound) end
        end
    end
    if #gone > 0 then sw.derived('ZREM', key, unpack(gone)) end
    if #lanes == limit then return rank + left end
    if call('EXISTS', key) == 0 then sw.derived('ZREM', q.prefix .. 'work', group) end
end

-- Limit on the groups that one call deletes.
local GROUPS_PER_CALL = 150

-- Deletes the groups of a queue that has neither lanes nor classes, in bounded steps. Returns whether all are
-- deleted.
function sw.drop_groups(q)
    local groups = sw.derived('ZRANGE', q.prefix .. 'work', 0, GROUPS_PER_CALL - 1)
    for _, group in ipairs(groups) do
        call('UNLINK', sw.work_key(q, group))
        call('ZREM', q.prefix .. 'work', group)
    end
    return #groups < GROUPS_PER_CALL
end
