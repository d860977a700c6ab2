#!lua flags=no-writes
-- The state of a service, with its instances if there are no more than argument 1 says. Changes nothing, so that it works while writes are refused.
-- Arguments 2 to 4 are epoch, revision and nonce where the caller has seen the service last, if it has.
--
-- -> { 'OK', now, epoch or '', revision, nonce, milliseconds until the first deadline, the epoch before, time of the last scrub,
--      whether another process served when it was last written to, whether the log shows that what the caller has seen is not part of this history,
--      number of values, of those with a deadline, { id, value, ... } }

-- What is trimmed, or cannot be read, shows nothing.
local function was_replaced()
  local seen = argument(3)
  if not epoch or argument(2) ~= epoch or revision <= tonumber(seen) then
    return false
  end
  local found = redis.pcall('XRANGE', LOG, seen .. '-0', '+', 'COUNT', 1)
  local entry = not found.err and found[1]
  local name = entry and (entry[1] == seen .. '-0' and 'nonce' or entry[1] == string.format('%.0f-0', seen + 1) and 'previous')
  if not name then
    return false
  end
  for at = 1, #entry[2], 2 do
    if entry[2][at] == name then
      return entry[2][at + 1] ~= argument(4)
    end
  end
  return false
end

local epoch_now, revision_now, nonce_now, due = state()
local more = redis.call('HMGET', HEAD, 'before', 'scrubbed')
local count = redis.call('HLEN', INSTANCES)
local listed = {}
if count <= tonumber(argument(1)) then
  listed = redis.call('HGETALL', INSTANCES)
end
return { 'OK', now, epoch_now, revision_now, nonce_now, due, more[1] or '', tonumber(more[2]) or 0, other_run() and 1 or 0, was_replaced() and 1 or 0, count, redis.call('ZCARD', DEADLINES), listed }
