-- Recurring schedules: `schedule:<id>` holds the cron expression, the template of its tasks and when it fires next,
-- `schedules` all of them by that time. When a schedule is due is known here; when it is due after that, only the
-- replica knows, which reads cron expressions and time zones. It says so in the call that fires, and that call fires
-- only if the time was still due: however many replicas call it, one task comes of each time.

-- A task that is to be made later, from a JSON list of names and values that begins with "task" (its id is replaced
-- then). Answers the list, or nil and what is wrong.
function sw.check_template(name, text)
    local ok, pairs_ = pcall(cjson.decode, text or '')
    if not ok or type(pairs_) ~= 'table' or pairs_[1] ~= 'task' then
        return nil, name .. ': expected a JSON list of names and values that begins with task'
    end
    for _, value in ipairs(pairs_) do
        if type(value) ~= 'string' then return nil, name .. ': expected only strings in the list' end
    end
    return pairs_
end
