-- Decides a batch of checks on token buckets: each check takes its cost from all of its buckets,
-- or from none. Mirrors Bucket::at and take() of toolgate-limit, in integers, without rounding.
--
-- KEYS      the hashes that the batch touches, none twice. A field of a hash is one bucket.
-- ARGV[1]   one array of integers, in MessagePack:
--             how many limits, then for each: capacity, refill period in microseconds, and which
--             of ARGV is its field
--             for each hash: how many fields, then for each: its limit, as a place in this array
--             for each check, in order: cost, how many buckets, then for each: its number, counted
--             from 1 over all hashes
-- ARGV[2..] the names of fields
--
-- Replies {seconds, microseconds, decisions, values}: the time of the batch; one character for each
-- check ('1' allowed, '0' denied, '?' not decided, as a value is no bucket); and, one after the
-- other, the values of all buckets as they were before the batch, from which the caller finds their
-- states by itself. NONE stands for a bucket without a value, BROKEN for a value that is no bucket.
--
-- A value is what crates/redis/src/record.rs describes. Redis does nothing else while this runs, so
-- it is written for the interpreter too: arrays are filled in order, and nothing is computed that
-- the caller can.

local RECORD, RECORD_BYTES = '<I4I6I4I6I7', 27
local NONE = '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'
local BROKEN = '\255\255\255\255\255\255\255\255\255' ..
  '\255\255\255\255\255\255\255\255\255' ..
  '\255\255\255\255\255\255\255\255\255'
local MAX_CAPACITY, MIN_PERIOD, MAX_PERIOD = 2147483647, 1000, 31622400000000
local MAX_EXACT = 9007199254740992 -- 2^53

-- Redis keeps a hash of up to 128 short fields as a list, which it searches from the start. One
-- longer value makes it a table. Worth its memory where many fields are asked for at a time.
local MANY_FIELDS = 16
local TABLE_FIELD = ''
local TABLE_VALUE = 'This value is long, so that Redis keeps the hash as a table and finds fields fast.'

local floor, ceil = math.floor, math.ceil
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

local layout = cmsgpack.unpack(ARGV[1])

-- The buckets of the batch at `now`, counted from 1 over all hashes. One without tokens is one that
-- cannot be read. `paid` is what the batch takes from it, UNTOUCHED if it need not be written.
local UNTOUCHED = -1
local tokens, fractions, as_ofs, paid = {}, {}, {}, {}

-- The values before the batch.
local before = {}

-- Times before which the buckets are not full, going by their values; 0 if there is none.
local full_after = {}

-- Loads bucket `i` from `value`, if a bucket can be in that state.
local function load(i, value, capacity, period)
  if #value ~= RECORD_BYTES then
    return false
  end
  local old_capacity, old_period, held, fraction, as_of = unpack_from(RECORD, value)
  local same_quota = old_capacity == capacity and old_period == period
  local possible = (same_quota or old_capacity >= 1 and old_capacity <= MAX_CAPACITY
      and old_period >= MIN_PERIOD and old_period <= MAX_PERIOD)
    and (held < old_capacity and fraction < old_period or held == old_capacity and fraction == 0)
    and as_of < MAX_EXACT
  if not possible then
    return false
  end
  full_after[i] = as_of
  if as_of < now then
    local elapsed = now - as_of
    as_of = now
    if elapsed >= old_period then
      held, fraction = old_capacity, 0
    else
      local whole, rest = muldiv(elapsed, old_capacity, old_period)
      rest = rest + fraction
      if rest >= old_period then
        whole, rest = whole + 1, rest - old_period
      end
      held, fraction = held + whole, rest
      if held >= old_capacity then
        held, fraction = old_capacity, 0
      end
    end
  end
  if not same_quota then
    -- Kept even if nothing is paid: from now on the bucket fills at the new rate.
    paid[i], full_after[i] = 0, 0
    if held >= capacity then
      held, fraction = capacity, 0
    else
      fraction = muldiv(fraction, period, old_period)
    end
  end
  tokens[i], fractions[i], as_ofs[i] = held, fraction, as_of
  return true
end

-- Where in the layout the next thing is.
local first_hash = 3 * layout[1] + 2
local at = first_hash

local is_new = {}
do
  local bucket, fields = 0, {}
  for hash = 1, #KEYS do
    local count = layout[at]
    for i = 1, count do
      fields[i] = ARGV[layout[layout[at + i] + 2]]
    end
    local values = pcall('HMGET', KEYS[hash], unpack(fields, 1, count))
    is_new[hash] = false
    for i = 1, count do
      bucket = bucket + 1
      paid[bucket] = UNTOUCHED
      local limit, value = layout[at + i], values[i]
      local capacity, period = layout[limit], layout[limit + 1]
      if value then
        before[bucket] = load(bucket, value, capacity, period) and value or BROKEN
      elseif values.err then
        before[bucket] = BROKEN
      else
        before[bucket] = NONE
        tokens[bucket], fractions[bucket], as_ofs[bucket], full_after[bucket] = capacity, 0, now, 0
        is_new[hash] = true
      end
    end
    at = at + count + 1
  end
end

local decisions = {}
do
  local size, check = #layout, 0
  while at <= size do
    local cost, first, last = layout[at], at + 2, at + 1 + layout[at + 1]
    local decision = '1'
    for i = first, last do
      local held = tokens[layout[i]]
      if not held then
        decision = '?'
      elseif held < cost and decision == '1' then
        decision = '0'
      end
    end
    if decision == '1' then
      for i = first, last do
        local bucket = layout[i]
        local so_far = paid[bucket]
        tokens[bucket] = tokens[bucket] - cost
        paid[bucket] = so_far == UNTOUCHED and cost or so_far + cost
      end
    end
    check = check + 1
    decisions[check] = decision
    at = last + 1
  end
end

-- Sees to it that a hash lives until all of its buckets are full, as a bucket that is gone counts as
-- full; and a second longer, so that a clock which steps back by less refills nothing twice.
local function keep_until(key, time)
  local milliseconds = ceil((time - now) / 1000) + 1001
  if call('PTTL', key) < milliseconds then
    call('PEXPIRE', key, milliseconds)
  end
end

-- Times at which buckets are full are rounded up to marks. Whoever writes a bucket has kept its hash
-- until the mark, so there is something to do only where a check moves the bucket past one. In
-- microseconds; the rounding of a double is far below the second on top.
local function marks(period)
  local distance = period / 64
  return distance > 10000000 and distance or 10000000
end

do
  local bucket, writes = 0, {}
  at = first_hash
  for hash = 1, #KEYS do
    local count, last_write, until_mark = layout[at], 0, 0
    for i = 1, count do
      bucket = bucket + 1
      local cost = paid[bucket]
      if cost ~= UNTOUCHED then
        local limit = layout[at + i]
        local capacity, period = layout[limit], layout[limit + 1]
        local held, fraction, as_of = tokens[bucket], fractions[bucket], as_ofs[bucket]
        writes[last_write + 1] = ARGV[layout[limit + 2]]
        writes[last_write + 2] = pack(RECORD, capacity, period, held, fraction, as_of)
        last_write = last_write + 2

        local full = as_of + ((capacity - held) * period - fraction) / capacity
        local known, full_before = full_after[bucket], full - cost * period / capacity
        if known > 0 and full_before > now then
          known = full_before - 2
        end
        local distance = marks(period)
        local mark = ceil(full / distance)
        if mark > ceil(known / distance) and mark * distance > until_mark then
          until_mark = mark * distance
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
      if until_mark > 0 then
        keep_until(key, until_mark)
      end
    end
    at = at + count + 1
  end
end

return {clock[1], clock[2], table.concat(decisions), table.concat(before)}
