-- Group keys: a worker that pulls several tasks at once may ask for related ones ("together"). After the first task,
-- tasks with the same group_key come first, if they are among the next LOOK_AHEAD.

local LOOK_AHEAD = 64

-- Returns a chooser that takes tasks from another chooser, and prefers the group key of the last task taken.
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
                group = call('HGET', q.prefix .. 'task:' .. id, 'group_key') }
        end
    end
    -- Returns the index of the next task in the window: the first of the group, or else the first.
    local function best()
        for i, entry in ipairs(window) do
            if group and entry.group == group then return i end
        end
        return 1
    end
    local chooser = { took = inner.took, fits = inner.fits }
    function chooser.next()
        while true do
            fill()
            local entry = table.remove(window, best())
            if not entry then return nil end
            if inner.fits(entry.lane) then
                group = entry.group or nil
                return entry.id, entry.lane
            end
        end
    end
    return chooser
end
