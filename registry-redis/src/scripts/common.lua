-- What every script begins with. One service is four keys under one hash tag:
--
--   head       hash: epoch, revision, nonce (of the last change), and how time went: last, base, run, refused, skew, graced, moved
--   instances  hash: id -> 'modified created incarnation token ttl writer sequence sum' LF entry as JSON
--   deadlines  sorted set: id -> deadline - base; whatever the log says is listed has one, 'inf' if nobody's lease holds it
--   log        stream: one entry 'revision-0' for each change: nonce, previous (nonce), change, id, value
--
-- The log's name is also the shard channel on which every change is told at once.
local HEAD, INSTANCES, DEADLINES, LOG = KEYS[1], KEYS[2], KEYS[3], KEYS[4]

-- What every call says of itself: the server's time when it should arrive (0: not known) and for how long from then its caller waits; the server's run id, when
-- it was started, and how many writes it has refused, as far as the caller knows; the caller's own clock; flags; randomness; how long the log may
-- be, in entries and in bytes; since when the caller has watched this server's clock without a step, and by how much that had been put forward (0:
-- there was no step before, only another connection). All times are milliseconds.
local sent, patience = tonumber(ARGV[1]), tonumber(ARGV[2])
local run, started, refused, wall = ARGV[3], tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6])
local flags, seed = ARGV[7], ARGV[8]
local history, budget = tonumber(ARGV[9]), tonumber(ARGV[10])
local watched, forward = tonumber(ARGV[11]), tonumber(ARGV[12])
local COMMON = 12

-- The arguments of a script itself, from 1 on.
local function argument(at)
  return ARGV[COMMON + at]
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local head = redis.call('HMGET', HEAD, 'epoch', 'revision', 'nonce', 'last', 'base', 'run', 'refused', 'skew', 'graced', 'moved')
local epoch, revision, nonce = head[1], tonumber(head[2]) or 0, head[3] or ''
local last, base = tonumber(head[4]) or now, tonumber(head[5]) or 0
local graced, moved_at = head[9] == '1', tonumber(head[10]) or 0
if epoch and not (epoch:match('^%x+$') and #epoch == 16 and nonce:match('^%x+$') and #nonce == 16 and revision == math.floor(revision)) then
  -- Not what these scripts write: another history begins.
  epoch, revision, head = false, 0, {}
end
local recorded = 0
-- Whether this call takes longer than others on its connection, and whether it has moved leases.
local slow, moved = false, false

-- Lateness and overdue leases up to this need no explanation.
local SLACK = 1000
-- After a move to another node it is granted in full again after so many times its length.
local SPARING = 10
-- What nobody uses any more is kept for an hour, and for a minute what nobody ever has.
local KEPT, KEPT_UNUSED = 3600 * 1000, 60 * 1000
-- The greatest incarnation.
local HIGHEST = 2 ^ 53 - 1
local LONGEST_ID = 256

slow = sent > 0 and now - sent > SLACK

local function has(flag)
  return flags:find(flag, 1, true) ~= nil
end

-- Who owns a value that these scripts wrote; nil for one that somebody else wrote.
local function owner(value)
  local modified, created, incarnation, token, ttl, writer, sequence, sum, at =
    value:match('^(%d+) (%d+) (%d+) (%x+) (%d+) (%x+) (%d+) (%x+)\n()')
  if not at or redis.sha1hex(value:sub(at)):sub(1, 16) ~= sum then
    return nil
  end
  return {
    modified = tonumber(modified), created = tonumber(created), incarnation = tonumber(incarnation), token = token,
    ttl = tonumber(ttl), writer = writer, sequence = tonumber(sequence), sum = sum, entry = value:sub(at),
  }
end

-- Writes one change down, with a nonce that no other history has at this revision.
local function record(change, id, value)
  recorded = recorded + 1
  revision = revision + 1
  local previous = nonce
  nonce = seed:sub(1, 12) .. string.format('%04x', recorded)
  local length = math.max(1, math.min(history, math.floor(budget / (#value + 100))))
  local entry = { 'nonce', nonce, 'previous', previous, 'change', change, 'id', id, 'value', value }
  local added = redis.pcall('XADD', LOG, 'MAXLEN', '~', length, revision .. '-0', unpack(entry))
  if type(added) == 'table' and added.err then
    if added.err:find('equal or smaller', 1, true) or added.err:find('WRONGTYPE', 1, true) then
      -- Somebody else has written there. What was before is lost to those who resume, and they will see it.
      redis.call('DEL', LOG)
    end
    redis.call('XADD', LOG, revision .. '-0', unpack(entry))
  end
  -- Who may not publish has written all the same: those who listen find it in the log.
  redis.pcall('SPUBLISH', LOG, table.concat({ revision, nonce, previous, change, id, value }, '\n'))
end

local function put(id, created, incarnation, token, ttl, writer, sequence, entry)
  local sum = redis.sha1hex(entry):sub(1, 16)
  local value = string.format(
    '%.0f %.0f %.0f %s %.0f %s %.0f %s\n', revision + 1, created, incarnation, token, ttl, writer, sequence, sum) .. entry
  record('put', id, value)
  redis.call('HSET', INSTANCES, id, value)
end

local function remove(change, id)
  record(change, id, '')
  redis.call('ZREM', DEADLINES, id)
  redis.call('HDEL', INSTANCES, id)
end

-- Makes the log say what somebody else did behind it: `value` is what is there now, or false. What cannot be an entry is left alone, and is not
-- listed.
local function settle(id, value)
  local listed = redis.call('ZSCORE', DEADLINES, id)
  if value and #value <= budget and #id <= LONGEST_ID and id:match('^[%w:][%w%.%-_:]*$') then
    local readable, entry = pcall(cjson.decode, value)
    if readable and type(entry) == 'table' and type(entry.schema) == 'number' and type(entry.token) == 'string' then
      local token = entry.token:match('^%x+$') or '0'
      local incarnation = math.floor(math.min(HIGHEST - 1, math.max(0, tonumber(entry.incarnation) or 0)))
      put(id, revision + 1, incarnation, token, 0, '0', 0, value)
      redis.call('ZADD', DEADLINES, 'inf', id)
      return
    end
  end
  if listed then
    record('gone', id, '')
    redis.call('ZREM', DEADLINES, id)
  end
end

-- The value of an id and its owner, as the log has it; nothing that is overdue.
local function find(id)
  local score = tonumber(redis.call('ZSCORE', DEADLINES, id) or nil)
  local value = redis.call('HGET', INSTANCES, id)
  local of = value and owner(value)
  if (value and not of) or (score and not value) then
    settle(id, value)
    value = redis.call('HGET', INSTANCES, id)
    of = value and owner(value)
  elseif of and not score then
    -- Put back by other hands, or taken out of the deadlines. Who has a lease has a TTL to renew it.
    put(id, of.created, of.incarnation, of.token, of.ttl, of.writer, of.sequence, of.entry)
    redis.call('ZADD', DEADLINES, of.ttl > 0 and now + of.ttl + 1 - base or 'inf', id)
  end
  if of and score and score + base <= now then
    remove('expired', id)
    return false, nil
  end
  return value, of
end

local function renew(id, ttl)
  -- One more, because the beginning of this millisecond is past.
  redis.call('ZADD', DEADLINES, now + ttl + 1 - base, id)
  -- That the server serves again is for others to show than those who brought the grace, or else they could do so for ever.
  if not slow and not moved then
    graced = false
  end
end

local function begin()
  epoch = redis.sha1hex(seed .. now):sub(1, 16)
  nonce = redis.sha1hex(epoch):sub(1, 16)
  revision, last, base = 0, now, 0
  head = {}
end

-- Whether another process served when this service was last written to.
local function other_run()
  return run ~= '' and head[6] and head[6] ~= run
end

-- Whether something is overdue by more than `usual`, and nothing that somebody renews is not.
local function all_overdue(usual)
  local first = redis.call('ZRANGE', DEADLINES, 0, 0, 'WITHSCORES')
  return first[2] and tonumber(first[2]) + base < now - usual
    and redis.call('ZCOUNT', DEADLINES, now - base, '(inf') == 0
end

-- By how much to move every deadline, because nobody could renew for so long: `gap` is how long ago the last script was. False when more must be
-- known than the caller said.
local function lost_time(gap)
  if other_run() then
    -- A restart, after which it takes a while to come back; or a fail-over or a move to another node, of which the time is not known.
    if started > last then
      return SLACK + (has('g') and gap or math.min(started - last, gap))
    end
    if graced then
      return 0
    end
    -- Slots may move back and forth for long, and each time some heartbeat comes between.
    local slack = math.min(SLACK, math.floor(math.max(0, now - moved_at) / SPARING))
    moved_at = now
    return slack + gap
  end
  if graced then
    return 0
  end
  -- The caller was refused by a server that refuses everybody; or the call is late, because the server stood still or its clock was put forward.
  if has('g') or slow then
    return gap
  end
  if last < watched and forward > 0 then
    return math.min(gap, forward)
  end
  -- What follows may be the caller's own trouble. Where others renew all the time, it is.
  if not all_overdue(last < watched and 0 or SLACK) then
    return 0
  end
  if has('u') then
    return gap
  end
  if not has('s') then
    return false
  end
  if head[7] and head[7] ~= refused then
    return gap
  end
  local skew = tonumber(head[8])
  local jump = skew and now - wall - skew or 0
  return jump > 2 * SLACK and math.min(gap, jump) or 0
end

-- Time in which nobody could renew does not count against leases: every deadline is moved by it. False when more must be known for that than the
-- caller said. Apart from restarts, once until the next heartbeat that is in time, so that nothing can keep the dead alive.
local function keep_time()
  local gap = now - last
  if gap < 0 then
    base = base + gap
  elseif head[1] then
    local move = lost_time(gap)
    if not move then
      return false
    end
    if move > 0 then
      base = base + move
      graced, moved = true, true
    end
  end
  return true
end

-- Ends what is overdue, at most `limit` of it.
local function sweep(limit)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', DEADLINES, '-inf', now - base, 'LIMIT', 0, limit)) do
    remove('expired', id)
  end
end

-- Writes the head down, and lets go of a service that is empty.
local function commit()
  local fields = { 'last', now }
  local function set(name, value, before)
    if value ~= before then
      fields[#fields + 1] = name
      fields[#fields + 1] = value
    end
  end
  set('epoch', epoch, head[1])
  set('revision', revision, tonumber(head[2]))
  set('nonce', nonce, head[3])
  set('base', base, tonumber(head[5]))
  if run ~= '' then
    set('run', run, head[6])
  end
  set('refused', refused, head[7])
  local skew = tonumber(head[8])
  if not skew or math.abs(now - wall - skew) > SLACK / 2 then
    set('skew', now - wall, nil)
  end
  set('graced', graced and '1' or '0', head[9])
  if moved_at > 0 then
    set('moved', moved_at, tonumber(head[10]))
  end
  redis.call('HSET', HEAD, unpack(fields))
  if redis.call('EXISTS', INSTANCES) == 0 then
    redis.call('PEXPIRE', HEAD, revision == 0 and KEPT_UNUSED or KEPT)
    redis.call('PEXPIRE', LOG, KEPT)
  elseif recorded > 0 then
    redis.call('PERSIST', HEAD)
    redis.call('PERSIST', LOG)
  end
end

-- Nobody waits for the answer any more: what a server that stood still finds in its sockets must not happen now. All that is done is to note
-- that nobody could renew meanwhile.
local function late()
  if sent == 0 or now <= sent + patience then
    return false
  end
  if epoch and keep_time() then
    commit()
  end
  return true
end

-- In which state the service is, for those who read: epoch, revision, nonce, milliseconds until the first deadline (-1: none).
local function state()
  local first = redis.call('ZRANGE', DEADLINES, 0, 0, 'WITHSCORES')
  local due = -1
  if first[2] and tonumber(first[2]) < math.huge then
    due = math.max(0, tonumber(first[2]) + base + math.min(0, now - last) - now)
  end
  return epoch or '', revision, nonce, due
end
