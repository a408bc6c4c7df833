-- getfenv and setfenv (Lua 5.1, LuaJIT) that know of page code only: functions written in C and the engine's own have
-- environments that are no page's business, for some hold metatables.
--
-- The chunk takes whether a function is the engine's, by what getinfo says of it. Where requests have globals of their
-- own, `running` gives those of the running one, and `chunks` gives or sets those of chunks that it compiles. It puts functions of
-- its own in the place of Lua's.
local is_engine, running, chunks = ...

local error, tonumber, type = error, tonumber, type
local getfenv, setfenv, getinfo = getfenv, setfenv, debug.getinfo
local GLOBALS = _G
running = running or function() return GLOBALS end

-- The page's function that is meant, or nothing; `level` counts from the caller of the caller.
local function of_page(where)
  if type(where) == "function" then
    if is_engine(getinfo(where, "S")) then return nil end
    return where
  end
  local level = where == nil and 1 or tonumber(where)
  if not level then error("bad argument #1 (function or level expected)", 3) end
  if level < 1 then return nil end
  local info = getinfo(level + 2, "Sf")
  if not info then error("bad argument #1 (invalid level)", 3) end
  if info.func and not is_engine(info) then return info.func end
end

GLOBALS.getfenv = function(where)
  if where == 0 and chunks then return (chunks()) end
  local run = of_page(where)
  local globals = run and getfenv(run)
  if not globals or globals == GLOBALS then globals = running() end
  -- Not a tail call: the levels are counted from here.
  return globals
end

GLOBALS.setfenv = function(where, globals)
  if type(globals) ~= "table" then
    error("bad argument #2 to 'setfenv' (table expected, got " .. (globals == nil and "no value" or type(globals)) .. ")", 2)
  end
  if where == 0 and chunks then
    chunks(globals)
    return
  end
  local run = of_page(where)
  -- Where requests have globals of their own, functions that have the state's serve all of them.
  if not run or getfenv(run) == GLOBALS and running() ~= GLOBALS then
    error("'setfenv' cannot change environment of given object", 2)
  end
  setfenv(run, globals)
  return run
end
