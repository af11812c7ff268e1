-- Decides a batch of checks on token buckets: each check takes its cost from all of its buckets,
-- or from none. Mirrors Bucket::at and take() of toolgate-limit, in integers, without rounding.
--
-- KEYS      the hashes that the batch touches, none twice. A field of a hash is one bucket.
-- ARGV[1]   four arrays, in MessagePack: of each quota in the batch its capacity, its refill period
--           and the distance of its marks (see there), both in microseconds; and the costs
-- ARGV[2]   one byte each:
--             for each hash: how many fields, then for each: its quota, and which of ARGV it is
--             for each check, in order: its cost, how many buckets, then for each: its number,
--             counted over all hashes
--           Quotas, costs and buckets are counted from 1.
-- ARGV[3..] the names of fields
--
-- Replies {seconds, microseconds, decisions, values}: the time of the batch; one character for each
-- check ('1' allowed, '0' denied, '?' not decided, as a value is no bucket); and, one after the
-- other, the values of all buckets as they were before the batch, from which the caller finds their
-- states by itself, each cut to what this release knows of it. NONE stands for a bucket without a
-- value, BROKEN for a value that is no bucket.
--
-- A value is what crates/redis/src/record.rs describes. Redis does nothing else while this runs, so
-- it is written for the interpreter too: arrays are filled in order, calls are few, and nothing is
-- computed that the caller can.

local RECORD, RECORD_BYTES, VERSION = '<I1I4I6I4I6I7', 28, 1
local NONE = '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'
local BROKEN = '\255\255\255\255\255\255\255\255\255\255\255\255\255\255' ..
  '\255\255\255\255\255\255\255\255\255\255\255\255\255\255'
-- Builds from before the first release wrote version 1 without its number.
local UNNUMBERED_BYTES, NUMBER = 27, '\1'
local MAX_CAPACITY, MIN_PERIOD, MAX_PERIOD = 2147483647, 1000, 31622400000000
local MAX_EXACT = 9007199254740992 -- 2^53

-- Redis keeps a hash of up to 128 short fields as a list, which it searches from the start. One
-- longer value makes it a table. Worth its memory where many fields are asked for at a time.
local MANY_FIELDS = 16
local TABLE_FIELD = ''
local TABLE_VALUE = 'This value is long, so that Redis keeps the hash as a table and finds fields fast.'

local floor, ceil, byte, find = math.floor, math.ceil, string.byte, string.find
local pack, unpack_from = struct.pack, struct.unpack
local call, pcall = redis.call, redis.pcall
local KEYS, ARGV, unpack = KEYS, ARGV, unpack

-- floor(a * b / d) and the rest, exactly, for a, b and d below 2^45 and a quotient below 2^53. A
-- Lua number is a double and holds every integer up to 2^53 (as a time, the year 2255). A product
-- beyond is divided as by hand, from the top, in digits of 7 bits, so every step stays below 2^53.
local function muldiv(a, b, d)
  local product = a * b
  if product < MAX_EXACT then
    local rest = product % d
    return (product - rest) / d, rest
  end
  local quotient, rest = 0, 0
  local scale = 4398046511104 -- 2^42
  while scale >= 1 do
    local digit = floor(a / scale)
    a = a - digit * scale
    local part = rest * 128 + digit * b
    rest = part % d
    quotient = quotient * 128 + (part - rest) / d
    scale = scale / 128
  end
  return quotient, rest
end

local clock = call('TIME')
local now = clock[1] * 1000000 + clock[2]

local capacities, periods, distances, costs = unpack(cmsgpack.unpack(ARGV[1]))
local layout = {byte(ARGV[2], 1, -1)}

-- The buckets of the batch at `now`; one that cannot be read has LOST tokens. `loaded` is what each
-- held before the batch, `false` if it must be written in any case. A state from after `now`, by a
-- clock that has since stepped back, keeps its time in `later`, unless that is further ahead than a
-- refill period: then it is a state of `now`.
local LOST = -1000000000000000
local tokens, loaded, fractions, later = {}, {}, {}, {}

-- The values before the batch.
local before = {}

-- A hash lives until all of its buckets are full, as a bucket that is gone counts as full. So that
-- its expiry need not be looked at each time, it moves in steps: whoever writes a value sees to it
-- that the hash lives until the value's mark, the first multiple of a distance after the bucket is
-- full. A value that is found so says how long its hash lives at least, as both sides compute the
-- mark from the same numbers by the same formula:
--   full = as_of + ((capacity - held) * period - fraction) / capacity
--   mark = full - full % distance + distance
-- The formula is part of version 1; what another release does with its own is not known.
-- For each hash, the latest mark of the values that were found:
local lives_until = {}

-- Loads bucket `i`, of the quota with number `quota`, from `value`. Returns the value and its mark,
-- or what stands for them.
local function load(i, quota, value)
  local size = #value
  if size ~= RECORD_BYTES then
    if size == UNNUMBERED_BYTES then
      value, size = NUMBER .. value, RECORD_BYTES
    elseif size > RECORD_BYTES then
      value = value:sub(1, RECORD_BYTES)
    else
      tokens[i], fractions[i] = LOST, 0
      return BROKEN, 0
    end
  end
  local version, capacity, period, held, fraction, as_of = unpack_from(RECORD, value)
  local same_quota = capacity == capacities[quota] and period == periods[quota]
  local possible = (version == VERSION and size == RECORD_BYTES or version > VERSION and version < 255)
    and (same_quota or capacity >= 1 and capacity <= MAX_CAPACITY
      and period >= MIN_PERIOD and period <= MAX_PERIOD)
    and (held < capacity and fraction < period or held == capacity and fraction == 0)
    and as_of < MAX_EXACT
  if not possible then
    tokens[i], fractions[i] = LOST, 0
    return BROKEN, 0
  end
  local mark = 0
  if same_quota and version == VERSION then
    local full = as_of + ((capacity - held) * period - fraction) / capacity
    local distance = distances[quota]
    mark = full - full % distance + distance
  end
  if as_of < now then
    local elapsed = now - as_of
    if elapsed >= period then
      held, fraction = capacity, 0
    else
      local gained, whole, rest = elapsed * capacity
      if gained < MAX_EXACT then
        rest = gained % period
        whole = (gained - rest) / period
      else
        whole, rest = muldiv(elapsed, capacity, period)
      end
      rest = rest + fraction
      if rest >= period then
        whole, rest = whole + 1, rest - period
      end
      held, fraction = held + whole, rest
      if held >= capacity then
        held, fraction = capacity, 0
      end
    end
  end
  loaded[i] = held
  if as_of > now then
    local ahead = as_of - now
    if ahead > period or ahead > periods[quota] then
      -- Written even if nothing is paid: from now on the bucket fills.
      loaded[i] = false
    else
      later[i] = as_of
    end
  end
  if not same_quota then
    -- Written even if nothing is paid: from now on the bucket fills at the new rate.
    loaded[i] = false
    if held >= capacities[quota] then
      held, fraction = capacities[quota], 0
    else
      fraction = muldiv(fraction, periods[quota], period)
    end
  end
  tokens[i], fractions[i] = held, fraction
  return value, mark
end

local at, is_new = 1, {}
do
  local bucket, fields = 0, {}
  for hash = 1, #KEYS do
    local count = layout[at]
    for i = 1, count do
      fields[i] = ARGV[layout[at + 2 * i]]
    end
    local values = pcall('HMGET', KEYS[hash], unpack(fields, 1, count))
    local latest = 0
    for i = 1, count do
      bucket = bucket + 1
      local quota, value = layout[at + 2 * i - 1], values[i]
      if value then
        local mark
        before[bucket], mark = load(bucket, quota, value)
        if mark > latest then
          latest = mark
        end
      elseif values.err then
        -- Nothing is written yet, so what is not the fault of this value fails the batch.
        if not find(values.err, 'WRONGTYPE', 1, true) then
          return values
        end
        before[bucket], tokens[bucket], fractions[bucket] = BROKEN, LOST, 0
      else
        local capacity = capacities[quota]
        before[bucket], tokens[bucket], fractions[bucket] = NONE, capacity, 0
        loaded[bucket] = capacity
        is_new[hash] = true
      end
    end
    lives_until[hash] = latest
    at = at + 2 * count + 1
  end
end

local decisions = {}
do
  local size, check = #layout, 0
  while at <= size do
    local cost, first, last = costs[layout[at]], at + 2, at + 1 + layout[at + 1]
    local decision = '1'
    for i = first, last do
      local bucket = layout[i]
      local left = tokens[bucket] - cost
      tokens[bucket] = left
      if left < 0 and decision ~= '?' then
        decision = left > LOST / 2 and '0' or '?'
      end
    end
    if decision ~= '1' then
      -- None pays.
      for i = first, last do
        local bucket = layout[i]
        tokens[bucket] = tokens[bucket] + cost
      end
    end
    check = check + 1
    decisions[check] = decision
    at = last + 1
  end
end

do
  local bucket, writes = 0, {}
  at = 1
  for hash = 1, #KEYS do
    local count, last_write, latest = layout[at], 0, 0
    for i = at + 1, at + 2 * count, 2 do
      bucket = bucket + 1
      local held = tokens[bucket]
      if held ~= loaded[bucket] and held >= 0 then
        local quota, fraction, as_of = layout[i], fractions[bucket], later[bucket] or now
        local capacity, period, distance = capacities[quota], periods[quota], distances[quota]
        writes[last_write + 1] = ARGV[layout[i + 1]]
        last_write = last_write + 2
        writes[last_write] = pack(RECORD, VERSION, capacity, period, held, fraction, as_of)
        local full = as_of + ((capacity - held) * period - fraction) / capacity
        local mark = full - full % distance + distance
        if mark > latest then
          latest = mark
        end
      end
    end
    if last_write > 0 then
      local key = KEYS[hash]
      if count > MANY_FIELDS and is_new[hash] then
        writes[last_write + 1], writes[last_write + 2] = TABLE_FIELD, TABLE_VALUE
        last_write = last_write + 2
      end
      call('HSET', key, unpack(writes, 1, last_write))
      if latest > lives_until[hash] then
        -- A second longer, so that a clock which steps back by less refills nothing twice.
        local milliseconds = ceil((latest - now) / 1000) + 1001
        if call('PTTL', key) < milliseconds then
          call('PEXPIRE', key, milliseconds)
        end
      end
    end
    at = at + 2 * count + 1
  end
end

return {clock[1], clock[2], table.concat(decisions), table.concat(before)}
