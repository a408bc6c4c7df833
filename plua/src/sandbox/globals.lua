-- Globals of each request's own (pLuaGlobals request): what a page sets, and what it does to a library's table, ends with
-- its request.
--
-- Pages have a global table of the state's making, which is cleaned after each request. What is looked up in it and not
-- there comes from the state's globals: functions as they are, libraries as empty tables that the library stands behind,
-- other tables as copies. Page code must never get hold of the state's own: the functions that would give it are
-- replaced by `isolate`, once the file of pLuaInit has run.
--
-- The chunk takes the functions written in Rust, whether a function is the engine's, by what getinfo says of it, the tables of
-- what makes files' functions and of texts, and what modules.lua needs. It returns what the state's own code works with from then
-- on: the tables as a request sees them, what runs a page, what puts one aside that waits, and `isolate`.
local native, is_engine_by, makers, file_texts, call_with_handler, frames, passes = ...

local error, next, pcall, rawequal, rawget, rawset, setmetatable, type =
  error, next, pcall, rawequal, rawget, rawset, setmetatable, type
local getfenv, getmetatable, pairs, setfenv = getfenv, getmetatable, pairs, setfenv
local debug, io, jit, package, string = debug, io, jit, package, string
local getinfo, metatable_of, set_metatable = debug.getinfo, debug.getmetatable, debug.setmetatable
local STATE, LOADED, STRINGS = _G, package.loaded, debug.getmetatable("")
local FILES = metatable_of(io.stdout)
local GLOBALS, MODULES

local functions = native.file_functions(native, makers, file_texts)

-- The globals of pages, and what they hold from request to request: values that cannot be changed, and views.
local globals, kept, kept_count = {}, {}, 0
-- What else the request has found in its globals, by name.
local handed = {}
-- The running request's globals, none between requests; its copies by what they are copies of; its package.loaded.
local current, copies, loaded
-- What stands before each library, by library, and their metatables.
local views, view_metatables = {}, {}
-- Those that the request has made tables like any other, with the metatables to put back.
local opened = {}
-- How the tables of each metatable are listed whose entries come when they are looked up.
local listers = {}
-- Metatables of the engine that the request got hold of, and what else to set right when it ends.
local lent, undo = {}, {}
-- What timers of the request keep of it when it ends.
local kept_for_timers
local composition, modules
-- Metatables that no page gets to see.
local shielded = native.shielded
local isolated = false

local function view_of(library)
  local view = views[library]
  if not view then
    view = setmetatable({}, view_metatables[library])
    views[library] = view
  end
  return view
end

local function copy_of(original)
  if copies == nil then copies = { [STATE] = current } end
  local copy = copies[original]
  if copy ~= nil then return copy end
  local metatable = metatable_of(original)
  -- A copy would end twice what such an object holds.
  if metatable and rawget(metatable, "__gc") ~= nil then return original end
  copy = {}
  copies[original], copies[copy] = copy, copy
  for name, value in next, original do
    copy[name] = value
  end
  if metatable then set_metatable(copy, metatable) end
  return copy
end

-- What the request has found in its package.loaded, by name.
local handed_modules
local function loaded_modules()
  if current and not loaded then
    loaded, handed_modules = setmetatable({}, MODULES), {}
  end
  return loaded
end

-- A table of the state's, as the request has it.
local function own(original)
  if not current then return {} end
  if view_metatables[original] then return view_of(original) end
  if original ~= package or copies and copies[package] then return copy_of(original) end
  local copy = copy_of(package)
  modules.fit(copy, loaded_modules())
  return copy
end

-- What page code finds under a name that it has not set: something of the state's.
local function found(value)
  if type(value) == "table" then return own(value) end
  return value
end

-- What a request found once does not come again: it has taken it away.
local function was_found(name) return kept[name] ~= nil or handed[name] end

local function find_global(mine, name)
  local original = rawget(STATE, name)
  local value = found(original)
  if value == nil then return nil end
  if type(original) ~= "table" or view_metatables[original] then
    kept[name], kept_count = value, kept_count + 1
  else
    handed[name] = true
  end
  rawset(mine, name, value)
  return value
end

GLOBALS = {
  __metatable = false,
  __index = function(mine, name)
    if mine == current and not was_found(name) then return find_global(mine, name) end
  end,
  __newindex = function(mine, name, value)
    if mine == current and not was_found(name) then find_global(mine, name) end
    rawset(mine, name, value)
  end,
  __pairs = function(mine)
    if mine == current then
      for name, value in next, STATE do
        if not was_found(name) then
          handed[name] = true
          rawset(mine, name, found(value))
        end
      end
    end
    return next, mine, nil
  end,
}

local function find_module(mine, name)
  local value = found(LOADED[name])
  if value == nil then return nil end
  handed_modules[name] = true
  rawset(mine, name, value)
  return value
end

MODULES = {
  __metatable = false,
  __index = function(mine, name)
    if mine == loaded and not handed_modules[name] then return find_module(mine, name) end
  end,
  __newindex = function(mine, name, value)
    if mine == loaded and not handed_modules[name] then find_module(mine, name) end
    rawset(mine, name, value)
  end,
  __pairs = function(mine)
    if mine == loaded then
      for name in next, LOADED do
        if not handed_modules[name] then find_module(mine, name) end
      end
    end
    return next, mine, nil
  end,
}

listers[GLOBALS], listers[MODULES] = GLOBALS.__pairs, MODULES.__pairs

-- What `plua` has of its own each time it is asked.
local OF_REQUEST = { ctx = true, shared = true }

-- The metatable of what stands before a library. A view is empty until it is listed, or something of the library's is replaced
-- or taken away. Under the names `of_request`, if some are given, the library has something that is asked for each time.
local function stand_before(library, of_request)
  local nested = false
  for _, value in next, library do
    nested = nested or type(value) == "table"
  end
  local metatable = { __metatable = false, __index = library }
  if nested then
    metatable.__index = function(_, name)
      if of_request and of_request[name] then return library[name] end
      return found(library[name])
    end
  end
  -- Of a view that has all that its library has.
  local of_opened = { __metatable = false }
  listers[of_opened] = function(view) return next, view, nil end
  if of_request then
    of_opened.__index = function(_, name)
      if of_request[name] then return library[name] end
    end
    of_opened.__newindex = function(view, name, value)
      if of_request[name] then
        library[name] = value
      else
        rawset(view, name, value)
      end
    end
  end
  local function open(view)
    for name, value in next, library do
      if rawget(view, name) == nil then rawset(view, name, found(value)) end
    end
    opened[view] = metatable
    set_metatable(view, of_opened)
  end
  function metatable.__pairs(view)
    open(view)
    return next, view, nil
  end
  function metatable.__newindex(view, name, value)
    if of_request and of_request[name] then
      library[name] = value
      return
    end
    if rawget(library, name) ~= nil then open(view) end
    rawset(view, name, value)
    -- So that what a page adds is a method of its strings, and what it takes away is none.
    if library == string and current then STRINGS.__index = view end
  end
  view_metatables[library], listers[metatable] = metatable, metatable.__pairs
end

-- What lists the entries of a table, if it shows some that it has not.
local function lister(value)
  local metatable = type(value) == "table" and metatable_of(value)
  return metatable and listers[metatable]
end

-- The engine's metatables that values of pages have, with what is in them.
local SHARED = {}
local function share(metatable)
  if type(metatable) ~= "table" or SHARED[metatable] or metatable == string then return end
  local fields = {}
  for name, value in next, metatable do
    fields[name] = value
  end
  SHARED[metatable] = fields
  share(fields.__index)
end

-- Notes that the page has a metatable of the engine: what it does to it is undone.
local function lend(metatable)
  if lent[metatable] then return end
  lent[metatable] = true
  local index = SHARED[metatable].__index
  if metatable == STRINGS then
    STRINGS.__index = own(string)
  elseif SHARED[index] then
    lend(index)
  end
end

local function restore(metatable)
  local fields = SHARED[metatable]
  -- First of all, or what the page has put there would be called with what is put back.
  set_metatable(metatable, nil)
  for name, value in next, fields do
    metatable[name] = value
  end
  for name in next, metatable do
    if fields[name] == nil then metatable[name] = nil end
  end
end

-- Takes out of a table what pages put in.
local function clear(mine)
  for name in next, mine do
    mine[name] = nil
  end
end

-- A table that held more is made anew, for it stays as large as it was.
local MOST_KEPT = 1000

local function new_globals()
  globals, kept, kept_count = {}, {}, 1
  globals._G, kept._G = globals, globals
  setmetatable(globals, GLOBALS)
  composition.use_globals(globals)
end

local function clean_globals()
  local count, still_there = 0, 0
  for name, value in next, globals do
    count = count + 1
    local before = kept[name]
    if before ~= nil then still_there = still_there + 1 end
    -- A value of the page's may say that it equals anything.
    if not rawequal(value, before) then globals[name] = before end
  end
  if still_there < kept_count then
    for name, value in next, kept do
      rawset(globals, name, value)
    end
  end
  if metatable_of(globals) ~= GLOBALS then set_metatable(globals, GLOBALS) end
  if next(handed) then handed = {} end
  for _, view in next, views do
    if next(view) ~= nil then clear(view) end
  end
  if next(opened) then
    for view, metatable in next, opened do
      set_metatable(view, metatable)
    end
    opened = {}
  end
  if count > MOST_KEPT then
    -- Functions of files hold on to the old ones until they run again.
    clear(globals)
    new_globals()
  end
end

-- In a sandbox, what requests have in common and no page can reach: tables with what is in them, looked at after each request.
-- Those of the first list each time, some of the second in turn.
local guarded, guarded_in_turn, turn = {}, {}, 0
local IN_TURN = 4

local function guard(list, table, name)
  local fields, count = {}, 0
  for field, value in next, table do
    fields[field] = value
    count = count + 1
  end
  list[#list + 1] = { table, fields, count, name }
end

local function is_changed(entry)
  local fields, count = entry[2], 0
  for field, value in next, entry[1] do
    if not rawequal(fields[field], value) then return true end
    count = count + 1
  end
  return count ~= entry[3]
end

-- The name of a table that is not what it was.
local function changed()
  for i = 1, #guarded do
    if is_changed(guarded[i]) then return guarded[i][4] end
  end
  local many = #guarded_in_turn
  for _ = 1, many < IN_TURN and many or IN_TURN do
    turn = turn % many + 1
    if is_changed(guarded_in_turn[turn]) then return guarded_in_turn[turn][4] end
  end
end

local function guard_all()
  guarded, guarded_in_turn, turn = {}, {}, 0
  for name, metatable in
    next,
    {
      globals = GLOBALS,
      ["package.loaded"] = MODULES,
      strings = STRINGS,
      files = FILES,
      arrays = native.json_array,
    }
  do
    guard(guarded, metatable, "the metatable of " .. name)
  end
  for metatable in next, listers do
    guard(guarded_in_turn, metatable, "the metatable of a library")
  end
  for _, names in next, { STATE, STATE.plua } do
    for name, library in next, names do
      if view_metatables[library] then guard(guarded_in_turn, library, "the library " .. name) end
    end
  end
  guard(guarded_in_turn, STATE, "the state's globals")
end

-- Sets of globals and views that requests have left which ended while others waited, clean for the next.
local spare, MOST_SPARE = {}, 64

-- Leaves the globals of the request to whoever has them, and takes others for the next.
local function take_others()
  handed, opened = {}, {}
  local set = spare[#spare]
  spare[#spare] = nil
  if set then
    globals, kept, kept_count, views = set.globals, set.kept, set.kept_count, set.views
    composition.use_globals(globals)
  else
    views = {}
    new_globals()
  end
end

local function note_all(page)
  page.globals, page.kept, page.kept_count, page.views = globals, kept, kept_count, views
  page.handed, page.opened, page.copies, page.loaded = handed, opened, copies, loaded
  page.handed_modules = handed_modules
  return page
end

local function take_all(page)
  globals, kept, kept_count, views = page.globals, page.kept, page.kept_count, page.views
  handed, opened, copies, loaded = page.handed, page.opened, page.copies, page.loaded
  handed_modules = page.handed_modules
  current = globals
end

local function finish()
  if not current then return end
  if kept_for_timers then note_all(kept_for_timers) end
  current, loaded, handed_modules, copies = nil, nil, nil, nil
  functions.finish()
  if next(lent) then
    for metatable in next, lent do
      restore(metatable)
    end
    lent = {}
  end
  if not rawequal(STRINGS.__index, string) then STRINGS.__index = string end
  for i = #undo, 1, -1 do
    pcall(undo[i])
    undo[i] = nil
  end
  if kept_for_timers then
    kept_for_timers = nil
    take_others()
  else
    clean_globals()
  end
  if native.is_sandboxed then
    local name = changed()
    if name then native.give_up(name) end
  end
end

local function begin()
  finish()
  current = globals
  functions.begin(globals)
end

-- What gives metatables, for values of pages.
local function metatable_for_page(value)
  if lister(value) then return nil end
  local metatable = getmetatable(value)
  if SHARED[metatable] then
    if not current then return nil end
    lend(metatable)
  end
  return metatable
end

local setmetatable_of_pages = setmetatable

-- The page brings a metatable of its own, as strict.lua does for the globals: a view of a library is one no more.
local function part_from_library(value)
  local list = lister(value)
  if not list then return end
  list(value)
  set_metatable(value, nil)
  opened[value] = nil
  for library, view in next, views do
    if view == value then views[library] = nil end
  end
  for name, view in next, kept do
    if view == value and view ~= globals then
      kept[name], kept_count = nil, kept_count - 1
      handed[name] = true
    end
  end
end

local function set_metatable_for_page(value, metatable)
  part_from_library(value)
  return setmetatable_of_pages(value, metatable)
end

-- What gives metatables whatever they say: those of strings and of arrays are the request's for now, of files and of what page
-- functions have made there are none for pages.
local function any_metatable_for_page(value)
  if lister(value) then return nil end
  local metatable = metatable_of(value)
  if metatable == nil or shielded[metatable] then return nil end
  if SHARED[metatable] then
    if not current then return nil end
    lend(metatable)
  end
  return metatable
end

-- Replaces a function that page code finds, if it finds it.
local function replace(library, name, make)
  local original = library and library[name]
  if original then library[name] = make(original) end
end

-- Whether a function, or the one at a level of this thread or another, is the engine's or written in C.
local function is_engine(run, thread)
  local info
  if thread then
    info = getinfo(thread, run, "S")
  elseif type(run) == "number" then
    info = getinfo(run + 1, "S")
  else
    info = getinfo(run, "S")
  end
  return info and is_engine_by(info)
end

local function isolate_debug()
  local library = STATE.debug
  if not library then return end
  local getupvalue, setupvalue, upvaluejoin = debug.getupvalue, debug.setupvalue, debug.upvaluejoin
  library.getregistry, library.setuservalue = nil, nil
  replace(library, "sethook", function()
    return function(first, second)
      if type(first) == "thread" then first = second end
      -- There is none to be taken away.
      if first == nil then return end
      error("a hook would be called in the engine's functions too, so none can be set (pLuaGlobals request)", 2)
    end
  end)
  for _, name in next, { "getlocal", "setlocal" } do
    replace(library, name, function(access)
      return function(at, ...)
        if type(at) == "number" then
          -- One level more: that of the replacement itself.
          if is_engine(at + 1) then return nil end
          local local_name, value = access(at + 1, ...)
          return local_name, value
        end
        if type(at) == "thread" and is_engine((...), at) then return nil end
        return access(at, ...)
      end
    end)
  end
  replace(library, "getmetatable", function() return any_metatable_for_page end)
  replace(library, "setmetatable", function()
    return function(value, metatable)
      if type(value) ~= "table" then error("only the metatables of tables can be set (pLuaGlobals request)", 2) end
      if not setfenv and type(metatable) == "table" and rawget(metatable, "__gc") ~= nil then
        error("finalizers (__gc) are not allowed in pages", 2)
      end
      part_from_library(value)
      return set_metatable(value, metatable)
    end
  end)
  replace(library, "getupvalue", function()
    return function(run, position)
      if type(run) == "function" and is_engine(run) then return nil end
      local name, value = getupvalue(run, position)
      if value ~= nil and value == STATE then value = current end
      return name, value
    end
  end)
  local function is_closed(run, position)
    if type(run) ~= "function" then return false end
    if is_engine(run) then return true end
    local _, value = getupvalue(run, position)
    return value ~= nil and value == STATE
  end
  replace(library, "setupvalue", function()
    return function(run, position, value)
      if is_closed(run, position) then return nil end
      return setupvalue(run, position, value)
    end
  end)
  replace(library, "upvaluejoin", function()
    return function(run, position, other, of_other)
      if is_closed(run, position) or is_closed(other, of_other) then
        error("the engine's functions keep their upvalues (pLuaGlobals request)", 2)
      end
      return upvaluejoin(run, position, other, of_other)
    end
  end)
  replace(library, "getfenv", function(of)
    return function(value)
      if type(value) ~= "function" or is_engine(value) then return current or {} end
      local found = of(value)
      return found == STATE and current or found
    end
  end)
  replace(library, "setfenv", function(set)
    return function(value, environment)
      if type(value) ~= "function" or is_engine(value) or getfenv(value) == STATE then
        error("'setfenv' cannot change environment of given object", 2)
      end
      return set(value, environment)
    end
  end)
end

-- What is one for the whole state is as it was when the request ends.
local function isolate_settings()
  local function at_end(run) undo[#undo + 1] = run end
  replace(STATE.jit, "off", function(off)
    return function(...)
      if (...) == nil then at_end(jit.on) end
      return off(...)
    end
  end)
  -- What these are given is called at any time.
  if STATE.jit then STATE.jit.attach = nil end
  package.preload["jit.profile"], LOADED["jit.profile"] = nil, nil
end

-- Called once, after the file of pLuaInit: from now on pages have globals of their own.
local function isolate()
  isolated = true
  new_globals()
  share(STRINGS)
  share(FILES)
  share(native.json_array)
  replace(STATE, "getmetatable", function() return metatable_for_page end)
  replace(STATE, "setmetatable", function(set)
    setmetatable_of_pages = set
    return set_metatable_for_page
  end)
  if setfenv then
    -- These know no __pairs.
    replace(STATE, "pairs", function()
      return function(value)
        local list = lister(value)
        if list then return list(value) end
        return pairs(value)
      end
    end)
  end
  replace(STATE, "next", function()
    return function(value, key)
      if key == nil then
        local list = lister(value)
        if list then list(value) end
      end
      return next(value, key)
    end
  end)
  replace(STATE.table, "foreach", function(foreach)
    return function(value, run)
      local list = lister(value)
      if list then list(value) end
      return foreach(value, run)
    end
  end)
  functions.fit_loading(replace)
  isolate_debug()
  isolate_settings()
  modules.isolate(replace)
  if native.is_sandboxed then guard_all() end
end

-- What the page that waits has here, which is nothing to others until it is brought back; false where it has changed what is one
-- for the whole state.
local function put_aside()
  if next(lent) or undo[1] or not rawequal(STRINGS.__index, string) then return false end
  if native.is_sandboxed and changed() then return false end
  local page = note_all({ functions = functions.put_aside(), for_timers = kept_for_timers })
  current, copies, loaded, handed_modules, kept_for_timers = nil, nil, nil, nil, nil
  take_others()
  return page
end

local function leave_spare()
  if #spare < MOST_SPARE then
    spare[#spare + 1] = { globals = globals, kept = kept, kept_count = kept_count, views = views }
  end
end

local function bring_back(page)
  -- Of one that was stopped before it could.
  finish()
  leave_spare()
  take_all(page)
  kept_for_timers = page.for_timers
  functions.bring_back(page.functions)
  composition.use_globals(globals)
end

local around = {
  isolate = isolate,
  maker_of = functions.maker_of,
  put_aside = put_aside,
  bring_back = bring_back,
  -- What `around_timer` gives a function that runs after its request.
  keep = function()
    if current and not kept_for_timers then kept_for_timers = {} end
    return kept_for_timers
  end,
}

-- The globals pages have just now: none between requests.
function around.running()
  if isolated then return current or {} end
  return STATE
end

-- The globals of chunks that are compiled, which a page may choose.
function around.chunks(chosen) return functions.chunks(chosen) or around.running() end

around.files, around.texts = functions.files, functions.texts

modules = native.modules(
  native,
  around.files,
  own,
  function() return current, loaded_modules() end,
  call_with_handler,
  frames,
  passes,
  metatable_for_page,
  set_metatable_for_page
)
-- The calls that were active when a module raised what its `require` raises again, if that is what it is.
around.calls_of = modules.calls_of

-- `run` and what finishes later as they are for pages with globals of their own.
function around.around(run, finish_later, of_composition, ends_later)
  composition = of_composition
  functions.bind(composition.set_globals)
  -- All there is before pLuaInit runs is Lua's or the engine's.
  for _, names in next, { STATE, STATE.plua } do
    for _, value in next, names do
      if type(value) == "table" and value ~= STATE and value ~= package then
        stand_before(value, value == STATE.plua and OF_REQUEST or nil)
      end
    end
  end
  local run_apart = functions.around(begin, run, finish, ends_later)
  return function(...)
    if not isolated then return run(...) end
    return run_apart(...)
  end,
    functions.ending(finish_later, finish)
end

-- `run` as it is for a timer, whose function sees the globals of the request that asked for it.
function around.around_timer(run, ends_later)
  return functions.around(function(timer)
    if not timer or not timer.globals then return begin() end
    finish()
    leave_spare()
    take_all(timer.globals)
    kept_for_timers = timer.globals
    functions.begin(globals)
    composition.use_globals(globals)
  end, run, finish, ends_later)
end

-- A function that may change the state's globals between requests: what pages know of them is looked up again.
function around.after(change)
  return function(...)
    change(...)
    if not isolated then return end
    if native.is_sandboxed then guard_all() end
    spare = {}
    for name in next, kept do
      globals[name] = nil
    end
    rawset(globals, "_G", globals)
    kept, kept_count = { _G = globals }, 1
  end
end

return around
