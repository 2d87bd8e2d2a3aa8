-- switchyard_rights: tells which commands of the functions and of workers the caller may not run on a queue. Redis
-- checks the rights of a user at each command, so a function could fail after its first write.
--
-- Keys        prefix of the queue, its config (optional)
-- Arguments   none
-- Reply       a list of texts, a command with its first key or channel each; empty: nothing is missing
-- Errors      BADREQUEST for a bad key

-- The commands of the functions, by what they work on.
local COMMANDS = {
    config = { 'HGET', 'HSET', 'HSETNX', 'HDEL', 'HGETALL', 'HMGET', 'HEXISTS', 'HLEN', 'HINCRBY', 'HSTRLEN', 'HSCAN',
        'HRANDFIELD', 'HKEYS', 'DEL', 'UNLINK', 'EXISTS', 'TYPE', 'PEXPIRE', 'PERSIST', 'PTTL' },
    pending = { 'ZADD', 'ZREM', 'ZRANGE', 'ZRANGEBYSCORE', 'ZRANGEBYLEX', 'ZCARD', 'ZCOUNT', 'ZSCORE', 'ZMSCORE',
        'ZRANK', 'ZSCAN' },
    serves = { 'SADD', 'SREM', 'SCARD', 'SRANDMEMBER' },
    wake = { 'LPUSH', 'RPUSH', 'LPOP', 'LRANGE', 'LPOS', 'LINDEX', 'LTRIM', 'BLPOP' },
    unique = { 'GET', 'SET', 'MGET', 'MSET', 'RENAME' },
    log = { 'XADD', 'XRANGE', 'XREVRANGE', 'XREAD', 'XLEN', 'XDEL' },
}

-- Arguments that complete a command whose check needs more than its key.
local REST = { BLPOP = { '0' }, MSET = { '1' } }

local SUBSCRIBE = PUBLISH == 'SPUBLISH' and 'SSUBSCRIBE' or 'SUBSCRIBE'
local CHANNELS = { 'events', 'results', 'reports', 'control:w' }

local function check(missing, command, name, ...)
    if not redis.acl_check_cmd(command, ...) then missing[#missing + 1] = command .. ' ' .. name end
end

redis.register_function{ function_name = 'switchyard_rights', flags = { 'no-writes' }, callback = function(keys)
    local q, failure = sw.open(keys)
    if not q then return failure end
    local missing = {}
    for key, commands in pairs(COMMANDS) do
        for _, command in ipairs(commands) do
            local name = q.prefix .. key
            if command == 'RENAME' then
                check(missing, command, name, name, name)
            elseif command == 'XREAD' then
                check(missing, command, name, 'STREAMS', name, '0')
            elseif REST[command] then
                check(missing, command, name, name, unpack(REST[command]))
            else
                check(missing, command, name, name)
            end
        end
    end
    for _, channel in ipairs(CHANNELS) do
        local name = q.channels .. channel
        check(missing, PUBLISH, name, name, '')
        check(missing, SUBSCRIBE, name, name)
    end
    check(missing, 'SADD', 'switchyard:queues', 'switchyard:queues', q.name)
    check(missing, 'SMEMBERS', 'switchyard:queues', 'switchyard:queues')
    table.sort(missing)
    return missing
end }
