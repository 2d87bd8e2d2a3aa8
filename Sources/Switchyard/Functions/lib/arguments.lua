-- Reading and validating arguments. Validators answer nil, or the text of a BADREQUEST.

function sw.bad(message)
    return redis.error_reply('BADREQUEST ' .. message)
end

-- A name is short, and safe inside a key, a log line and a URL.
function sw.is_name(value)
    return type(value) == 'string' and #value >= 1 and #value <= 200
        and string.find(value, '^[A-Za-z0-9._:-]+$') ~= nil
end

-- What to show of a bad value: short, and printable, whatever it was.
function sw.shown(value)
    local text = string.gsub(string.sub(tostring(value), 1, 40), '[^%w%p ]', '?')
    return '"' .. text .. '"'
end

-- A whole number in [least, most], written in decimal digits only (no sign, 0x, exponent or space).
function sw.check_integer(name, value, least, most)
    local number = string.find(value, '^%d+$') and #value <= 15 and tonumber(value)
    if not number or number < least or number > most then
        return name .. ': expected a whole number from ' .. string.format('%.0f', least) .. ' to '
            .. string.format('%.0f', most) .. ', found ' .. sw.shown(value)
    end
end

-- Splits pairs into those of the call and those of each task.
-- Replies: head (name → value), tasks (each name → value, its id under "task"); or nil and an error reply.
function sw.parse(args)
    if #args % 2 == 1 then
        return nil, sw.bad('arguments come in pairs of name and value, found ' .. #args .. ' of them')
    end
    local head, tasks, seen = {}, {}, {}
    local into = head
    for i = 1, #args, 2 do
        local name, value = args[i], args[i + 1]
        if name == 'task' then
            if not sw.is_name(value) then
                return nil, sw.bad('task: expected 1 to 200 characters of A-Z a-z 0-9 . _ : -, found '
                    .. sw.shown(value))
            end
            if seen[value] then
                return nil, sw.bad('task: ' .. value .. ' is named twice in one call')
            end
            if #tasks == sw.MAX_TASKS_PER_CALL then
                return nil, sw.bad('task: at most ' .. sw.MAX_TASKS_PER_CALL .. ' tasks in one call')
            end
            seen[value] = true
            into = { task = value }
            tasks[#tasks + 1] = into
        else
            into[name] = value
        end
    end
    return head, tasks
end

-- The worker that a call speaks for, or nil and an error reply.
function sw.worker_of(head)
    if not head.worker then return nil, sw.bad('worker: missing') end
    if not sw.is_name(head.worker) then
        return nil, sw.bad('worker: expected 1 to 200 characters of A-Z a-z 0-9 . _ : -, found '
            .. sw.shown(head.worker))
    end
    return head.worker
end

-- Every task of the call names its attempt. Replies an error reply, or nil.
function sw.check_attempts(tasks)
    if #tasks == 0 then return sw.bad('task: missing') end
    for _, t in ipairs(tasks) do
        if not t.attempt then return sw.bad('attempt: missing for task ' .. t.task) end
        local problem = sw.check_integer('attempt of task ' .. t.task, t.attempt, 1, 1e9)
        if problem then return sw.bad(problem) end
        t.attempt = tonumber(t.attempt)
    end
end
