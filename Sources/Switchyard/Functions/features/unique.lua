-- Unique keys: while a task with a unique_key has not ended (and for unique_for_ms after it has completed), another
-- submission with the key returns that task instead of making a second one. `unique:<key>` contains the task's id.

-- Returns the id and state of task `id`, to which a unique key refers (false: to none); or nil if it no longer has
-- the key.
function sw.holder(q, id)
    local state = id and call('HGET', q.task_prefix .. id, 'state')
    if not sw.is_task(state) then return nil end
    if sw.TERMINAL[state] and state ~= 'completed' then return nil end
    return id, state
end

-- Returns the id and state of the task that already has the key of `t`; or nil.
function sw.holder_of_key(q, t)
    return sw.holder(q, call('GET', q.prefix .. 'unique:' .. t.unique_key))
end

-- Called by commit. Takes and gives up unique keys.
--   c.takes   unique keys to take, each followed by the task's id
--   c.gives   { key, id, unique_for_ms or nil }: keys to give up, at once or later
function sw.commit_unique(c)
    local prefix = c.q.prefix .. 'unique:'
    local takes, gives, pairs_, keys, gone = rawget(c, 'takes') or {}, rawget(c, 'gives') or {}, {}, {}, {}
    for i = 1, #takes, 2 do pairs_[i], pairs_[i + 1] = prefix .. takes[i], takes[i + 1] end
    if #pairs_ > 0 then call('MSET', unpack(pairs_)) end
    if #gives == 0 then return end
    for i, entry in ipairs(gives) do keys[i] = prefix .. entry[1] end
    local holders = call('MGET', unpack(keys))
    for i, entry in ipairs(gives) do
        if holders[i] == entry[2] then
            if entry[3] then call('PEXPIRE', keys[i], entry[3]) else gone[#gone + 1] = keys[i] end
        end
    end
    if #gone > 0 then call('DEL', unpack(gone)) end
end
