#!lua flags=no-writes
-- The state of a service, with its instances if there are no more than argument 1 says. Changes nothing, so that it works while writes are refused.
--
-- -> { 'OK', now, epoch or '', revision, nonce, milliseconds until the first deadline, the epoch before, time of the last scrub,
--      whether another process served when it was last written to, number of values, of those with a deadline, { id, value, ... } }
local epoch_now, revision_now, nonce_now, due = state()
local more = redis.call('HMGET', HEAD, 'before', 'scrubbed')
local count = redis.call('HLEN', INSTANCES)
local listed = {}
if count <= tonumber(argument(1)) then
  listed = redis.call('HGETALL', INSTANCES)
end
return { 'OK', now, epoch_now, revision_now, nonce_now, due, more[1] or '', tonumber(more[2]) or 0, other_run() and 1 or 0, count, redis.call('ZCARD', DEADLINES), listed }
