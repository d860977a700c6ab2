#!lua
-- Looks whether somebody else has changed entries behind the log's back, at some argument 1 of them, going on where the last look ended. Ids in
-- arguments 2 and on are looked at first.
--
-- -> { 'OK' | 'DOUBT' | 'LATE', now }
if late() then
  return { 'LATE', now }
end
if not epoch then
  return { 'OK', now }
end
if not keep_time() then
  return { 'DOUBT', now }
end
for at = 2, #ARGV - COMMON do
  find(argument(at))
end
local count = tonumber(argument(1))
if count > 0 then
  local cursor = redis.call('HMGET', HEAD, 'scrub_instances', 'scrub_deadlines')
  local values = redis.call('HSCAN', INSTANCES, cursor[1] or '0', 'COUNT', count)
  for at = 1, #values[2], 2 do
    local id, value = values[2][at], values[2][at + 1]
    local of = owner(value)
    if not of then
      settle(id, value)
    elseif not redis.call('ZSCORE', DEADLINES, id) then
      find(id)
    end
  end
  local members = redis.call('ZSCAN', DEADLINES, cursor[2] or '0', 'COUNT', count)
  for at = 1, #members[2], 2 do
    local id = members[2][at]
    if redis.call('HEXISTS', INSTANCES, id) == 0 then
      settle(id, false)
    end
  end
  redis.call('HSET', HEAD, 'scrubbed', now, 'scrub_instances', values[1], 'scrub_deadlines', members[1])
end
commit()
return { 'OK', now }
