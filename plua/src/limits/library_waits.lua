-- Waits of libraries written in C that know no time limit: LuaSocket, LuaSec and Lua-cURL. No signal ends them, so each is
-- given no longer than the page has left, or what it asked for if that is less.
--
-- The chunk takes the functions written in Rust. It returns what makes all this hold for modules that are found from then on,
-- what sets right, between requests, the times that modules keep for all who use them, and whether any does.
local native = ...

local next, setmetatable, tonumber, type = next, setmetatable, tonumber, type
local find, match = string.find, string.match
local ceil = math.ceil
local registry = debug.getregistry()
local seconds_left, folder = native.seconds_left, native.folder

local searchers = package.searchers or package.loaders

-- What may be waited: the libraries count in milliseconds, and the end of a wait is not to come before that of the time.
local function longest()
  local left = seconds_left()
  return left and left + 0.005
end

-- What a wait has returned, unless the page's time is over: then the limit strikes here.
local function after(...)
  while seconds_left() == 0 do
  end
  return ...
end

-- Sockets of all kinds, by the metatables that the libraries register: what waits counts from its own begin to the lesser
-- of two times. One is the page's own, the other, for all of a call ("t"), is set here before each call.
local BLOCKING = { "accept", "connect", "dohandshake", "receive", "receivefrom", "send", "sendto" }
local asked = setmetatable({}, { __mode = "k" })
local bounded = setmetatable({}, { __mode = "k" })
local fitted = {}

local function fit_class(methods)
  local settimeout, gettimeout = methods.settimeout, methods.gettimeout
  function methods.settimeout(socket, seconds, mode, ...)
    if type(socket) == "userdata" and type(mode) == "string" and find(mode, "^[tr]") then
      asked[socket] = tonumber(seconds)
    end
    return settimeout(socket, seconds, mode, ...)
  end
  if gettimeout then
    function methods.gettimeout(socket, ...)
      local block, total = gettimeout(socket, ...)
      if bounded[socket] then total = asked[socket] or -1 end
      return block, total
    end
  end
  local function bound(socket)
    local own, left = asked[socket], longest()
    if left and (not own or own < 0 or left < own) then
      settimeout(socket, left, "t")
      bounded[socket] = true
    elseif bounded[socket] then
      -- Kept from a request with a limit for one without, or asked for meanwhile.
      settimeout(socket, own, "t")
      bounded[socket] = nil
    end
  end
  for _, name in next, BLOCKING do
    local run = methods[name]
    if run then
      methods[name] = function(socket, ...)
        if type(socket) == "userdata" then bound(socket) end
        return after(run(socket, ...))
      end
    end
  end
end

local function fit_sockets(core)
  for name, class in next, registry do
    local methods = type(name) == "string" and type(class) == "table" and not fitted[class] and class.__index
    if type(methods) == "table" and methods.settimeout and (methods.receive or methods.accept or methods.dohandshake) then
      fitted[class] = true
      fit_class(methods)
    end
  end
  if type(core) ~= "table" or fitted[core] then return end
  fitted[core] = true
  local select, sleep = core.select, core.sleep
  if type(select) == "function" then
    core.select = function(readers, writers, seconds, ...)
      local own, left = tonumber(seconds), longest()
      if left and (not own or own < 0 or left < own) then seconds = left end
      return after(select(readers, writers, seconds, ...))
    end
  end
  if type(sleep) == "function" then
    core.sleep = function(seconds, ...)
      local own, left = tonumber(seconds), longest()
      if own and left and left < own then seconds = left end
      return after(sleep(seconds, ...))
    end
  end
end

-- Transfers: a handle has one time, in seconds or milliseconds, whichever was set last.
local function fit_curl(curl)
  local class = registry["curleasy.type"]
  if type(curl) ~= "table" or type(class) ~= "table" or fitted[class] then return end
  local methods, seconds_option, milliseconds_option = class.__index, curl.OPT_TIMEOUT, curl.OPT_TIMEOUT_MS
  if type(methods) ~= "table" or not (methods.setopt and methods.perform and milliseconds_option) then return end
  fitted[class] = true
  local setopt, perform = methods.setopt, methods.perform
  function methods.setopt(handle, option, value, ...)
    if type(handle) == "userdata" then
      if option == seconds_option then asked[handle] = tonumber(value) end
      if option == milliseconds_option then asked[handle] = (tonumber(value) or 0) / 1000 end
    end
    return setopt(handle, option, value, ...)
  end
  function methods.perform(handle, ...)
    if type(handle) == "userdata" then
      local own, left = asked[handle], longest()
      if own and own <= 0 then own = nil end
      if left and (not own or left < own) then
        setopt(handle, milliseconds_option, ceil(left * 1000))
        bounded[handle] = true
      elseif bounded[handle] then
        setopt(handle, milliseconds_option, own and ceil(own * 1000) or 0)
        bounded[handle] = nil
      end
    end
    return after(perform(handle, ...))
  end
end

local FIT = { curl = fit_curl, socket = fit_sockets, ssl = fit_sockets }

-- What these modules of LuaSocket wait at most is a field of the module, which a page may set for its request.
local KEEPS_TIME = { ["socket.ftp"] = true, ["socket.http"] = true, ["socket.smtp"] = true }
local times, is_new = {}, false

-- Calls `fit` with a module that a searcher finds, once it is loaded.
local function fitting(position, fit_of)
  local search = searchers[position]
  if not search then return end
  searchers[position] = function(name)
    local load, extra = search(name)
    local fit = type(name) == "string" and type(load) == "function" and fit_of(name)
    if not fit then return load, extra end
    return function(...)
      local module = load(...)
      fit(module)
      return module
    end, extra
  end
end

local function keep_time(module)
  if type(module) == "table" then
    times[module], is_new = module.TIMEOUT, is_new or not folder()
  end
end

local function install()
  fitting(2, function(name) return KEEPS_TIME[name] and keep_time end)
  for _, position in next, { 3, 4 } do
    fitting(position, function(name) return FIT[match(name, "^[^.]*")] end)
  end
end

-- Whether a module keeps such a time, which is to be set right again.
local function keeps_times() return next(times) ~= nil end

return install,
  function()
    -- What the file of pLuaInit has set holds for all requests.
    if is_new and folder() then
      is_new = false
      for module in next, times do
        times[module] = module.TIMEOUT
      end
    end
    for module, seconds in next, times do
      module.TIMEOUT = seconds
    end
    return keeps_times()
  end,
  keeps_times
