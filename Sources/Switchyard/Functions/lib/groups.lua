-- Groups: a worker that takes several tasks at once may ask for them together ("together"): after the first, those with
-- the same group_key, as far as they stand among the next few.

local LOOK_AHEAD = 64

-- A chooser that takes from another, and prefers the group of what was taken last.
function sw.group_chooser(c, inner)
    local q, window, group, ended = c.q, {}, nil, false
    local function fill()
        while not ended and #window < LOOK_AHEAD do
            local id, lane = inner.next()
            if not id then
                ended = true
                return
            end
            window[#window + 1] = { id = id, lane = lane,
                group = redis.call('HGET', q.prefix .. 'task:' .. id, 'group_key') }
        end
    end
    local chooser = { took = inner.took }
    function chooser.next()
        fill()
        local index = 1
        if group then
            for i, entry in ipairs(window) do
                if entry.group == group then
                    index = i
                    break
                end
            end
        end
        local entry = table.remove(window, index)
        if not entry then return nil end
        group = entry.group or nil
        return entry.id, entry.lane
    end
    return chooser
end
