#!lua
-- Takes a service out of the index (KEYS[1]), unless it was touched since: ARGV are its name and the time that was read.
if redis.call('ZSCORE', KEYS[1], ARGV[1]) == ARGV[2] then
  redis.call('ZREM', KEYS[1], ARGV[1])
end
return 1
