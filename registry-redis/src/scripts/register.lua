#!lua
-- Lists an instance: ARGV[13..20] are id, token, incarnation of the entry, claim, what to do on conflict, ttl, sequence, and the entry.
--
-- -> { 'OK', now, revision, created }
--  | { 'RAISE', now, incarnation }   the entry must be written with this one
--  | { 'HELD', now }                 another owner holds the id and keeps it
--  | { 'DOUBT' | 'LATE', now }
local id, token, incarnation, claim = ARGV[13], ARGV[14], tonumber(ARGV[15]), tonumber(ARGV[16])
local conflict, ttl, sequence, entry = ARGV[17], tonumber(ARGV[18]), tonumber(ARGV[19]), ARGV[20]
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
  -- The same attempt again.
  if of.incarnation ~= incarnation then
    answer = { 'RAISE', now, string.format('%.0f', of.incarnation) }
  else
    renew(id, ttl)
    if of.sum ~= redis.sha1hex(entry):sub(1, 16) or of.ttl ~= ttl then
      put(id, of.created, incarnation, token, ttl, math.max(sequence, of.sequence), entry)
      of = { modified = revision, created = of.created }
    end
    answer = { 'OK', now, of.modified, of.created }
  end
elseif of and (conflict == 'refuse' or (conflict == 'reclaim' and of.incarnation >= claim)) then
  answer = { 'HELD', now }
elseif of and of.incarnation >= incarnation then
  answer = { 'RAISE', now, string.format('%.0f', of.incarnation + 1) }
else
  put(id, revision + 1, incarnation, token, ttl, sequence, entry)
  renew(id, ttl)
  answer = { 'OK', now, revision, revision }
end
commit()
return answer
