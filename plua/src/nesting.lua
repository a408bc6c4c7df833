-- Functions of Lua's that call back from C, and so use C stack that nothing else bounds: string.gsub, table.sort and
-- coroutines.
--
-- A chain of them can only grow by calls, so it is enough to look at the stack at some of the calls. Half of it is left
-- for what is not counted here: a coroutine can use about a megabyte of it by other ways of calling back.
local native, leave, level = ...

local error, next, type = error, next, type
local gsub, sort = string.gsub, table.sort
local co_create, co_resume, co_wrap, co_close =
  coroutine.create, coroutine.resume, coroutine.wrap, coroutine.close
local is_stack_half_used = native.is_stack_half_used

-- A coroutine counts for several calls.
local BETWEEN_LOOKS, COROUTINE = 16, 4
local calls = 0

local function is_too_deep(weight)
  calls = calls + weight
  if calls < BETWEEN_LOOKS then return false end
  calls = 0
  return is_stack_half_used()
end

local TOO_DEEP = "stack overflow (callbacks or coroutines are nested too deep)"

function string.gsub(subject, pattern, replacement, ...)
  if type(replacement) ~= "string" and is_too_deep(1) then error(TOO_DEEP, 2) end
  return gsub(subject, pattern, replacement, ...)
end

function table.sort(...)
  if is_too_deep(1) then error(TOO_DEEP, 2) end
  return sort(...)
end

function coroutine.resume(...)
  if is_too_deep(COROUTINE) then return false, TOO_DEEP end
  return leave(level(), co_resume(...))
end

-- Lua's own puts a place before the message at each level, without a step of Lua in which a limit could strike.
local function results(thread, ok, ...)
  if not ok then
    if co_close then co_close(thread) end
    error((...), 0)
  end
  return ...
end

function coroutine.wrap(run)
  if type(run) ~= "function" then return co_wrap(run) end
  local thread = co_create(run)
  return function(...)
    if is_too_deep(COROUTINE) then error(TOO_DEEP, 2) end
    return results(thread, co_resume(thread, ...))
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
