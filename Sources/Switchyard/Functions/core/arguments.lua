-- Reads and validates arguments. A validator returns nil, or the text of a BADREQUEST.

function sw.bad(message)
    return redis.error_reply('BADREQUEST ' .. message)
end

-- Whether a value is a name: 1 to 200 characters that are safe in a key, a log line and a URL.
function sw.is_name(value)
    return type(value) == 'string' and #value >= 1 and #value <= 200
        and string.find(value, '^[%w._:-]+$') ~= nil
end

-- Returns a bad value as an error message shows it: short and printable.
function sw.shown(value)
    local text = string.gsub(string.sub(tostring(value), 1, 40), '[^%w%p ]', '?')
    return '"' .. text .. '"'
end

-- Checks that a value is an integer in [least, most], in decimal digits only (no sign, 0x, exponent or space).
function sw.check_integer(name, value, least, most)
    local number = string.find(value, '^%d+$') and #value <= 15 and tonumber(value)
    if not number or number < least or number > most then
        return name .. ': expected a whole number from ' .. string.format('%.0f', least) .. ' to '
            .. string.format('%.0f', most) .. ', found ' .. sw.shown(value)
    end
end

-- Returns an error reply if `value` is not a task id, or nil.
function sw.check_id(value)
    if #value >= 1 and #value <= 200 and find(value, '^[%w._:-]+$') then return nil end
    return sw.bad('task: expected 1 to 200 characters of A-Z a-z 0-9 . _ : -, found ' .. sw.shown(value))
end

-- Returns an integer in [0, most], or nil and the text of a BADREQUEST. Cheaper than sw.check_integer for a valid
-- small value.
function sw.count_of(name, value, most)
    local number = sw.COUNTS[value]
    if number and number <= most then return number end
    local problem = sw.check_integer(name, value, 0, most)
    if problem then return nil, problem end
    return tonumber(value)
end

-- Splits pairs into those of the call and those of each task.
--   knows_ids   the caller looks the ids up, and checks those that it does not find
-- Returns head (name → value) and tasks (each name → value, with its id under "task"), or nil and an error reply.
function sw.parse(args, knows_ids)
    if #args % 2 == 1 then
        return nil, sw.bad('arguments come in pairs of name and value, found ' .. #args .. ' of them')
    end
    -- The fields that most calls set are listed, so that Lua allocates the tables at their final size.
    local head = args[1] == 'task' and {} or { worker = nil, pull = nil, start = nil, holding = nil }
    local tasks, n, seen, into = {}, 0, nil, head
    for i = 1, #args, 2 do
        local name, value = args[i], args[i + 1]
        if name == 'task' then
            if not knows_ids then
                local wrong = sw.check_id(value)
                if wrong then return nil, wrong end
            end
            if n > 0 then
                if n == sw.MAX_TASKS_PER_CALL then
                    return nil, sw.bad('task: at most ' .. sw.MAX_TASKS_PER_CALL .. ' tasks in one call')
                end
                seen = seen or { [tasks[1].task] = true }
                if seen[value] then return nil, sw.bad('task: ' .. sw.shown(value) .. ' is named twice in one call') end
                seen[value] = true
            end
            into = { task = value, attempt = nil, outcome = nil, result = nil }
            n = n + 1
            tasks[n] = into
        else
            into[name] = value
        end
    end
    return head, tasks
end

function sw.bad_worker(value)
    return sw.bad('worker: expected 1 to 200 characters of A-Z a-z 0-9 . _ : -, found ' .. sw.shown(value))
end

-- Returns the worker that the call names, or nil and an error reply.
function sw.worker_of(head)
    if not head.worker then return nil, sw.bad('worker: missing') end
    if not sw.is_name(head.worker) then return nil, sw.bad_worker(head.worker) end
    return head.worker
end

-- Checks that the task has an attempt, and converts the attempt to a number. Returns an error reply, or nil.
function sw.check_attempt(t)
    if not t.attempt then return sw.bad('attempt: missing for task ' .. t.task) end
    local problem = sw.check_integer('attempt of task ' .. t.task, t.attempt, 1, 1e9)
    if problem then return sw.bad(problem) end
    t.attempt = tonumber(t.attempt)
end

-- Checks that the call has tasks, each with its attempt. Returns an error reply, or nil.
function sw.check_attempts(tasks)
    if #tasks == 0 then return sw.bad('task: missing') end
    for _, t in ipairs(tasks) do
        local bad = sw.check_attempt(t)
        if bad then return bad end
    end
end

-- Checks a key that a caller chooses (a tenant, a limit, a unique key): 1 to 200 bytes of UTF-8 without control
-- characters. Returns nil, or the text of a BADREQUEST.
function sw.check_key(name, value)
    if #value < 1 or #value > 200 then return name .. ': expected 1 to 200 bytes, found ' .. #value end
    if find(value, '^[%w._:/@+-]+$') then return nil end
    if find(value, '[%z\1-\31\127]') or not sw.is_utf8(value) then
        return name .. ': expected UTF-8 without control characters, found ' .. sw.shown(value)
    end
end

-- Whether a text is UTF-8 as RFC 3629 defines it (no overlong forms, no surrogates, nothing above U+10FFFF) without
-- the control characters U+0080 to U+009F.
function sw.is_utf8(text)
    local i, size = 1, #text
    while i <= size do
        local lead = byte(text, i)
        local more, least, most = 0, 128, 191
        if lead >= 128 then
            if lead >= 194 and lead <= 223 then
                more = 1
                if lead == 194 then least = 160 end
            elseif lead >= 224 and lead <= 239 then
                more = 2
                if lead == 224 then least = 160 elseif lead == 237 then most = 159 end
            elseif lead >= 240 and lead <= 244 then
                more = 3
                if lead == 240 then least = 144 elseif lead == 244 then most = 143 end
            else
                return false
            end
        end
        for k = 1, more do
            local following = byte(text, i + k)
            if not following or following < least or following > most then return false end
            least, most = 128, 191
        end
        i = i + more + 1
    end
    return true
end
