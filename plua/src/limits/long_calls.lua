-- Functions of Lua's library that can take for ever although they hold little: numbers tell them how far to go, a list is
-- made to be sorted slowly, or its length is not true. Written in C, they take no step of Lua in which a limit could
-- strike.
--
-- Such calls are made in steps of Lua, with the same results. Most calls go straight to Lua's own. With LuaJIT lists of
-- numbers are sorted in Rust, which is faster.
--
-- The chunk takes the functions written in Rust, and puts functions of its own in the place of Lua's.
local native = ...

local error, loadstring, pcall, select, tonumber, type = error, loadstring, pcall, select, tonumber, type
local min = math.min
local concat, insert, move, remove, sort = table.concat, table.insert, table.move, table.remove, table.sort
local gsub, rep = string.gsub, string.rep
local metatable_of = debug.getmetatable
local has_limit = native.has_limit

-- Up to here a call of Lua's own takes no more than some milliseconds.
local MANY = 100000
local LONG_SORT = 2000
-- Below it there is nothing to gain.
local SHORT_SORT = 16
-- Bytes that a quicksort may compare, which compares all with all at its worst: some milliseconds.
local MOST_COMPARED = 1e7
-- The hook of 5.4 comes after a thousand instructions, each of which may be such a piece.
local PIECE = 1000

-- LuaJIT and 5.1 do without metamethods here, and make any number a C integer somehow.
local get, set = rawget, rawset
local LEAST, MOST = -2 ^ 31, 2 ^ 31 - 1
if not loadstring then
  function get(list, i) return list[i] end
  function set(list, i, value) list[i] = value end
  LEAST, MOST = 1, 2 ^ 62
end

-- The number a position is, and the list's length, where that many elements would be moved.
local function far(list, position)
  if type(list) ~= "table" then return nil end
  local at, length = tonumber(position), #list
  if at and type(length) == "number" and not (length + 0.0 - at < MANY) then
    if at >= LEAST and at % 1 == 0 then return at, length end
  end
end

local function insert_at(list, position, value, ...)
  local at, length = far(list, position)
  if not at or select("#", ...) > 0 then
    at = tonumber(position)
    -- Lua's own takes some of these for the least integer, and NaN too.
    if at and loadstring and not (at >= LEAST and at <= MOST) then
      error("bad argument #2 to 'insert' (position out of bounds)", 2)
    end
    return insert(list, position, value, ...)
  end
  for i = length, at, -1 do
    set(list, i + 1, get(list, i))
  end
  set(list, at, value)
end

function table.insert(list, ...)
  if select("#", ...) < 2 then return insert(list, ...) end
  return insert_at(list, ...)
end

-- LuaJIT's own is written in Lua.
if not jit then
  function table.remove(list, ...)
    local position = ...
    local at, length
    if position ~= nil then
      at, length = far(list, position)
    end
    if not at or at < 1 then return remove(list, ...) end
    local removed = get(list, at)
    for i = at, length - 1 do
      set(list, i, get(list, i + 1))
    end
    set(list, length, nil)
    return removed
  end

  function string.rep(text, count, ...)
    local separator = ...
    if text == "" and (separator == nil or separator == "") then
      local number = tonumber(count)
      if number and number > MANY then return "" end
    end
    return rep(text, count, ...)
  end
end

if loadstring and not jit then
  local next = next
  function table.foreach(list, run)
    for key, value in next, list do
      local result = run(key, value)
      if result ~= nil then return result end
    end
  end
  function table.foreachi(list, run)
    for i = 1, #list do
      local result = run(i, get(list, i))
      if result ~= nil then return result end
    end
  end
end

if not loadstring then
  -- Only a metatable can make up elements that need no memory.
  function table.concat(list, ...)
    if type(list) ~= "table" or not metatable_of(list) then return concat(list, ...) end
    local separator, first, last = ...
    first = first == nil and 1 or tonumber(first)
    if last == nil then
      last = #list
    else
      last = tonumber(last)
    end
    if type(first) ~= "number" or type(last) ~= "number" or last + 0.0 - first < MANY then return concat(list, ...) end
    local pieces = {}
    while first <= last do
      local stop = last - first < PIECE and last or first + PIECE - 1
      pieces[#pieces + 1] = concat(list, separator, first, stop)
      if stop == last then break end
      first = stop + 1
    end
    return concat(pieces, separator)
  end

  function table.move(from, ...)
    local first, last, target, to = ...
    local f, e, t = tonumber(first), tonumber(last), tonumber(target)
    -- Beyond these Lua's own raises an error.
    if not (f and e and t and e + 0.0 - f >= MANY and f > -MOST and e < MOST and t > -MOST and t < MOST) then
      return move(from, ...)
    end
    if to == nil then to = from end
    if t > e or t <= f or to ~= from then
      for at = f, e, PIECE do
        move(from, at, min(at + PIECE - 1, e), t + (at - f), to)
      end
    else
      local at = e
      while at >= f do
        local start = at - f < PIECE and f or at - PIECE + 1
        move(from, start, at, t + (start - f), to)
        at = start - 1
      end
    end
    return to
  end
end

-- What all elements are: "number" or "string"; "object" where a comparison can call something; nil otherwise.
local function kind_of(list, length)
  if not loadstring and metatable_of(list) then return "object" end
  local kind, all_alike = type(get(list, 1)), true
  for i = 1, length do
    local this = type(get(list, i))
    if this == "table" or this == "userdata" or this == "cdata" then return "object" end
    if this == "nil" then return nil end
    all_alike = all_alike and this == kind
  end
  return all_alike and (kind == "number" or kind == "string") and kind or nil
end

-- Never quadratic, as quicksort is for lists that are made for it.
local function merge_sort(list, length)
  local from, to = {}, {}
  for i = 1, length do
    from[i] = get(list, i)
  end
  local width = 1
  while width < length do
    local left = 1
    while left <= length do
      local middle, stop = min(left + width, length + 1), min(left + 2 * width, length + 1)
      local i, j = left, middle
      for k = left, stop - 1 do
        local one, other = from[i], from[j]
        if i < middle and (j >= stop or not (other < one)) then
          to[k] = one
          i = i + 1
        else
          to[k] = other
          j = j + 1
        end
      end
      left = stop
    end
    from, to = to, from
    width = 2 * width
  end
  for i = 1, length do
    set(list, i, from[i])
  end
end

-- Sorts a list where that gives what Lua's own gives: all are numbers, none is NaN, which has no order, and none is -0,
-- which has the same place as 0. Whether it did.
local sort_numbers
if jit then
  local ffi = require("ffi")
  local numbers = ffi.new("double[?]", LONG_SORT)
  local sort_doubles = ffi.cast("void (*)(double *, size_t)", native.sort_doubles)
  function sort_numbers(list, length)
    for i = 1, length do
      local number = get(list, i)
      if type(number) ~= "number" or number ~= number or number == 0 and 1 / number < 0 then return false end
      numbers[i - 1] = number
    end
    sort_doubles(numbers, length)
    for i = 1, length do
      set(list, i, numbers[i - 1])
    end
    return true
  end
end

local function is_less(one, other) return one < other end

-- By steps of Lua, for elements of which a comparison can take long by itself, or of kinds that are not compared.
local function sort_in_steps(list)
  local ok, problem = pcall(sort, list, is_less)
  if not ok then error(type(problem) == "string" and gsub(problem, "^plua:%d+: ", "") or problem, 2) end
end

-- Whether these are texts so long that the worst order of them takes Lua's own sort long.
local function are_long_texts(list, length)
  if type(get(list, 1)) ~= "string" then return false end
  local bytes = 0
  for i = 1, length do
    local text = get(list, i)
    if type(text) == "string" then bytes = bytes + #text end
  end
  return bytes * length > MOST_COMPARED
end

function table.sort(list, ...)
  if type(list) == "table" and (...) == nil then
    local length = #list
    if type(length) ~= "number" or length < SHORT_SORT then return sort(list) end
    if jit and length <= LONG_SORT and sort_numbers(list, length) then return end
    local is_plain = loadstring or not metatable_of(list)
    if (length > LONG_SORT or is_plain and are_long_texts(list, length)) and has_limit() then
      local kind = kind_of(list, length)
      if kind == "number" or kind == "string" then return merge_sort(list, length) end
      return sort_in_steps(list)
    end
  end
  return sort(list, ...)
end
