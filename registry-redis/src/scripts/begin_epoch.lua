#!lua flags=allow-oom
-- The history turned out to be another one than a client has seen in the epoch of argument 1: what comes next is not compared with it any more. The first
-- client that notices does it for all.
--
-- -> { 'OK', now }
if epoch == argument(1) then
  redis.call('HSET', HEAD, 'before', epoch, 'epoch', redis.sha1hex(seed .. now .. epoch):sub(1, 16))
end
return { 'OK', now }
