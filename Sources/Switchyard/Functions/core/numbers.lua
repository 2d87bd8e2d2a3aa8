-- Numbers in the queue's keys. Something else may have written any text there, and Lua reads "nan", "inf" and numbers
-- beyond 2^53, with which a sum, a score or a comparison goes wrong and the call fails. Such a text counts as absent.

-- Up to 2^53 a double has every whole number.
local MOST = 9007199254740992

-- Limit on the digits of a number of attempts or milliseconds.
local DIGITS = 12

-- Returns the number in `text`; `default` if there is none, or the text is false or nil.
function sw.number(text, default)
    local number = text and tonumber(text)
    -- NaN is in no range.
    if number and number >= -MOST and number <= MOST then return number end
    return default
end

-- Like sw.number, for a whole number that is not negative.
function sw.whole(text, default)
    local number = sw.number(text, nil)
    if number and number >= 0 then return math.floor(number) end
    return default
end

-- Whether a text has only a few digits, as a duration in ms or the number of an attempt has.
function sw.is_short_number(text)
    return #text <= DIGITS and find(text, '^%d+$') ~= nil
end

-- Returns the number of a task's latest attempt (false or nil: it has had none). Numbers of attempts only grow, so an
-- unreadable one counts as the seconds since 2024: more than any that the task can have had.
function sw.attempt_in(q, text)
    if not text then return 0 end
    if sw.is_short_number(text) then return tonumber(text) end
    return math.floor(sw.time_tag(q, 0) / 1000000)
end

-- Adds to a number in a hash that is not `stats`. If the hash has something else there, it counts as 0. Returns the
-- sum.
function sw.increase(key, field, by)
    local reply = pcall_redis('HINCRBY', key, field, by)
    if type(reply) ~= 'table' then return reply end
    -- A key of a wrong type fails here again, as it would without a damaged field.
    call('HSET', key, field, by)
    return by
end
