-- switchyard_version: returns the version of the loaded library.
--
-- Keys        none
-- Arguments   none
-- Reply       the library's version, an integer
-- Errors      none
redis.register_function{ function_name = 'switchyard_version', flags = { 'no-writes' }, callback = function()
    return VERSION
end }
