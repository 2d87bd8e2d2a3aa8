-- Recurring schedules. `schedule:<id>` has the cron expression, the template of the tasks and the next time;
-- `schedules` has all schedules by their next times. The functions know when a schedule is due. Only replicas know
-- when it is due after that, because they parse cron expressions and time zones; the call that fires a schedule gives
-- the next time. It fires only if the schedule is still due at the given time, so each time makes one task, however
-- many replicas call.

-- Checks a task that will be made later: a JSON list of names and values that begins with "task", whose id is
-- replaced later. Returns the list, or nil and the error text.
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
