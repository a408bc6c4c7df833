-- Values that are made once for all visitors (plua.cache), in the host's store of that name.
--
-- The chunk takes those functions of Lua's that a page may have replaced by now, the store, its functions, what lets a page wait, and
-- what gives numbers nobody can guess. It returns the page function.
local lua, store, methods, sleep, random = ...

local error, pcall, tostring, type = lua.error, lua.pcall, lua.tostring, lua.type
local huge = lua.huge

-- Seconds after which a maker is taken to be gone: killed, or stopped by a limit.
local LONGEST_WORK = 30

-- Seconds for which those that wait can learn that it has failed.
local TOLD = 10

-- Seconds between two looks of those that wait.
local SHORTEST, LONGEST = 0.005, 0.1

local get, set, add, delete, ttl_of = methods.get, methods.set, methods.add, methods.delete, methods.ttl

-- Under a key are the value, who makes it, and what the last one that failed has said; by different letters before it.
local function make(key, seconds, run, token)
  local ok, value = pcall(run)
  local message = value
  if ok and value ~= nil then
    -- It stays longer than it is fresh: to be shown while the next one is made.
    ok, message = pcall(set, store, "v" .. key, value, seconds < huge and seconds * 2 or nil)
  end
  if not ok and type(message) == "string" then
    -- An error ends here with one of its own, that of a store that is busy.
    pcall(set, store, "e" .. key, { token, message }, TOLD)
  end
  -- Another may have begun since, when this took too long.
  if get(store, "m" .. key) == token then delete(store, "m" .. key) end
  if not ok then error(message, 0) end
  return value
end

-- The value, and whether it is to be made anew.
local function kept(key, seconds)
  local value = get(store, "v" .. key)
  if value == nil then return nil, true end
  local left = ttl_of(store, "v" .. key)
  return value, left ~= nil and left < huge and left <= seconds
end

-- The right to make the value; else the value, if one is there by now.
local function claim(key, seconds, token)
  if not add(store, "m" .. key, token, LONGEST_WORK) then return false end
  -- Another may have made it, and given up the right, since it was looked at.
  local value, is_due = kept(key, seconds)
  if is_due then return true end
  delete(store, "m" .. key)
  return false, value
end

return function(key, seconds, run)
  if type(key) == "number" then key = tostring(key) end
  if type(key) ~= "string" then error("bad argument #1 to 'plua.cache' (string expected, got " .. type(key) .. ")", 2) end
  local fits = type(seconds) == "number" and seconds > 0
  if not fits then error("bad argument #2 to 'plua.cache' (seconds above 0 expected)", 2) end
  if type(run) ~= "function" then
    error("bad argument #3 to 'plua.cache' (function expected, got " .. type(run) .. ")", 2)
  end
  if not store then
    error("plua.cache keeps values in the store 'cache', which the host has not: pLuaShared cache 10M", 2)
  end
  if #key > 1023 then error("bad argument #1 to 'plua.cache' (no more than 1023 bytes expected)", 2) end
  local value, is_due = kept(key, seconds)
  if not is_due then return value end
  local token = random()
  local has_right, made = claim(key, seconds, token)
  if has_right then return make(key, seconds, run, token) end
  if made ~= nil then return made end
  -- Somebody makes it. What there is of old serves meanwhile.
  if value ~= nil then return value end
  local maker = get(store, "m" .. key)
  local pause = SHORTEST
  while true do
    sleep(pause)
    pause = pause * 2 < LONGEST and pause * 2 or LONGEST
    value = get(store, "v" .. key)
    if value ~= nil then return value end
    has_right, made = claim(key, seconds, token)
    if made ~= nil then return made end
    -- Whoever has waited for one that failed does not try the same again. It says so before it gives up its right.
    local failed = get(store, "e" .. key)
    if failed and failed[1] == maker then
      if has_right then delete(store, "m" .. key) end
      error(failed[2], 0)
    end
    if has_right then return make(key, seconds, run, token) end
    maker = get(store, "m" .. key)
  end
end
