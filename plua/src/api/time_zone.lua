-- os.date and os.time for hosts with a time zone of their own (pLuaTimeZone).
--
-- The chunk takes the functions written in Rust, and puts functions of its own in the place of Lua's.
local native = ...

local error, pcall, tonumber, type = error, pcall, tonumber, type
local byte, gsub, match = string.byte, string.gsub, string.match
local date, now = os.date, os.time
local shown_time, written_time, time_of = native.shown_time, native.written_time, native.time_of
-- Lua 5.4 takes no fractions, refuses conversions that C does not know, and says what it could not do.
local is_strict = not setfenv

local UTC = byte("!")

local function bad(position, name, what) error("bad argument #" .. position .. " to '" .. name .. "' (" .. what .. ")", 3) end

local function expected(position, name, what, value)
  error("bad argument #" .. position .. " to '" .. name .. "' (" .. what .. " expected, got " .. type(value) .. ")", 3)
end

-- What a date and time is as a table, in `fields`.
local function fill(fields, shown)
  fields.year, fields.month, fields.day = shown[1], shown[2], shown[3]
  fields.hour, fields.min, fields.sec = shown[4], shown[5], shown[6]
  fields.wday, fields.yday, fields.isdst = shown[7], shown[8], shown[9] == 1
  return fields
end

local function unrepresentable(what)
  if is_strict then error(what .. " result cannot be represented in this installation", 3) end
  return nil
end

function os.date(format, time)
  if format == nil then
    format = "%c"
  elseif type(format) == "number" then
    format = "" .. format
  elseif type(format) ~= "string" then
    expected(1, "date", "string", format)
  end
  local seconds = time == nil and now() or tonumber(time)
  if not seconds then expected(2, "date", "number", time) end
  if is_strict and seconds % 1 ~= 0 then bad(2, "date", "number has no integer representation") end
  if byte(format) == UTC then
    local ok, shown = pcall(date, format, seconds)
    if not ok then error((gsub(gsub(shown, "^plua:%d+: ", ""), "'%?'", "'date'", 1)), 2) end
    return shown
  end
  if format == "*t" then
    local shown = shown_time(seconds)
    if not shown then return unrepresentable("date") end
    return fill({}, shown)
  end
  if is_strict then
    local ok, problem = pcall(date, "!" .. format, 0)
    if not ok then
      -- It names the conversion, behind what stands there for UTC.
      problem = match(problem, "%(.*%)$") or problem
      error("bad argument #1 to 'date' " .. problem, 2)
    end
  end
  return written_time(format, seconds) or unrepresentable("date")
end

-- A part of a date, as Lua's own takes it.
local function part(fields, name, default)
  local value = fields[name]
  local number = tonumber(value)
  if number and is_strict and number % 1 ~= 0 then number = nil end
  if number then return number - number % (number < 0 and -1 or 1) end
  if is_strict and value ~= nil then error("field '" .. name .. "' is not an integer", 3) end
  if default == nil then error("field '" .. name .. "' missing in date table", 3) end
  return default
end

function os.time(fields)
  if fields == nil then return now() end
  if type(fields) ~= "table" then expected(1, "time", "table", fields) end
  -- In the order in which Lua's own looks at them.
  local year, month, day
  if is_strict then
    year, month, day = part(fields, "year"), part(fields, "month"), part(fields, "day")
  end
  local second, minute, hour = part(fields, "sec", 0), part(fields, "min", 0), part(fields, "hour", 12)
  if not is_strict then
    day, month, year = part(fields, "day"), part(fields, "month"), part(fields, "year")
  end
  local is_summer = fields.isdst
  if is_summer ~= nil then is_summer = not not is_summer end
  local seconds = time_of(year, month, day, hour * 3600 + minute * 60 + second, is_summer)
  if not seconds then return unrepresentable("time") end
  if is_strict then fill(fields, shown_time(seconds)) end
  return seconds
end
