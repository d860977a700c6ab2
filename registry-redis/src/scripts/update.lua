#!lua flags=allow-oom
-- Replaces an entry in place: arguments 1 to 7 are id, token, incarnation, revision of the last acknowledged write, writer, sequence and the entry.
-- A sequence that is not above the entry's, of the same writer, is an older write whose caller has gone on to a later one, or the same again.
-- A sequence of 0 is of a writer who knows none.
--
-- -> { 'OK', now, revision, sequence } | { 'LOST', now } | { 'DOUBT' | 'LATE', now }
local id, token, incarnation, acknowledged = argument(1), argument(2), tonumber(argument(3)), tonumber(argument(4))
local writer, sequence, entry = argument(5), tonumber(argument(6)), argument(7)
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
  if sequence == 0 or of.writer ~= writer or sequence > of.sequence then
    sequence = math.max(sequence, 1)
    put(id, of.created, incarnation, token, of.ttl, writer, sequence, entry)
    of = { modified = revision, sequence = sequence }
  end
  answer = { 'OK', now, of.modified, of.sequence }
end
commit()
return answer
