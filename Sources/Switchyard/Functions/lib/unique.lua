-- Unique tasks: while a task with a unique_key has not ended (and for unique_for_ms after it has completed), an equal
-- submission is answered with that task instead of building it twice. `unique:<key>` is its id.

-- The task that already has the key of `t`, as id and state; or nil.
function sw.holder_of_key(q, t)
    local id = call('GET', q.prefix .. 'unique:' .. t.unique_key)
    local state = id and call('HGET', q.prefix .. 'task:' .. id, 'state')
    if not state then return nil end
    if sw.TERMINAL[state] and state ~= 'completed' then return nil end
    return id, state
end

-- Called by commit.
--   c.unique   pairs of unique_key and task id: keys to take
--   c.given_up { key, id, unique_for_ms or nil }: keys to give up, at once or later
function sw.commit_unique(c)
    local prefix = c.q.prefix .. 'unique:'
    for i = 1, #c.unique, 2 do call('SET', prefix .. c.unique[i], c.unique[i + 1]) end
    for _, entry in ipairs(c.given_up) do
        if call('GET', prefix .. entry[1]) == entry[2] then
            if entry[3] then
                call('PEXPIRE', prefix .. entry[1], entry[3])
            else
                call('DEL', prefix .. entry[1])
            end
        end
    end
end
