-- Work that is done without its request: plua.after and plua.every.
--
-- The chunk takes the functions written in Rust, the marks of buffer.lua and the light threads. It returns the page functions, and what
-- the function of a timer is called with.
local native, marks, light_threads = ...

local error, select, type = error, select, type
local unpack = unpack or table.unpack
local new_timer, cancel_timer = native.new_timer, native.cancel_timer

-- By number: what runs, with which arguments, in which globals, and whether it is to run again.
local timers = {}
-- Where requests have globals of their own, what keeps those of the running one.
local keep_globals = function() end

-- Who asks for more than a year, or for work without a pause, has made a mistake.
local LONGEST, SHORTEST_PERIOD = 31536000, 0.1

local methods = {}
local new_handle, number_of = light_threads.class("plua.timer", methods, "plua.after or plua.every has given")

-- Whether it was still to run, or to run again.
function methods.cancel(object)
  local number = number_of(object, "cancel")[1]
  local was_there = timers[number] ~= nil
  timers[number] = nil
  if was_there then cancel_timer(number) end
  return was_there
end

local function begin(name, seconds, shortest, is_repeated, run, ...)
  if type(seconds) ~= "number" then
    error("bad argument #1 to '" .. name .. "' (number expected, got " .. type(seconds) .. ")", 3)
  end
  if not (seconds >= shortest and seconds <= LONGEST) then
    error("bad argument #1 to '" .. name .. "' (seconds from " .. shortest .. " to " .. LONGEST .. " expected)", 3)
  end
  if type(run) ~= "function" then
    error("bad argument #2 to '" .. name .. "' (function expected, got " .. type(run) .. ")", 3)
  end
  local ok, number = new_timer(name, seconds, is_repeated)
  if not ok then error(number, 3) end
  marks.needs_reset = 1
  timers[number] = {
    run = run,
    arguments = { count = select("#", ...), ... },
    is_repeated = is_repeated,
    globals = keep_globals(),
  }
  return new_handle({ number })
end

local function call(_, timer) timer.run(unpack(timer.arguments, 1, timer.arguments.count)) end

return {
  functions = {
    -- No tail calls: what is wrong is the caller's.
    after = function(seconds, run, ...)
      local timer = begin("plua.after", seconds, 0, false, run, ...)
      return timer
    end,
    every = function(seconds, run, ...)
      local timer = begin("plua.every", seconds, SHORTEST_PERIOD, true, run, ...)
      return timer
    end,
  },
  keep_globals_with = function(keep) keep_globals = keep end,
  -- Takes the timer of a number whose time has come; nothing where it was cancelled.
  take = function(number)
    local timer = timers[number]
    if timer and not timer.is_repeated then timers[number] = nil end
    return timer
  end,
  call = call,
}
