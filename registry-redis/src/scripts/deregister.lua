#!lua flags=allow-oom
-- Removes what a lease owns, and only that: ARGV[13..15] are id, token and incarnation.
--
-- -> { 'OK', now } | { 'DOUBT' | 'LATE', now }
local id, token, incarnation = ARGV[13], ARGV[14], tonumber(ARGV[15])
if late() then
  return { 'LATE', now }
end
if not epoch then
  return { 'OK', now }
end
if not keep_time() then
  return { 'DOUBT', now }
end
local _, of = find(id)
if of and of.token == token and of.incarnation == incarnation then
  remove('left', id)
end
commit()
return { 'OK', now }
