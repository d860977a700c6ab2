#!lua flags=allow-oom
-- One heartbeat: arguments 1 to 4 are id, token, incarnation, and the revision of the caller's last write that was acknowledged. An entry that is
-- older than that was put back by somebody else: from a backup, or by a fail-over that lost the write.
--
-- -> { 'OK', now } | { 'LOST', now } | { 'DOUBT' | 'LATE', now }
local id, token, incarnation, acknowledged = argument(1), argument(2), tonumber(argument(3)), tonumber(argument(4))
if late() then
  return { 'LATE', now }
end
if not epoch then
  return { 'LOST', now }
end
if not keep_time() then
  return { 'DOUBT', now }
end
sweep(64)
local answer = { 'LOST', now }
local _, of = find(id)
if of and of.ttl > 0 and of.token == token and of.incarnation == incarnation and of.modified >= acknowledged then
  renew(id, of.ttl)
  answer = { 'OK', now }
end
commit()
return answer
