-- What pages find of `debug` and userdata that would show or do what is the engine's: tracebacks without its own calls, and
-- `newproxy` without finalizers, which no limit could stop.
--
-- The chunk takes whether a function is the engine's or written in C, by what getinfo says of it, and puts functions of its own in
-- the place of Lua's.
local is_engine = ...

local error, pcall, rawset, select, setmetatable, type = error, pcall, rawset, select, setmetatable, type
local concat = table.concat
local getinfo, getlocal, metatable_of, newproxy = debug.getinfo, debug.getlocal, debug.getmetatable, newproxy

-- Calls at both ends of a long traceback; those between are left out, as in Lua's own.
local FIRST, LAST = 12, 10
local MOST_LEVELS = 1000000

-- What getinfo says of a call of this thread, counted from the function that calls the one that calls this, or of another
-- thread; and its first variable.
local function call_at(thread, level)
  if thread then
    local info = getinfo(thread, level, "Sln")
    return info, info and getlocal(thread, level, 1)
  end
  local info = getinfo(level + 3, "Sln")
  return info, info and getlocal(level + 3, 1)
end

-- The calls from a level on, a line each, as Lua writes them. Of functions that are not the page's, one after the other, the
-- page knows the one that it has called; those that have called the page are nothing to it.
local function calls(thread, level)
  local lines, called = {}, nil
  while true do
    local info, first = call_at(thread, level)
    if not info then break end
    level = level + 1
    if is_engine(info) then
      called = info.name or "?"
    elseif info.currentline > 0 then
      if called then
        lines[#lines + 1] = called == "?" and "[C]: in ?" or "[C]: in function '" .. called .. "'"
        called = nil
      end
      local caller = call_at(thread, level)
      local where = info.short_src .. ":" .. info.currentline .. ": in "
      if info.what == "main" or first == "__plua" then
        lines[#lines + 1] = where .. "main chunk"
      elseif info.name and caller and not is_engine(caller) then
        lines[#lines + 1] = where .. "function '" .. info.name .. "'"
      else
        lines[#lines + 1] = where .. "function <" .. info.short_src .. ":" .. info.linedefined .. ">"
      end
    end
  end
  return lines
end

function debug.traceback(...)
  local thread, message, level = ...
  if type(thread) ~= "thread" then
    thread, message, level = nil, ...
  end
  if message ~= nil and type(message) ~= "string" and type(message) ~= "number" then return message end
  if type(level) ~= "number" then level = thread and 0 or 1 end
  -- What is no level has no calls. Far beyond, numbers have no next one.
  local lines = level >= 0 and level < MOST_LEVELS and level % 1 == 0 and calls(thread, level) or {}
  local count = #lines
  if count > FIRST + LAST + 1 then
    local shown = {}
    for i = 1, FIRST do
      shown[i] = lines[i]
    end
    shown[FIRST + 1] = "..."
    for i = count - LAST + 1, count do
      shown[#shown + 1] = lines[i]
    end
    lines = shown
  end
  local text = "stack traceback:" .. (#lines > 0 and "\n\t" .. concat(lines, "\n\t") or "")
  return message == nil and text or message .. "\n" .. text
end

if not newproxy then return end

-- The metatable is reached through another table alone, which writes all into it but a finalizer.
_G.newproxy = function(...)
  local fine, proxy = pcall(newproxy, ...)
  if not fine then error("bad argument #1 to 'newproxy' (boolean or proxy expected)", 2) end
  if select("#", ...) > 0 and (...) == true then
    local metatable = metatable_of(proxy)
    metatable.__metatable = setmetatable({}, {
      __metatable = false,
      __index = metatable,
      __newindex = function(written, name, value)
        if name == "__gc" then
          rawset(written, name, value)
        else
          metatable[name] = value
        end
      end,
    })
  end
  return proxy
end
