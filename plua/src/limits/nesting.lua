-- Functions of Lua's that call back from C, and so use C stack that nothing else bounds: string.gsub, string.format, table.sort,
-- require and coroutines. `plua/tests/nesting.rs` walks the library for others.
--
-- A chain of them can only grow by calls, so it is enough to look at the stack at some of the calls. Half of it is left
-- for what is not counted here.
--
-- What is called back may be written in C itself, and then no limit strikes between one call and the next: a function of
-- Lua's stands between.
--
-- The chunk takes the functions written in Rust, what begins and ends a protected call (`level`, `leave`), Lua's own `debug`, what
-- the limits raise that stop a page, and what light_threads.lua says of the coroutines that pages run in, which are nothing to
-- them, and of the token that a coroutine yields which waits. It puts functions of its own in the place of Lua's.
local native, leave, level, debug, stops, threads = ...

local error, next, rawequal, rawget, select, setmetatable, tostring, type =
  error, next, rawequal, rawget, select, setmetatable, tostring, type
local unpack = unpack or table.unpack
local format, gsub, sort, require = string.format, string.gsub, table.sort, require
local co_create, co_resume, co_wrap, co_close, co_running, co_status, co_yield, co_isyieldable =
  coroutine.create,
  coroutine.resume,
  coroutine.wrap,
  coroutine.close,
  coroutine.running,
  coroutine.status,
  coroutine.yield,
  coroutine.isyieldable
local TOKEN, bases, pass_on = threads.token, threads.bases, threads.pass_on
local getinfo, getlocal, metatable_of = debug.getinfo, debug.getlocal, debug.getmetatable
local is_stack_half_used = native.is_stack_half_used

-- A coroutine counts for several calls.
local BETWEEN_LOOKS, COROUTINE = 16, 4
local calls = 0

-- Once half is used, the next call is looked at as well, and so on until the stack is short again.
local function is_too_deep(weight)
  calls = calls + weight
  if calls < BETWEEN_LOOKS then return false end
  if is_stack_half_used() then return true end
  calls = 0
  return false
end

local TOO_DEEP = "stack overflow (callbacks or coroutines are nested too deep)"

-- A function of Lua's has a parameter, mostly, and to ask for its name takes no memory. Lua 5.1 knows none.
local has_parameter = getlocal
if not jit and loadstring then
  function has_parameter() end
end

local function is_written_in_c(run)
  return type(run) == "function" and not has_parameter(run, 1) and getinfo(run, "S").what == "C"
end

local function through_lua(run)
  return function(...) return run(...) end
end

-- What string.gsub asks for each match, with steps of Lua between its questions.
local function asked(replacement)
  local kind = type(replacement)
  if kind == "table" and metatable_of(replacement) then
    return function(found) return replacement[found] end
  end
  return is_written_in_c(replacement) and through_lua(replacement) or replacement
end

function string.gsub(subject, pattern, replacement, ...)
  if type(replacement) ~= "string" then
    if is_too_deep(1) then error(TOO_DEEP, 2) end
    replacement = asked(replacement)
  end
  return gsub(subject, pattern, replacement, ...)
end

function table.sort(list, ...)
  if is_too_deep(1) then error(TOO_DEEP, 2) end
  local is_less = ...
  if is_written_in_c(is_less) then return sort(list, through_lua(is_less)) end
  return sort(list, ...)
end

local function is_object(kind) return kind == "table" or kind == "userdata" or kind == "cdata" end

-- Whether an argument behind the first four is an object.
local function has_more_objects(count, ...)
  for i = 6, count do
    if is_object(type((select(i, ...)))) then return true end
  end
  return false
end

-- The arguments of string.format, with the text of each object whose __tostring is written in C.
local function with_texts(count, ...)
  local values = { ... }
  for i = 2, count do
    local value = values[i]
    local metatable = is_object(type(value)) and metatable_of(value)
    if metatable and is_written_in_c(rawget(metatable, "__tostring")) then values[i] = tostring(value) end
  end
  return unpack(values, 1, count)
end

function string.format(...)
  local _, a, b, c, d = ...
  local count = select("#", ...)
  if
    is_object(type(a))
    or is_object(type(b))
    or is_object(type(c))
    or is_object(type(d))
    or count > 5 and has_more_objects(count, ...)
  then
    if is_too_deep(1) then error(TOO_DEEP, 2) end
    return format(with_texts(count, ...))
  end
  return format(...)
end

if require then _G.require = function(...)
  if is_too_deep(1) then error(TOO_DEEP, 2) end
  return require(...)
end end

-- Coroutines that run inside each other, at most: an error leaves them one by one.
local MOST_NESTED = 1000
local nested = 0

local function is_nested_too_deep()
  if nested < MOST_NESTED then return false end
  local thread, is_main = co_running()
  if thread and not is_main and not bases[thread] then return true end
  -- A limit has ended those that are counted.
  nested = 0
  return false
end

-- Coroutines that a limit has stopped: PUC Lua runs no hook in them any more, so that nothing would stop what their
-- to-be-closed variables run.
local stopped = setmetatable({}, { __mode = "k" })

local function resumed(before, thread, ok, ...)
  if ok and rawequal((...), TOKEN) then
    -- What it waits for may run coroutines as well.
    nested = before
    pass_on()
    nested = before + 1
    return resumed(before, thread, co_resume(thread))
  end
  nested = before
  if not ok and stops[(...)] then stopped[thread] = true end
  return ok, ...
end

-- PUC Lua counts a thousand steps of each coroutine before its hook looks at the clock, and many of few steps come to none.
local BETWEEN_TIMES, seconds_left = 16, not jit and native.seconds_left
local resumes = 0
local function look_at_time()
  resumes = resumes + 1
  if resumes < BETWEEN_TIMES then return end
  -- The hook strikes here, and at each of the next calls.
  while seconds_left() == 0 do
  end
  resumes = 0
end

local function resume(thread, ...)
  -- Raises what is wrong with it.
  if type(thread) ~= "thread" then return co_resume(thread, ...) end
  if seconds_left then look_at_time() end
  local before = nested
  nested = before + 1
  return resumed(before, thread, co_resume(thread, ...))
end

function coroutine.resume(...)
  if is_too_deep(COROUTINE) or is_nested_too_deep() then return false, TOO_DEEP end
  return leave(level(), resume(...))
end

-- Lua's own puts a place before the message at each level, without a step of Lua in which a limit could strike.
local function results(thread, ok, ...)
  if not ok then
    if co_close and not stopped[thread] then co_close(thread) end
    error((...), 0)
  end
  return ...
end

function coroutine.wrap(run)
  if type(run) ~= "function" then return co_wrap(run) end
  local thread = co_create(run)
  return function(...)
    if is_too_deep(COROUTINE) or is_nested_too_deep() then error(TOO_DEEP, 2) end
    return results(thread, resume(thread, ...))
  end
end

-- The state's own, which a page takes itself to be in.
local MAIN, is_main = co_running()

function coroutine.running()
  local thread, is_own = co_running()
  if thread and bases[thread] == "page" then return MAIN, is_main end
  return thread, is_own
end

function coroutine.yield(...)
  local thread = co_running()
  if not thread or bases[thread] then error("attempt to yield from outside a coroutine", 2) end
  return co_yield(...)
end

function coroutine.status(...)
  local thread = ...
  if thread and thread == MAIN and bases[co_running()] == "page" then return "running" end
  return co_status(...)
end

if co_isyieldable then
  function coroutine.isyieldable(...)
    local thread = co_running()
    if select("#", ...) == 0 and thread and bases[thread] then return false end
    return co_isyieldable(...)
  end
end

if co_close then
  function coroutine.close(thread)
    if stopped[thread] then return false, "the coroutine was stopped by a limit" end
    return co_close(thread)
  end
end

-- Lua 5.1 itself walks a pattern by recursion that nothing bounds.
local LONGEST_PATTERN = 10000
if _VERSION == "Lua 5.1" and not jit then
  for _, name in next, { "find", "match", "gmatch", "gsub" } do
    local run = string[name]
    string[name] = function(subject, pattern, initial, plain, ...)
      if type(pattern) == "string" and #pattern > LONGEST_PATTERN and not (name == "find" and plain) then
        error("pattern too complex", 2)
      end
      return run(subject, pattern, initial, plain, ...)
    end
  end
end
