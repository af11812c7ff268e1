-- Decides a batch of checks on token buckets: each check takes its cost from all of its buckets,
-- or from none. Mirrors Bucket::at and take() of toolgate-limit, in integers, without rounding.
--
-- KEYS      the hashes that the batch touches, none twice. A field of a hash is one bucket.
-- ARGV[1]   the buckets, hash by hash: u16 number of fields, then for each field
--           u32 capacity, u48 refill period in microseconds
-- ARGV[2]   the checks, in order: u32 cost, u8 number of buckets, then for each bucket
--           u16 its place in ARGV[1], counted from 1 over all hashes
-- ARGV[3..] the names of the fields, hash by hash
--
-- Replies {seconds, microseconds, decisions, values of the first hash, of the second, ...}: the
-- time of the batch, one character for each check ('1' allowed, '0' denied, '?' not decided, as a
-- value is no bucket), and the values as they were before the batch, from which the caller finds
-- every bucket's state by itself. For a key that is no hash there are no values.
--
-- A value is what crates/redis/src/record.rs describes. All integers are little-endian.

local RECORD, RECORD_BYTES = '<I4I6I4I6I7', 27
local MAX_CAPACITY, MIN_PERIOD, MAX_PERIOD = 2147483647, 1000, 31622400000000
local MAX_EXACT = 9007199254740992 -- 2^53

local floor, ceil = math.floor, math.ceil
local pack, unpack_from = struct.pack, struct.unpack
local call = redis.call

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

-- The buckets of the batch at `now`, counted from 1 over all hashes. One without tokens is one
-- that cannot be read. What has changed is written back.
local capacities, periods, tokens, fractions, as_ofs, changed = {}, {}, {}, {}, {}, {}

-- The fields of `value`, if a bucket can be in that state.
local function read(value)
  if #value ~= RECORD_BYTES then
    return nil
  end
  local capacity, period, held, fraction, as_of = unpack_from(RECORD, value)
  local possible = capacity >= 1 and capacity <= MAX_CAPACITY
    and period >= MIN_PERIOD and period <= MAX_PERIOD
    and (held < capacity and fraction < period or held == capacity and fraction == 0)
    and as_of < MAX_EXACT
  if possible then
    return capacity, period, held, fraction, as_of
  end
end

local function load(i, capacity, period, value)
  capacities[i], periods[i] = capacity, period
  if not value then
    tokens[i], fractions[i], as_ofs[i] = capacity, 0, now
    return
  end
  local old_capacity, old_period, held, fraction, as_of = read(value)
  if not old_capacity then
    return
  end
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
  if old_capacity ~= capacity or old_period ~= period then
    -- Kept even if nothing is paid: from now on the bucket fills at the new rate.
    changed[i] = true
    if held >= capacity then
      held, fraction = capacity, 0
    else
      fraction = muldiv(fraction, period, old_period)
    end
  end
  tokens[i], fractions[i], as_ofs[i] = held, fraction, as_of
end

local reply = {clock[1], clock[2], ''}
local field_counts = {}
do
  local layout, at, bucket, field = ARGV[1], 1, 0, 3
  for hash = 1, #KEYS do
    local count
    count, at = unpack_from('<I2', layout, at)
    local values = redis.pcall('HMGET', KEYS[hash], unpack(ARGV, field, field + count - 1))
    local is_hash = not values.err
    for i = 1, count do
      local capacity, period
      capacity, period, at = unpack_from('<I4I6', layout, at)
      bucket = bucket + 1
      if is_hash then
        load(bucket, capacity, period, values[i])
      end
    end
    field = field + count
    field_counts[hash] = count
    reply[hash + 3] = is_hash and values or {}
  end
end

do
  local checks, at = ARGV[2], 1
  local decisions, asked = {}, {}
  while at <= #checks do
    local cost, count
    cost, count, at = unpack_from('<I4I1', checks, at)
    local decision = '1'
    for i = 1, count do
      local bucket
      bucket, at = unpack_from('<I2', checks, at)
      asked[i] = bucket
      local held = tokens[bucket]
      if not held then
        decision = '?'
      elseif held < cost and decision == '1' then
        decision = '0'
      end
    end
    if decision == '1' then
      for i = 1, count do
        local bucket = asked[i]
        tokens[bucket] = tokens[bucket] - cost
        changed[bucket] = true
      end
    end
    decisions[#decisions + 1] = decision
  end
  reply[3] = table.concat(decisions)
end

do
  local bucket, field = 0, 3
  for hash = 1, #KEYS do
    local writes, full_after = {}, 0
    for i = 1, field_counts[hash] do
      bucket = bucket + 1
      if changed[bucket] then
        local capacity, period = capacities[bucket], periods[bucket]
        local held, fraction, as_of = tokens[bucket], fractions[bucket], as_ofs[bucket]
        writes[#writes + 1] = ARGV[field + i - 1]
        writes[#writes + 1] = pack(RECORD, capacity, period, held, fraction, as_of)
        -- In microseconds; a double's rounding here is far below the time that is added below.
        local wait = ((capacity - held) * period - fraction) / capacity + as_of - now
        if wait > full_after then
          full_after = wait
        end
      end
    end
    if #writes > 0 then
      call('HSET', KEYS[hash], unpack(writes))
      -- A bucket that is gone counts as full, so the hash lives until all of its buckets are; and
      -- a second longer, so that a clock which steps back by less refills nothing twice. A quarter
      -- on top spares most checks the second call.
      local milliseconds = ceil(full_after / 1000) + 1001
      if call('PTTL', KEYS[hash]) < milliseconds then
        call('PEXPIRE', KEYS[hash], ceil(milliseconds * 1.25))
      end
    end
    field = field + field_counts[hash]
  end
end

return reply
