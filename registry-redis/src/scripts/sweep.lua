#!lua flags=allow-oom
-- Ends what is overdue, at most argument 1 of it, and begins the history of a service that has none.
--
-- -> { 'OK' | 'DOUBT' | 'LATE', now }
if late() then
  return { 'LATE', now }
end
if not epoch then
  begin()
end
if not keep_time() then
  return { 'DOUBT', now }
end
sweep(tonumber(argument(1)))
commit()
return { 'OK', now }
