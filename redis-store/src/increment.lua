-- Adds to the number under a key, which keeps its time: the sum, 0 where a value of another kind is, or nil where nothing is and
-- nothing is to begin with. Numbers are a letter and 8 bytes: i for whole ones, which go round as machines count, in two halves
-- because this Lua knows doubles alone, and f for others.
--
-- ARGV: what to add, what to begin with or nothing, and its time in milliseconds or nothing.
local key, by, initial, lifetime = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local HALF = 4294967296

local function double(number)
  if string.sub(number, 1, 1) == "f" then return (struct.unpack("<d", number, 2)) end
  local low, high = struct.unpack("<I4I4", number, 2)
  if high >= HALF / 2 then high = high - HALF end
  return high * HALF + low
end

local function plus(one, other)
  if string.sub(one, 1, 1) == "i" and string.sub(other, 1, 1) == "i" then
    local low, high = struct.unpack("<I4I4", one, 2)
    local other_low, other_high = struct.unpack("<I4I4", other, 2)
    low, high = low + other_low, high + other_high
    if low >= HALF then
      low, high = low - HALF, high + 1
    end
    return "i" .. struct.pack("<I4I4", low, high % HALF)
  end
  return "f" .. struct.pack("<d", double(one) + double(other))
end

local before = redis.call("GET", key)
if not before then
  if initial == "" then return false end
  local sum = plus(initial, by)
  if lifetime == "" then
    redis.call("SET", key, sum)
  else
    redis.call("SET", key, sum, "PX", lifetime)
  end
  return sum
end
if #before ~= 9 or not string.find(before, "^[if]") then return 0 end
local sum = plus(before, by)
-- All numbers are as long, and this leaves the key its time.
redis.call("SETRANGE", key, 0, sum)
return sum
