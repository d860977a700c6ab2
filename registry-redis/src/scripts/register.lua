#!lua
-- Lists an instance: arguments 1 to 9 are id, token, incarnation of the entry, claim, what to do on conflict, ttl, writer, sequence, and the entry.
--
-- -> { 'OK', now, revision }
--  | { 'RAISE', now, incarnation }   the entry must be written with this one
--  | { 'HELD', now }                 another owner holds the id and keeps it
--  | { 'DOUBT' | 'LATE', now }
local id, token, incarnation, claim = argument(1), argument(2), tonumber(argument(3)), tonumber(argument(4))
local conflict, ttl = argument(5), tonumber(argument(6))
local writer, sequence, entry = argument(7), tonumber(argument(8)), argument(9)
if late() then
  return { 'LATE', now }
end
if not epoch then
  begin()
end
if not keep_time() then
  return { 'DOUBT', now }
end
sweep(64)
local answer
local _, of = find(id)
if of and of.token == token then
  -- The same attempt again; or an older copy of it, whose writer has written again since.
  local older = of.writer == writer and sequence < of.sequence
  if of.incarnation ~= incarnation then
    answer = { 'RAISE', now, string.format('%.0f', of.incarnation) }
  else
    renew(id, ttl)
    if not older and (of.sum ~= redis.sha1hex(entry):sub(1, 16) or of.ttl ~= ttl) then
      put(id, of.created, incarnation, token, ttl, writer, sequence, entry)
      of = { modified = revision }
    end
    answer = { 'OK', now, of.modified }
  end
elseif of and (conflict == 'refuse' or (conflict == 'reclaim' and of.incarnation >= claim)) then
  answer = { 'HELD', now }
elseif of and of.incarnation >= incarnation and incarnation < HIGHEST then
  answer = { 'RAISE', now, string.format('%.0f', math.min(of.incarnation + 1, HIGHEST)) }
else
  put(id, revision + 1, incarnation, token, ttl, writer, sequence, entry)
  renew(id, ttl)
  answer = { 'OK', now, revision }
end
commit()
return answer
