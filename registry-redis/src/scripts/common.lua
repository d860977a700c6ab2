-- What every script begins with. One service is four keys under one hash tag:
--
--   head       hash: epoch, revision, nonce (of the last change), and how time went: last, base, run, refused, skew, graced
--   instances  hash: id -> 'modified created incarnation token ttl sequence sum' LF entry as JSON
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

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local head = redis.call('HMGET', HEAD, 'epoch', 'revision', 'nonce', 'last', 'base', 'run', 'refused', 'skew', 'graced')
local epoch, revision, nonce = head[1], tonumber(head[2]) or 0, head[3] or ''
local last, base = tonumber(head[4]) or now, tonumber(head[5]) or 0
local graced = head[9] == '1'
local recorded = 0
-- Whether this call takes longer than others on its connection, and whether it has moved leases.
local slow, moved = false, false

-- Lateness and overdue leases up to this need no explanation.
local SLACK = 1000
-- What nobody uses any more is kept for an hour.
local KEPT = 3600 * 1000
local LONGEST_ID = 256

slow = sent > 0 and now - sent > SLACK

local function has(flag)
  return flags:find(flag, 1, true) ~= nil
end

-- Who owns a value that these scripts wrote; nil for one that somebody else wrote.
local function owner(value)
  local modified, created, incarnation, token, ttl, sequence, sum, at =
    value:match('^(%d+) (%d+) (%d+) (%x+) (%d+) (%d+) (%x+)\n()')
  if not at or redis.sha1hex(value:sub(at)):sub(1, 16) ~= sum then
    return nil
  end
  return {
    modified = tonumber(modified), created = tonumber(created), incarnation = tonumber(incarnation), token = token,
    ttl = tonumber(ttl), sequence = tonumber(sequence), sum = sum,
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
    -- Somebody else has written there. What was before is lost to those who resume, and they will see it.
    redis.call('DEL', LOG)
    redis.call('XADD', LOG, revision .. '-0', unpack(entry))
  end
  redis.call('SPUBLISH', LOG, table.concat({ revision, nonce, previous, change, id, value }, '\n'))
end

local function put(id, created, incarnation, token, ttl, sequence, entry)
  local sum = redis.sha1hex(entry):sub(1, 16)
  local value = string.format('%.0f %.0f %.0f %s %.0f %.0f %s\n', revision + 1, created, incarnation, token, ttl, sequence, sum) .. entry
  redis.call('HSET', INSTANCES, id, value)
  record('put', id, value)
end

local function remove(change, id)
  redis.call('ZREM', DEADLINES, id)
  redis.call('HDEL', INSTANCES, id)
  record(change, id, '')
end

-- Makes the log say what somebody else did behind it: `value` is what is there now, or false. What cannot be an entry is left alone, and is not
-- listed.
local function settle(id, value)
  local listed = redis.call('ZSCORE', DEADLINES, id)
  if value and #value <= budget and #id <= LONGEST_ID and id:match('^[%w:][%w%.%-_:]*$') then
    local readable, entry = pcall(cjson.decode, value)
    if readable and type(entry) == 'table' and type(entry.schema) == 'number' and type(entry.token) == 'string' then
      local token = entry.token:match('^%x+$') or '0'
      redis.call('ZADD', DEADLINES, 'NX', 'inf', id)
      put(id, revision + 1, tonumber(entry.incarnation) or 0, token, 0, 0, value)
      return
    end
  end
  if listed then
    redis.call('ZREM', DEADLINES, id)
    record('gone', id, '')
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
    -- Written down before, and taken out of the deadlines by hand. Who has a lease has a TTL to renew it.
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

-- Time in which nobody could renew does not count against leases: everything is moved by how long the last script is ago, or by how long it was
-- when the server was started. False when more must be known for that than the caller said.
--
-- Nobody could renew while the server was another one or was down (another run id), stood still or had its clock put forward (the call is late,
-- or the caller has noticed a step since the last script), refused writes (the caller saw it, or it has counted more refusals), or had
-- its clock put forward before the caller came (its own clock tells). The last two are looked at only when something is overdue that others should
-- have ended, or that the caller cannot have seen ending. Leases are moved once until the next heartbeat
-- that is in time, so that nothing can keep the dead alive.
local function keep_time()
  local gap = now - last
  if gap < 0 then
    base = base + gap
    return true
  end
  if graced or not head[1] then
    return true
  end
  local move
  if other_run() then
    -- And time to come back.
    move = SLACK + (started > last and math.min(started - last, gap) or gap)
  elseif has('g') or slow then
    move = gap
  elseif last < watched and forward > 0 then
    move = math.min(gap, forward)
  else
    local first = redis.call('ZRANGE', DEADLINES, 0, 0, 'WITHSCORES')
    local usual = last < watched and 0 or SLACK
    if first[2] and tonumber(first[2]) + base < now - usual then
      if not has('s') then
        return false
      end
      local skew = tonumber(head[8])
      if (head[7] and head[7] ~= refused) or (skew and math.abs(now - wall - skew) > 2 * SLACK) then
        move = gap
      end
    end
  end
  if move and move > 0 then
    base = base + move
    graced, moved = true, true
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
  redis.call('HSET', HEAD, unpack(fields))
  if redis.call('EXISTS', INSTANCES) == 0 then
    redis.call('PEXPIRE', HEAD, KEPT)
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
