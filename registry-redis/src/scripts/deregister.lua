#!lua flags=allow-oom
-- Removes what a lease owns, and only that: ARGV[10..12] are id, token and incarnation.
--
-- -> { 'OK', now } | { 'DOUBT' | 'LATE', now }
local id, token, incarnation = ARGV[10], ARGV[11], tonumber(ARGV[12])
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
