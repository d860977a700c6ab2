#!lua flags=allow-oom
-- Removes what a lease owns, and only that: arguments 1 to 3 are id, token and incarnation.
--
-- -> { 'OK', now } | { 'DOUBT' | 'LATE', now }
local id, token, incarnation = argument(1), argument(2), tonumber(argument(3))
if late() then
  return { 'LATE', now }
end
if not epoch then
  begin()
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
