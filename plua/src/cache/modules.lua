-- `require` and `package` for requests with globals of their own (pLuaGlobals request).
--
-- Modules written in Lua are run anew in each request, from compiled code that the state keeps. Lua's libraries and
-- modules written in C live in the state and cannot be loaded twice: a request gets copies of their tables.
--
-- The chunk takes the functions written in Rust, the files' functions with the request's globals, `own`, which gives
-- the request's copy of a table, what gives the running request's globals and package.loaded, Lua's own `xpcall`, what lists the
-- calls that are active from a level on, whether something raised is none of the page's business, and what gives pages metatables
-- and takes theirs. It returns what fits a request's copy of `package` to it, what lists the calls of a module that failed, and what
-- puts all this in the place of Lua's own.
local native, files, own, running, call_with_handler, frames, passes, metatable_for_page, set_metatable_for_page = ...

local error, next, pcall, rawequal, setmetatable, tostring, type = error, next, pcall, rawequal, setmetatable, tostring, type
local getfenv, setfenv = getfenv, setfenv
local find, gmatch, match = string.find, string.gmatch, string.match
local getinfo, metatable_of = debug.getinfo, debug.getmetatable
local require_of_state = require
local package, STATE, LOADED = package, _G, package.loaded
local SEARCHERS = package.searchers and "searchers" or "loaders"
local searchers = package[SEARCHERS]

-- The loader of a module that lives in the state, under its own name and no other: a page may call it too.
local function of_state(name, load, extra)
  return function()
    -- Once: LuaJIT's put functions into the state's libraries.
    if LOADED[name] == nil then
      local made = load(name, extra)
      if made ~= nil then
        LOADED[name] = made
      elseif LOADED[name] == nil then
        LOADED[name] = true
      end
    end
    local value = LOADED[name]
    return type(value) == "table" and own(value) or value
  end
end

-- The loaders of package.preload, as requests have them.
local preloads = {}
local function preload_of_request()
  local mine = {}
  for name, load in next, package.preload do
    preloads[name] = preloads[name] or of_state(name, load)
    mine[name] = preloads[name]
  end
  return mine
end

local function search_preload(name)
  local load = own(package).preload[name]
  if load ~= nil then return load end
  return "\n\tno field package.preload['" .. name .. "']"
end

local function search_lua(name)
  local path = own(package).path
  if type(path) ~= "string" then error("'package.path' must be a string", 0) end
  local ok, number, file, problem = native.module(name, path)
  if not ok then error(number, 0) end
  if problem then error(problem, 0) end
  if not number then return file end
  return files[number], file
end

-- A searcher of the state's, with the request's paths.
local function through(search)
  return function(name)
    local mine = own(package)
    local path, cpath = package.path, package.cpath
    package.path, package.cpath = mine.path, mine.cpath
    local ok, load, extra = pcall(search, name)
    package.path, package.cpath = path, cpath
    if not ok then error(load, 0) end
    local info = type(load) == "function" and getinfo(load, "S")
    -- The state's own code stands before some loaders written in C.
    if info and (info.what == "C" or info.source == "=plua") then load = of_state(name, load, extra) end
    return load, extra
  end
end

-- Modules on their way, by the package.loaded they are for.
local loading = setmetatable({}, { __mode = "k" })

-- What a module's code raised last and the calls that were active then: `require` raises it again, and they are gone by then.
local raised, calls
local is_raised_again = false
local function note(problem)
  if passes(problem) then return problem end
  if is_raised_again then
    is_raised_again = false
  else
    raised, calls = problem, frames(3)
  end
  return problem
end

local function calls_of(problem)
  local again = is_raised_again
  is_raised_again = false
  if again and rawequal(problem, raised) then return calls end
end

local function require(name)
  if type(name) == "number" then name = tostring(name) end
  if type(name) ~= "string" then
    error("bad argument #1 to 'require' (string expected, got " .. (name == nil and "no value" or type(name)) .. ")", 2)
  end
  local _, loaded = running()
  if not loaded then error("there is no request: modules are loaded only while a page runs", 2) end
  local value = loaded[name]
  if value then return value end
  local on_their_way = loading[loaded] or {}
  loading[loaded] = on_their_way
  if on_their_way[name] then error("loop or previous error loading module '" .. name .. "'", 2) end
  local list, tried, position = own(package)[SEARCHERS], "", 0
  local load, extra
  if type(list) ~= "table" then error("'package." .. SEARCHERS .. "' must be a table", 2) end
  repeat
    position = position + 1
    local search = list[position]
    if search == nil then error("module '" .. name .. "' not found:" .. tried, 2) end
    load, extra = search(name)
    if type(load) == "string" then tried = tried .. (find(load, "^\n") and "" or "\n\t") .. load end
  until type(load) == "function"
  on_their_way[name], is_raised_again = true, false
  local fine
  fine, value = call_with_handler(load, note, name, extra)
  on_their_way[name] = nil
  if not fine then
    is_raised_again = not passes(value)
    error(value, 0)
  end
  if value ~= nil then
    loaded[name] = value
  elseif loaded[name] == nil then
    loaded[name] = true
  end
  -- Only 5.4 tells where it came from.
  if setfenv then return loaded[name] end
  return loaded[name], extra
end

-- The table of a dotted name in the globals, made where it is missing.
local function table_named(name, globals)
  local place = globals
  for part in gmatch(name, "[^.]+") do
    if place[part] == nil then place[part] = {} end
    place = place[part]
    if type(place) ~= "table" then error("name conflict for module '" .. name .. "'", 3) end
  end
  return place
end

local function module(name, ...)
  if type(name) ~= "string" then
    error("bad argument #1 to 'module' (string expected, got " .. (name == nil and "no value" or type(name)) .. ")", 2)
  end
  local globals, loaded = running()
  if not globals then error("there is no request: modules are made only while a page runs", 2) end
  local caller = getinfo(2, "S")
  if not caller or caller.what == "C" or getfenv(2) == STATE then error("'module' not called from a Lua function", 2) end
  local made = loaded[name]
  if type(made) ~= "table" then
    made = table_named(name, globals)
    loaded[name] = made
  end
  if made._NAME == nil then
    made._M, made._NAME, made._PACKAGE = made, name, match(name, "^(.*%.)[^.]*$") or ""
  end
  setfenv(2, made)
  for _, option in next, { ... } do
    option(made)
  end
end

local function seeall(made)
  local globals = running()
  if type(made) ~= "table" then error("bad argument #1 to 'seeall' (table expected, got " .. type(made) .. ")", 2) end
  -- Lua's own writes into any metatable, those among them that serve the next request too.
  local metatable = metatable_for_page(made)
  if metatable_of(made) and type(metatable) ~= "table" then error("cannot change a protected metatable", 2) end
  if not metatable then
    metatable = {}
    set_metatable_for_page(made, metatable)
  end
  metatable.__index = globals
end

local list = {}

return {
  calls_of = calls_of,
  -- Fits a copy of `package` to its request.
  fit = function(copy, loaded)
    local mine = {}
    for position, search in next, list do
      mine[position] = search
    end
    copy[SEARCHERS], copy.loaded = mine, loaded
    copy.preload = preload_of_request()
    if setfenv then copy.seeall = seeall end
  end,
  -- Called once, when the state has all that pLuaInit gives it.
  isolate = function(replace)
    -- LuaJIT's loaders of these put them into the state's `table`, where the next request would find them.
    for _, name in next, { "table.new", "table.clear" } do
      if package.preload[name] then pcall(require_of_state, name) end
    end
    list[1], list[2] = search_preload, search_lua
    for position = 3, #searchers do
      list[position] = through(searchers[position])
    end
    replace(STATE, "require", function() return require end)
    if setfenv then replace(STATE, "module", function() return module end) end
  end,
}
